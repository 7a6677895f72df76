# SPDX-License-Identifier: BSD-3-Clause
"""The planted bugs: file, what stands there once, what stands there instead. Each is one a person could make."""

from __future__ import annotations

PLANTED = {
    "csrc/formulas/activations.h": [
        ("FORMULA T forward(T x) const { return math::at_least(zero, x); }", "FORMULA T forward(T x) const { return x > zero ? x : zero; }"),
        ("FORMULA T derivative(T x) const { return step(x, T(0), T(0), T(1)); }", "FORMULA T derivative(T x) const { return x >= 0 ? T(1) : T(0); }"),
        ("return x < far ? T(0) : x * math::normal_cdf(x);", "return x < far ? T(0) : x * math::normal_cdf(x * T(1.0001));"),
        ("FORMULA T derivative(T x) const { return inside(x, T(0), T(6)); }", "FORMULA T derivative(T x) const { return inside(x, T(0), T(7)); }"),
        ("FORMULA T forward(T x) const { return x > 0 ? x : alpha * x; }", "FORMULA T forward(T x) const { return x > 0 ? x : x * T(0.01); }"),
        ("FORMULA T derivative(T x) const { return step(x, T(0), alpha, T(1)); }", "FORMULA T derivative(T x) const { return step(x, T(0), T(1), alpha); }"),
        ("return x > 0 ? x : alpha * math::expm1(x / alpha);", "return x > 0 ? x : alpha * math::expm1(x * alpha);"),
        ("static constexpr T scale = T(1.0507009873554804934193349852946);", "static constexpr T scale = T(1.0507009);"),
        ("static constexpr T cubic = T(0.044715);", "static constexpr T cubic = T(0.044751);"),
        ("FORMULA T forward(T x) const { return -math::softplus(-x); }", "FORMULA T forward(T x) const { return math::softplus(-x); }"),
        ("FORMULA T derivative(T x) const { return 4 * Logistic<T>(2 * x).derivative(); }", "FORMULA T derivative(T x) const { return 1 - math::tanh(x) * math::tanh(x); }"),
        ("FORMULA T forward(T x) const { return math::abs(x) <= threshold ? T(0) : x; }", "FORMULA T forward(T x) const { return math::abs(x) < threshold ? T(0) : x; }"),
        ("(x < 0 ? x + threshold : x - threshold)", "(x < 0 ? x - threshold : x + threshold)"),
        ("FORMULA T forward(T x) const { return x <= threshold ? value : x; }", "FORMULA T forward(T x) const { return x < threshold ? value : x; }"),
        ("return x >= 1 ? x : T(0.25) * lifted * lifted;", "return x >= 1 ? x : T(0.5) * lifted * lifted;"),
        ("FORMULA T derivative(T x) const { return T(0.5) * inside(x, T(-1), T(1)); }", "FORMULA T derivative(T x) const { return inside(x, T(-1), T(1)); }"),
        ("FORMULA T derivative(T x) const { return inside(x, T(-3), T(3)) * sixth; }", "FORMULA T derivative(T x) const { return inside(x, T(-3), T(3)) * T(0.166666); }"),
    ],
    "csrc/formulas/gates.h": [
        ("FORMULA T forward(T value, T gate) const { return value * activation.forward(gate); }", "FORMULA T forward(T value, T gate) const { return gate * activation.forward(value); }"),
        ("FORMULA static T grad_x(T dy, T x, T alpha) { return dy * step(x, T(0), alpha, T(1)); }", "FORMULA static T grad_x(T dy, T x, T alpha) { return dy * step(x, T(0), T(1), alpha); }"),
        ("FORMULA static T forward(T dy, T x) { return dy * (x > 0 ? T(0) : x); }", "FORMULA static T forward(T dy, T x) { return dy * (x > 0 ? x : T(0)); }"),
        ("return challenger > best ||", "return challenger >= best ||"),
        ("|| (challenger != challenger && best == best)", ""),
    ],
    "csrc/formulas/reduction.h": [
        ("i + width < count; i += 2 * width) partials[i * stride] +=", "i + 2 * width <= count; i += 2 * width) partials[i * stride] +="),
        ("inline constexpr int kChunkRows = 1024;", "inline constexpr int kChunkRows = 512;"),
    ],
    "csrc/formulas/storage.h": [
        ("(u + 0x7fffu + ((u >> 16) & 1u)) >> 16", "(u + 0x8000u) >> 16"),
        ("(u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded", "rounded"),
        ("(113u << 23) ? subnormal : (magnitude >= (143u << 23) ? 0x7c00u", "(113u << 23) ? subnormal : (magnitude >= (143u << 23) ? 0x7bffu"),
    ],
    "csrc/formulas/batch_norm.h": [
        ("unbiased && moments.count > 1 ? moments.count - 1 : moments.count;", "unbiased ? moments.count : moments.count - 1;"),
        ("T(shift - (moments.mean - double(center)) * factor)", "T(shift + (moments.mean - double(center)) * factor)"),
        ("sums.product - rest * sums.grad;", "sums.product;"),
        ("T(-factor * sums.grad / moments.count - rest * slope)", "T(-factor * sums.grad / (moments.count - 1) - rest * slope)"),
        ("1.0 / math::sqrt(moments.squares / moments.count + epsilon)", "1.0 / (math::sqrt(moments.squares / moments.count) + epsilon)"),
    ],
    "csrc/formulas/normalization.h": [
        ("math::fma(distance, row.low, row.rest)", "row.rest"),
        ("centred ? T(-factor * (sums.grad / count)) : T(0)", "T(-factor * (sums.grad / count))"),
        ("of_channel.product * double(scale)", "of_channel.product"),
    ],
    "csrc/formulas/dropout.h": [
        ("return kept ? value * scale : T(0);", "return value * (kept ? scale : T(0));"),
        ("kept ? math::fma(value, scale, kept_shift) : dropped;", "kept ? value * scale : dropped;"),
        ("value * math::fma(normal, deviation, T(1))", "value * math::fma(normal, deviation * deviation, T(1))"),
    ],
    "csrc/formulas/random.h": [
        ("((index & 1u) != 0u ? word >> 16 : word) & 0xffffu", "((index & 1u) != 0u ? word : word >> 16) & 0xffffu"),
        ("low += 0x9E3779B9u, high += 0xBB67AE85u;", "low += 0xBB67AE85u, high += 0x9E3779B9u;"),
        ("float(even) * 0x1p-32f + 0x1p-33f", "float(even) * 0x1p-32f"),
        ("quarter = (turn + 0x200000u) >> 22;", "quarter = turn >> 22;"),
    ],
    "csrc/formulas/losses.h": [
        ("return target == 0 ? T(0) : target * distance;", "return target * distance;"),
        ("label < 0 || label >= classes ? kBadLabel", "label < 0 || label > classes ? kBadLabel"),
        ("return counted == 0 ? 0.0 : 1.0 / counted;", "return 1.0 / counted;"),
        ("return excess > 0 ? T(1) : excess;", "return excess >= 0 ? T(1) : excess;"),
        ("return y == 0 ? T(0) : dy - mean;", "return dy - mean;"),
        ("delta * (size - T(0.5) * delta)", "delta * (size - delta)"),
    ],
    "csrc/cpu/chain.cpp": [
        ("parts_ = chain.center + 2 * chain.factor + 4 * chain.shift;", "parts_ = chain.center + 2 * chain.factor + 4 * (chain.shift && !backward);"),
        ("kernels_.add[type_](argument, in[add_], argument_tile, n);", ""),
        ("void* dx = out[chain_.has_dadd];", "void* dx = out[0];"),
    ],
    "csrc/cpu/noise.cpp": [
        ("return entry.rows[first % kPiecesPerBlock];", "return entry.rows[0];"),
        ("drawn.words) + first % kPiecesPerBlock;", "drawn.words);"),
        ("kernels.draw_pieces(key, first, 0, 1, tile);\n    for (int64_t i = 1;", "kernels.draw_pieces(key, first, 1, n, tile);\n    for (int64_t i = n;"),
    ],
    "csrc/cpu/row_panels.h": [
        ("count_ = std::min({together_, inner_ - row % inner_, end_ - row});", "count_ = std::min({together_, inner_, end_ - row});"),
        ("count_ = std::min({together_, inner_ - row % inner_, end_ - row});", "count_ = std::min({together_, inner_ - row % inner_});"),
        ("return row >= first_ && row < first_ + count_;", "return row >= first_ && row <= first_ + count_;"),
    ],
    "csrc/cpu/short_rows.h": [
        ("std::min(count - first, inner - (row + first) % inner)", "std::min(count - first, inner)"),
        ("row < whole_rows ? whole_columns : 0", "whole_columns"),
    ],
    "csrc/cpu/short_row_kernels.cpp": [
        ("used = used < offset ? used : offset;", "used = used < offset ? used - 1 : offset - 1;"),
        ("lanes[column % kLanes][row] += term", "lanes[0][row] += term"),
    ],
    "csrc/cpu/row_channels.h": [
        ("return row % groups_ * a_row_;", "return row / groups_ * a_row_;"),
        ("std::min(start + n, (channel + 1) * positions_)", "std::min(start + n, at + positions_)"),
    ],
    "csrc/cpu/row_access.h": [
        ("if (held_ > 0) flush(nullptr, 0);", "held_ = 0;"),
        ("bring(0, held_ * columns_.size, ahead, ahead_count);", "bring(0, columns_.size, ahead, ahead_count);"),
    ],
    "csrc/cpu/indexed_rows.cpp": [
        ("      if (starts[index + 1] < room) places[starts[index + 1]++] = p;\n    });", "      places[--starts[index + 2]] = p;\n    });\n    for (int64_t i = 1; i <= call.rows; ++i) starts[i] = starts[i + 1];"),
        ("  std::fill(out, out + columns, T(0));\n", ""),
        ("add(out + start, use_run(table, call.dtype, from + start * item, n, tile), n);", "add(out + start, use_run(table, call.dtype, from + start * item, n, tile), n / 16 * 16);"),
    ],
    "csrc/cpu/lanes.h": [
        ("join(__builtin_shuffle(low, Places{8, 9, 10, 11, 12, 13, 14, 15,", "join(__builtin_shuffle(low, Places{8, 9, 10, 11, 12, 13, 15, 14,"),
        ("join(__builtin_shuffle(low, Places{1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14}));\n", ""),
        ("low = low > other ? low : other;", "low = low < other ? low : other;"),
        ("const int left = static_cast<int>(n - row);", "const int left = static_cast<int>(n - row) & ~1;"),
    ],
    "csrc/cpu/row_losses.cpp": [
        ("    gradient.finish();\n", ""),
        ("losses[row - begin] = 0;", "losses[row - begin] = losses[0];"),
    ],
    "csrc/bindings/chain.cpp": [
        ("const bool stored = computed && chain.has_dadd && !is_16_bit(dy.dtype) && ", "const bool stored = computed && chain.has_dadd && "),
        ("strides[d] = shape[d] == 1 ? 0 : stride;", "strides[d] = stride;"),
    ],
    "csrc/cpu/convert.h": [
        ("for (; i < n; ++i) to[i] = from_bfloat16(from[i]);", "for (; i + 1 < n; ++i) to[i] = from_bfloat16(from[i]);"),
        ("for (; i < n; ++i) to[i] = to_float16(from[i]);", "for (; i < n; ++i) to[i] = uint16_t(to_float16(from[i]) + 1);"),
        ("_mm256_cvtps_ph(canonical, _MM_FROUND_TO_NEAREST_INT)", "_mm256_cvtps_ph(canonical, _MM_FROUND_TO_ZERO)"),
        ("  copy(done, bytes - done);\n", ""),
        ("narrow(from + done, tile, length);", "narrow(from + done, tile, length & ~size_t(1));"),
    ],
    "csrc/cpu/kernels.cpp": [
        ("EACH_ELEMENT dx[i] = dy[i] * op.derivative(x[i]);", "EACH_ELEMENT dx[i] = op.derivative(dy[i] * x[i]);"),
        ("grad_value[i] = op.grad_value(d, g);\n    grad_gate[i] = op.grad_gate(d, v, g);", "grad_gate[i] = op.grad_value(d, g);\n    grad_value[i] = op.grad_gate(d, v, g);"),
        ("for (int piece = 1; piece < pieces; ++piece) {\n    const T* x = input<T>(in, piece);", "for (int piece = 1; piece < 2; ++piece) {\n    const T* x = input<T>(in, piece);"),
        ("dx[i] = winner[i] == T(piece) ? grad[i] : T(0);", "dx[i] = winner[i] == T(piece) ? grad[i] : dx[i];"),
        ("return sum_of<T>(n, [=](size_t i) { return rows[i]; });", "return sum_of<T>(n / 2 * 2, [=](size_t i) { return rows[i]; });"),
        ("constexpr size_t kBlock = 256;", "constexpr size_t kBlock = 250;\n  if (n > 4000) --n;"),
    ],
    "csrc/cpu/tiles.h": [
        ("offset_ += position_[d] * operand.strides[d];", "offset_ += position_[d] * (operand.strides[d] & 0x7fffffff);"),
        ("const int64_t left = layout_.shape[last] - position_[last];", "const int64_t left = layout_.shape[last];"),
        ("moves.repeat[kind](&value, tile, length);", "memcpy(tile, from, length * sizeof(Unit));"),
        ("offset_ -= position_[axis] * operand_.strides[axis];", "offset_ -= (position_[axis] - 1) * operand_.strides[axis];"),
    ],
    "csrc/cpu/pass.cpp": [
        ("int64_t n = std::min(tile_, end - at.index);", "int64_t n = std::min(tile_, end - begin);"),
        ("if (row_) n = std::min(n, row_ - at.column);", ""),
        ("char* base = static_cast<char*>(operand.data) + piece * operand.step;", "char* base = static_cast<char*>(operand.data) + (piece ? 1 : 0) * operand.step;"),
        ("uniform = uniform && operand.strides[d] == 0;", "uniform = operand.strides[d] == 0;"),
        ("Place{index, index / row_, index % row_}", "Place{index, index / row_, 0}"),
        ("char* at = arrays_[k].base + begin * compute_size_;", "char* at = arrays_[k].base + begin * 4;"),
    ],
    "csrc/cpu/elementwise.cpp": [
        ("int64_t begin(int64_t i) const { return i == 0 ? 0 : first + (i - 1) * length; }", "int64_t begin(int64_t i) const { return i * length; }"),
        ("int64_t end(int64_t i) const { return std::min(size, first + i * length); }", "int64_t end(int64_t i) const { return std::min(size, first + i * length) - (i == 2); }"),
        ("return 1 + (size - first + length - 1) / length;", "return 1 + (size - first) / length;"),
    ],
    "csrc/cpu/reduction.cpp": [
        ("return std::min<int64_t>(kChunkRows, rows_ - start(work));", "return std::min<int64_t>(kChunkRows, rows_);"),
        ("const float rounded = static_cast<float>(sum);", "const float rounded = static_cast<float>(sum + 0x1p-24 * sum);"),
    ],
    "csrc/core/layout.h": [
        ("if (shape[d] != 1) move_axis(kept++, d);", "if (shape[d] > 2) move_axis(kept++, d);"),
        ("operand.data = static_cast<char*>(operand.data) + (shape[d] - 1) * operand.strides[d];", "operand.data = static_cast<char*>(operand.data) + shape[d] * operand.strides[d];"),
        ("mergeable = operands[k].strides[last] == operands[k].strides[d] * shape[d];", "mergeable = k > 0 || operands[k].strides[last] == operands[k].strides[d] * shape[d];"),
    ],
    "csrc/cpu/threads.cpp": [
        ("if (chunk >= region.chunks) return;", "if (chunk > region.chunks) return;"),
        ("next_.store(0, std::memory_order_relaxed);", "next_.store(workers_ > 1 ? 1 : 0, std::memory_order_relaxed);"),
        ("while (inside_.load(std::memory_order_acquire) != 0) {", "while (false) {"),
        ("pthread_atfork(nullptr, nullptr, forget_threads);", ""),
    ],
    "csrc/bindings/arrays.cpp": [
        ("if (!view.writable) throw", "if (false) throw"),
        ("if (proxy->byteorder == '>')", "if (false)"),
        ("if (stride < span && view.size() > 0)", "if (false)"),
    ],
    "csrc/bindings/arguments.cpp": [
        ("const double rounded = narrow ? static_cast<double>(static_cast<float>(value)) : value;", "const double rounded = value;"),
    ],
    "csrc/bindings/array_checks.cpp": [
        ("if (same || !share_memory(out, input)) return;", "return;"),
        ("if (a.high <= b.low || b.high <= a.low || !share_memory(out, input)) return;", "return;"),
    ],
    "csrc/bindings/gates.cpp": [
        ("if (x.shape[at] % pieces)", "if (false)"),
        ("  normalize_axis(wanted, x.ndim, \"prelu\");\n", ""),
        ("alpha.view.shape[0] != x.shape[at]", "false"),
        ("return {at, x.shape[at] / 2, 2, true};", "return {x.ndim - 1, x.shape[at] / 2, 2, true};"),
        ("execute(describe_alpha_sum(dy, x, alpha, dalpha.data), call, x);\n", "execute(call, x);\n"),
    ],
    "csrc/bindings/kernel.cpp": [
        ("require_shape(dy, dy_argument, x.ndim, x.shape, \"the shape of x\");", ""),
        ("require_dtype(out, x.dtype, out_argument, \"the dtype of x\");", ""),
        ("if (values[p] == values[p] || parameter.standard == parameter.standard)\n", "if (false)\n"),
        ("if (x.c_contiguous && out.c_contiguous && (!backward || dy.c_contiguous)) {", "if (x.c_contiguous && out.c_contiguous) {"),
    ],
}  # fmt: skip
