// SPDX-License-Identifier: BSD-3-Clause
// The stages of a chain in their fixed order, each one loop over a tile in L1.
#include "chain.h"

#include <algorithm>
#include <cstring>

#include "elementwise.h"
#include "float_state.h"
#include "pass.h"
#include "threads.h"

namespace brazen::cpu {

ChainProgram::ChainProgram(const ChainCall& call, const KernelTable& table)
    : chain_(call.chain),
      kernels_(*table.chain),
      direction_(call.direction),
      type_(call.compute_dtype == DType::float64 ? 1 : 0) {
  const Chain& chain = call.chain;
  const bool backward = direction_ == Direction::backward;
  int next = backward ? 1 : 0;
  const auto take = [&](bool present, int& slot, bool coefficient) {
    if (!present) return;
    if (coefficient) coefficients_ |= 1u << next;
    slot = next++;
  };
  take(!backward || chain.has_x, x_, false);
  take(chain.center, center_, true);
  take(chain.factor, factor_, true);
  take(chain.shift, shift_, true);
  take(chain.add, add_, false);
  take(chain.add_after && !backward, add_after_, false);
  take(chain.correction && backward, slope_, true);
  take(chain.correction && backward, base_, true);
  take(chain.noise != Noise::none, noise_, false);
  parts_ = chain.center + 2 * chain.factor + 4 * chain.shift;

  // Picoseconds of one stage's loads, work and stores in L1; a Philox call serves eight pieces or two to four normals.
  constexpr int kStage = 40, kPiece = 130, kNormal = 700;
  picoseconds_ = kStage * (1 + (parts_ != 0) + chain.add + chain.add_after + (backward && chain.has_dx));
  if (chain.noise != Noise::none) picoseconds_ += chain.noise == Noise::dropout ? kPiece : kNormal;
  if (chain.activation >= 0) {
    activation_ = table.kernels[chain.activation][0][type_];
    activation_backward_ = table.kernels[chain.activation][1][type_];
    const OperationInfo& info = kRegistry.operations[chain.activation].info;
    picoseconds_ += backward ? info.backward_cost : info.forward_cost;
  }
}

void ChainProgram::forward(const void* const* in, void* const* out, size_t n, bool single, unsigned char* work) const {
  // Every stage but the last writes the work tile, in place from the second on.
  int left = (parts_ != 0) + chain_.add + (activation_ != nullptr) + (noise_ >= 0) + chain_.add_after;
  const void* value = in[x_];
  const auto next = [&] { return --left == 0 ? out[0] : work; };
  if (parts_) {
    void* to = next();
    kernels_.affine[parts_][single][type_](value, at(in, center_), at(in, factor_), at(in, shift_), to, n);
    value = to;
  }
  if (chain_.add) {
    void* to = next();
    kernels_.add[type_](value, in[add_], to, n);
    value = to;
  }
  if (activation_) {
    void* to = next();
    activation_(chain_.activation_parameters, &value, &to, n);
    value = to;
  }
  if (noise_ >= 0) {
    void* to = next();
    kernels_.noise[static_cast<int>(chain_.noise)][0][type_](chain_, value, in[noise_], to, n);
    value = to;
  }
  if (chain_.add_after) {
    void* to = next();
    kernels_.add[type_](value, in[add_after_], to, n);
    value = to;
  }
  if (value == in[x_] && value != out[0]) memcpy(out[0], value, n * (type_ ? 8 : 4));
}

void ChainProgram::backward(const void* const* in, void* const* out, size_t n, bool single, unsigned char* work,
                            int64_t tile_bytes) const {
  const void* grad = in[0];
  // Where the gradient of the affine result goes: straight to the output that is nothing but it, if there is one.
  const bool has_dx_stage = chain_.has_dx && (chain_.correction || factor_ >= 0);
  void* const target = chain_.has_dadd || !has_dx_stage ? out[0] : work;
  if (noise_ >= 0 && chain_.noise != Noise::add) {
    void* to = activation_ ? work : target;
    kernels_.noise[static_cast<int>(chain_.noise)][1][type_](chain_, grad, in[noise_], to, n);
    grad = to;
  }
  if (activation_) {
    const void* argument = in[x_];
    void* argument_tile = work + tile_bytes;
    if (parts_) {
      kernels_.affine[parts_][single][type_](argument, at(in, center_), at(in, factor_), at(in, shift_), argument_tile,
                                             n);
      argument = argument_tile;
    }
    if (chain_.add) {
      kernels_.add[type_](argument, in[add_], argument_tile, n);
      argument = argument_tile;
    }
    const void* arguments[2] = {grad, argument};
    void* to = target;
    activation_backward_(chain_.activation_parameters, arguments, &to, n);
    grad = to;
  }
  const size_t bytes = n * (type_ ? 8 : 4);
  // Where dx is to lie over dy itself, dy is put aside for dadd. dadd comes last, for it may lie over x.
  if (chain_.has_dx) {
    void* dx = out[chain_.has_dadd];
    if (chain_.has_dadd && dx == grad) grad = memcpy(work, grad, bytes);
    if (chain_.correction)
      kernels_.correct[single][type_](grad, in[x_], in[center_], in[factor_], in[slope_], in[base_], dx, n);
    else if (factor_ >= 0)
      kernels_.affine[2][single][type_](grad, nullptr, in[factor_], nullptr, dx, n);
    else if (dx != grad)
      memcpy(dx, grad, bytes);
  }
  if (chain_.has_dadd && out[0] != grad) memcpy(out[0], grad, bytes);
}

void run(const ChainCall& call) {
  if (call.layout.size == 0) return;
  const Pass pass(call);
  run_pass(pass, call.layout, call.fresh, call.layout.size * pass.picoseconds());
}

namespace {

// `n` elements from `begin` on, in logical order.
void fill_tile(const KernelTable& table, const FillCall& call, int64_t begin, int64_t n) {
  const Layout& layout = call.layout;
  const Operand& out = layout.operands[0];
  const bool is_double = out.dtype == DType::float64;
  unsigned char* tile = thread_scratch(2 * (kTileElements + kDrawSlack) * sizeof(double));
  unsigned char* second = tile + (kTileElements + kDrawSlack) * sizeof(double);
  if (call.kind == FillCall::Kind::bernoulli) {
    Chain chain{};
    chain.noise = Noise::dropout;
    chain.key = call.key;
    const void* pieces = draw(table, chain, false, call.first_index + begin, 1, n, tile);
    table.chain->compare(static_cast<const uint16_t*>(pieces), call.threshold, n, second);
    return scatter_run(layout, out, static_cast<char*>(out.data), begin, n, second);
  }
  if (call.kind == FillCall::Kind::words)
    return scatter_run(layout, out, static_cast<char*>(out.data), begin, n,
                       draw_long_words(table, call.key, call.first_index + begin, n, tile));
  const void* drawn = draw_values(table, call.key, call.kind == FillCall::Kind::normal, is_double,
                                  call.first_index + begin, 1, n, tile);
  // One value each for the run, of the compute type.
  const double wide[2] = {call.scale, call.shift};
  const float narrow[2] = {static_cast<float>(call.scale), static_cast<float>(call.shift)};
  const void* scale = is_double ? static_cast<const void*>(wide) : narrow;
  const void* shift = is_double ? static_cast<const void*>(wide + 1) : narrow + 1;
  if (call.scale != 1 || call.shift != 0) {
    table.chain->affine[6][1][is_double](drawn, nullptr, scale, shift, second, n);
    drawn = second;
  }
  if (is_16_bit(out.dtype)) {
    uint16_t* narrowed = reinterpret_cast<uint16_t*>(drawn == second ? tile : second);
    table.narrow[static_cast<int>(out.dtype)](static_cast<const float*>(drawn), narrowed, n);
    drawn = narrowed;
  }
  scatter_run(layout, out, static_cast<char*>(out.data), begin, n, drawn);
}

}  // namespace

void run(const FillCall& call) {
  const int64_t tiles = (call.layout.size + kTileElements - 1) / kTileElements;
  const KernelTable& table = kernels();
  const auto fill_one = [&](int64_t tile) {
    const int64_t begin = tile * kTileElements;
    fill_tile(table, call, begin, std::min(kTileElements, call.layout.size - begin));
  };
  if (call.layout.size < 2 * kTileElements) {
    const FloatState guard;
    for (int64_t tile = 0; tile < tiles; ++tile) fill_one(tile);
    return;
  }
  constexpr int64_t kBatch = 16;
  parallel_for((tiles + kBatch - 1) / kBatch, [&](int64_t batch) {
    for (int64_t tile = batch * kBatch; tile < std::min(tiles, (batch + 1) * kBatch); ++tile) fill_one(tile);
  });
}

}  // namespace brazen::cpu
