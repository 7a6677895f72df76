// SPDX-License-Identifier: BSD-3-Clause
// Every formula as a loop over short contiguous runs. Compiled once per instruction set, each time in a namespace of
// its own: BRAZEN_TARGET is v4, v3, baseline or neon. Nothing of std:: may be instantiated here, for the linker could
// keep the AVX-512 copy of it.
#include "kernels.h"

#include "convert.h"
#include "lanes.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {

// Each from its own file.
extern const ChainKernels kChainKernels;
extern const ChannelKernels kChannelKernels;
extern const UpdateKernels kUpdateKernels;
extern const FactoredKernels kFactoredKernels;
extern const MoveKernels kMoveKernels;

namespace {

// The runs of one call are equal or apart, never shifted, so iterations are independent.
#define EACH_ELEMENT _Pragma("GCC ivdep") for (size_t i = 0; i < n; ++i)

template <class T>
const T* input(const void* const* in, int k) {
  return static_cast<const T*>(in[k]);
}

template <class T>
T* output(void* const* out, int k) {
  return static_cast<T*>(out[k]);
}

template <class Op, class T>
void forward(const double* parameters, const void* const* in, void* const* out, size_t n) {
  const Op op = make<Op, T>(parameters);
  const T* x = input<T>(in, 0);
  T* y = output<T>(out, 0);
  EACH_ELEMENT y[i] = op.forward(x[i]);
}

template <class Op>
void brief(const double*, const void* const* in, void* const* out, size_t n) {
  const float* x = input<float>(in, 0);
  float* y = output<float>(out, 0);
  EACH_ELEMENT y[i] = Op::brief(x[i]);
}

template <class Op, class T>
void backward(const double* parameters, const void* const* in, void* const* out, size_t n) {
  const Op op = make<Op, T>(parameters);
  const T *dy = input<T>(in, 0), *x = input<T>(in, 1);
  T* dx = output<T>(out, 0);
  EACH_ELEMENT dx[i] = dy[i] * op.derivative(x[i]);
}

template <class Op, class T>
void gate_forward(const double*, const void* const* in, void* const* out, size_t n) {
  const T *value = input<T>(in, 0), *gate = input<T>(in, 1);
  T* y = output<T>(out, 0);
  const Op op{};
  EACH_ELEMENT y[i] = op.forward(value[i], gate[i]);
}

template <class Op, class T>
void gate_backward(const double*, const void* const* in, void* const* out, size_t n) {
  const T *dy = input<T>(in, 0), *value = input<T>(in, 1), *gate = input<T>(in, 2);
  T *grad_value = output<T>(out, 0), *grad_gate = output<T>(out, 1);
  const Op op{};
  EACH_ELEMENT {
    const T d = dy[i], v = value[i], g = gate[i];
    grad_value[i] = op.grad_value(d, g);
    grad_gate[i] = op.grad_gate(d, v, g);
  }
}

template <class T>
void prelu_forward(const double*, const void* const* in, void* const* out, size_t n) {
  const T *x = input<T>(in, 0), *alpha = input<T>(in, 1);
  T* y = output<T>(out, 0);
  EACH_ELEMENT y[i] = Prelu<T>::forward(x[i], alpha[i]);
}

template <class T>
void prelu_backward(const double*, const void* const* in, void* const* out, size_t n) {
  const T *dy = input<T>(in, 0), *x = input<T>(in, 1), *alpha = input<T>(in, 2);
  T* dx = output<T>(out, 0);
  EACH_ELEMENT dx[i] = Prelu<T>::grad_x(dy[i], x[i], alpha[i]);
}

template <class T>
void prelu_alpha(const double*, const void* const* in, void* const* out, size_t n) {
  const T *dy = input<T>(in, 0), *x = input<T>(in, 1);
  T* term = output<T>(out, 0);
  EACH_ELEMENT term[i] = PreluAlpha<T>::forward(dy[i], x[i]);
}

// parameters[0] is the number of pieces.
template <class T>
void maxout_forward(const double* parameters, const void* const* in, void* const* out, size_t n) {
  const int pieces = static_cast<int>(parameters[0]);
  T* y = output<T>(out, 0);
  const T* first = input<T>(in, 0);
  EACH_ELEMENT y[i] = first[i];
  for (int piece = 1; piece < pieces; ++piece) {
    const T* x = input<T>(in, piece);
    EACH_ELEMENT y[i] = Maxout<T>::beats(x[i], y[i]) ? x[i] : y[i];
  }
}

// A block at a time, so that the outputs may lie over the inputs: the winner is known before anything is written.
template <class T>
void maxout_backward(const double* parameters, const void* const* in, void* const* out, size_t n) {
  const int pieces = static_cast<int>(parameters[0]);
  constexpr size_t kBlock = 256;
  T best[kBlock], winner[kBlock], grad[kBlock];
  for (size_t start = 0; start < n; start += kBlock) {
    const size_t length = n - start < kBlock ? n - start : kBlock;
    const T *dy = input<T>(in, 0) + start, *first = input<T>(in, 1) + start;
    for (size_t i = 0; i < length; ++i) best[i] = first[i], winner[i] = 0, grad[i] = dy[i];
    for (int piece = 1; piece < pieces; ++piece) {
      const T* x = input<T>(in, 1 + piece) + start;
      for (size_t i = 0; i < length; ++i) {
        const bool wins = Maxout<T>::beats(x[i], best[i]);
        best[i] = wins ? x[i] : best[i];
        winner[i] = wins ? T(piece) : winner[i];
      }
    }
    for (int piece = 0; piece < pieces; ++piece) {
      T* dx = output<T>(out, piece) + start;
      for (size_t i = 0; i < length; ++i) dx[i] = winner[i] == T(piece) ? grad[i] : T(0);
    }
  }
}

template <class T>
T sum_chunk(const T* rows, size_t n) {
  return sum_of<T>(n, [=](size_t i) { return rows[i]; });
}

template <class T>
constexpr void register_type(KernelTable& table, int type) {
  const auto set = [&](int operation, TileKernel forward_kernel, TileKernel backward_kernel) {
    table.kernels[operation][0][type] = forward_kernel;
    table.kernels[operation][1][type] = backward_kernel;
  };
  Activations::for_each<T>([&]<class Op>(int i) { set(kFirstActivation + i, forward<Op, T>, backward<Op, T>); });
  Gates::for_each<T>([&]<class Op>(int i) { set(kFirstGate + i, gate_forward<Op, T>, gate_backward<Op, T>); });
  Functions::for_each<T>([&]<class Op>(int i) { set(kFirstFunction + i, forward<Op, T>, nullptr); });
  set(kPrelu, prelu_forward<T>, prelu_backward<T>);
  set(kPreluAlpha, prelu_alpha<T>, nullptr);
  set(kMaxout, maxout_forward<T>, maxout_backward<T>);
}

#define BRAZEN_TEXT_OF(token) #token
#define BRAZEN_TEXT(token) BRAZEN_TEXT_OF(token)

}  // namespace

extern const RowKernels kRowKernels;
extern const ShortRowKernels kShortRowKernels;

namespace {

constexpr KernelTable make_table() {
  KernelTable table{};
  table.isa = BRAZEN_TEXT(BRAZEN_TARGET);
  table.chain = &kChainKernels;
  table.channels = &kChannelKernels;
  Activations::for_each<float>([&]<class Op>(int i) {
    if constexpr (requires { Op::brief(0.0f); }) table.brief[kFirstActivation + i] = brief<Op>;
  });
  register_type<float>(table, 0);
  register_type<double>(table, 1);
  table.widen[static_cast<int>(DType::float16)] = widen_float16;
  table.widen[static_cast<int>(DType::bfloat16)] = widen_bfloat16;
  table.narrow[static_cast<int>(DType::float16)] = narrow_float16;
  table.narrow[static_cast<int>(DType::bfloat16)] = narrow_bfloat16;
  table.stream = stream;
  table.stream_narrow[static_cast<int>(DType::float16)] = stream_narrow<DType::float16>;
  table.stream_narrow[static_cast<int>(DType::bfloat16)] = stream_narrow<DType::bfloat16>;
  table.stream_fence = stream_fence;
  table.sum_float = sum_chunk<float>;
  table.sum_double = sum_chunk<double>;
  table.updates = &kUpdateKernels;
  table.factored = &kFactoredKernels;
  table.rows = &kRowKernels;
  table.short_rows = &kShortRowKernels;
  table.moves = &kMoveKernels;
  return table;
}

}  // namespace

// Referenced by name from isa.cpp, one per compiled instruction set.
extern const KernelTable kTable;
constinit const KernelTable kTable = make_table();

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
