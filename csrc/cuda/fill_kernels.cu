// SPDX-License-Identifier: BSD-3-Clause
// Random fills: a thread for each Philox block, which writes the block's elements.
#include "../core/chain.h"
#include "cut.h"
#include "index.h"
#include "launch.h"
#include "vector.h"

// A namespace with a name: an anonymous one would put the build folder's hash into the kernels' names.
namespace brazen::cuda::fills {

constexpr int kThreads = 256;

// Kernel parameters, plain data. Elements are numbered in logical order; strides are bytes.
struct FillPass {
  uint32_t elements;
  int32_t ndim;
  Divisor<uint32_t> extents[kAxes];
  int64_t strides[kAxes];
  char* data;
  DType dtype;
  FillCall::Kind kind;
  uint32_t threshold;
  bool dense;  // a whole block's elements are one aligned run of 8 or 16 bytes
  bool affine;
  RandomKey key;
  uint64_t first_index;
  float scale, shift;
  double wide_scale, wide_shift;
};

// A block gives this many elements.
int values_per_block(FillCall::Kind kind, DType dtype) {
  if (kind == FillCall::Kind::bernoulli) return kPiecesPerBlock;
  return kind == FillCall::Kind::words || dtype == DType::float64 ? kValuesPerBlock<double> : kValuesPerBlock<float>;
}

template <class Item, int count>
FORMULA void store_block(const FillPass& pass, uint64_t block, Item (&items)[count]) {
  // Elements before the first wrap to numbers past the end.
  const uint64_t first = block * count - pass.first_index;
  if (pass.dense && first + count <= pass.elements) {
    struct alignas(sizeof items) Whole {
      Item items[count];
    } whole;
#pragma unroll
    for (int i = 0; i < count; ++i) whole.items[i] = items[i];
    *reinterpret_cast<Whole*>(pass.data + first * sizeof(Item)) = whole;
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (first + i >= pass.elements) continue;
    int64_t offset = 0;
    const int64_t (*strides)[kAxes] = &pass.strides;
    locate<1>(static_cast<uint32_t>(first + i), 0, pass.ndim, pass.extents, strides, &offset);
    *reinterpret_cast<Item*>(pass.data + offset) = items[i];
  }
}

template <class T>
FORMULA void draw(const FillPass& pass, const PhiloxBlock& block, T scale, T shift, T (&values)[kValuesPerBlock<T>]) {
#pragma unroll
  for (int i = 0; i < kValuesPerBlock<T>; i += 2) {
    const Word<T> even = word(block, i, T()), odd = word(block, i + 1, T());
    if (pass.kind == FillCall::Kind::normal) {
      const NormalPair<T> point = normal(even, odd);
      values[i] = point.even, values[i + 1] = point.odd;
    } else {
      values[i] = uniform(even), values[i + 1] = uniform(odd);
    }
  }
  if (!pass.affine) return;
#pragma unroll
  for (int i = 0; i < kValuesPerBlock<T>; ++i) values[i] = math::fma(values[i], scale, shift);
}

__global__ void __launch_bounds__(kThreads) fill_blocks(const __grid_constant__ FillPass pass) {
  const uint64_t thread = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pass.kind == FillCall::Kind::bernoulli) {
    const uint64_t number = pass.first_index / kPiecesPerBlock + thread;
    const PhiloxBlock block = philox(pass.key, number);
    uint8_t kept[kPiecesPerBlock];
#pragma unroll
    for (int i = 0; i < kPiecesPerBlock; ++i) kept[i] = piece(block, i) < pass.threshold;
    store_block(pass, number, kept);
  } else if (pass.kind == FillCall::Kind::words) {
    const uint64_t number = pass.first_index / kValuesPerBlock<double> + thread;
    const PhiloxBlock block = philox(pass.key, number);
    uint64_t words[2] = {word(block, 0, double()), word(block, 1, double())};
    store_block(pass, number, words);
  } else if (pass.dtype == DType::float64) {
    const uint64_t number = pass.first_index / kValuesPerBlock<double> + thread;
    double values[kValuesPerBlock<double>];
    draw(pass, philox(pass.key, number), pass.wide_scale, pass.wide_shift, values);
    store_block(pass, number, values);
  } else {
    const uint64_t number = pass.first_index / kValuesPerBlock<float> + thread;
    float values[kValuesPerBlock<float>];
    draw(pass, philox(pass.key, number), pass.scale, pass.shift, values);
    if (pass.dtype == DType::float32) return store_block(pass, number, values);
    uint16_t halves[kValuesPerBlock<float>];
#pragma unroll
    for (int i = 0; i < kValuesPerBlock<float>; ++i)
      halves[i] = pass.dtype == DType::bfloat16 ? narrow_bfloat16(values[i]) : narrow_float16(values[i]);
    store_block(pass, number, halves);
  }
}

// The second operand is the index, as a chain's (core/chain.h), so that a cut moves it too.
cudaError_t run(const FillCall& call, const Layout& layout, const Launch& where) {
  const Operand& out = layout.operands[0];
  FillPass pass{};
  pass.elements = static_cast<uint32_t>(layout.size);
  pass.ndim = layout.ndim ? layout.ndim : 1;
  pass.strides[0] = 0;
  for (int d = 0; d < layout.ndim; ++d) {
    pass.strides[d] = out.strides[d];
    if (d > 0) pass.extents[d].set(layout.shape[d]);
  }
  pass.data = static_cast<char*>(out.data);
  pass.dtype = out.dtype;
  pass.kind = call.kind;
  pass.threshold = call.threshold;
  pass.affine = call.scale != 1 || call.shift != 0;
  pass.key = call.key;
  pass.first_index = reinterpret_cast<uintptr_t>(layout.operands[1].data);
  pass.scale = static_cast<float>(call.scale), pass.shift = static_cast<float>(call.shift);
  pass.wide_scale = call.scale, pass.wide_shift = call.shift;
  const uint64_t per_block = static_cast<uint64_t>(values_per_block(call.kind, out.dtype));
  pass.dense = layout.contiguous(out) && pass.first_index % per_block == 0 &&
               reinterpret_cast<uintptr_t>(out.data) % (per_block * itemsize(out.dtype)) == 0;
  const uint64_t last = pass.first_index + pass.elements - 1;
  const uint64_t blocks = last / per_block - pass.first_index / per_block + 1;
  return launch(fill_blocks, static_cast<int64_t>((blocks + kThreads - 1) / kThreads), kThreads, where.stream, pass);
}

}  // namespace brazen::cuda::fills

brazen::cuda::Status brazen_cuda_fill(const brazen::FillCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  brazen::Layout layout = call->layout;
  if (layout.size == 0) return Status::ok;
  if (!aligned(layout)) return refuse(*where, kMisaligned);
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  int64_t strides[brazen::kMaxDims], stride = 1;
  for (int d = layout.ndim - 1; d >= 0; --d) strides[d] = stride, stride *= layout.shape[d];
  layout.add(reinterpret_cast<void*>(call->first_index), brazen::DType::uint8, strides);
  const auto run = [&](const brazen::Layout& part) { return fills::run(*call, part, *where); };
  return explain(for_each_part(layout, run), *where);
}
