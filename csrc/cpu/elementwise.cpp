// SPDX-License-Identifier: BSD-3-Clause
// The elementwise driver: cuts a pass into chunks for threads and tiles for L1, and hands tiles to the kernels.
#include "elementwise.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "../formulas/reduction.h"
#include "float_state.h"
#include "threads.h"
#include "tiles.h"

namespace brazen::cpu {
namespace {

// From this much work on, a second thread helps: about 1 us for a worker that spins, and a caller that never waits for
// one that sleeps.
constexpr int64_t kParallelPicoseconds = 8'000'000;
constexpr int64_t kTileElements = 1024;
// A chunk is what a thread claims at once: long enough to amortise the claim, short enough to balance.
constexpr int64_t kMinChunk = 8 * kTileElements, kMaxChunk = 64 * kTileElements;
// Memory traffic, not arithmetic, costs at least this much an element once data leave the caches.
constexpr int64_t kMemoryPicoseconds = 40;
// Formulas below this cost wait for memory: they fetch the next tile while storing this one. Above it the fetches would
// only delay the stores (tanh: 0.82 of a plain copy with them, 0.85 without).
constexpr int64_t kCheapPicoseconds = 150;
// Outputs past this size go past the caches (measured: 1 MiB of L2 and a share of 32 MiB L3 a core).
constexpr int64_t kStreamBytes = 8 << 20;

constexpr int kMaxArrays = 72;  // dy + 64 pieces and spare: the kernels' flattened pointer lists

struct Scratch {
  std::unique_ptr<unsigned char[]> memory;
  size_t size = 0;

  unsigned char* reserve(size_t bytes) {
    if (bytes > size) memory.reset(new unsigned char[size = bytes]);
    return memory.get();
  }
};

unsigned char* aligned_scratch(size_t bytes) {
  static thread_local Scratch scratch;
  const uintptr_t start = reinterpret_cast<uintptr_t>(scratch.reserve(bytes + 64));
  return reinterpret_cast<unsigned char*>((start + 63) & ~uintptr_t{63});
}

struct Array {
  const Operand* operand;
  char* base;
  bool contiguous;
  bool streamed;
};

// A call with its groups spread out: what every tile of it shares.
struct Pass {
  const ElementwiseCall& call;
  const Layout& layout;
  const KernelTable& table = kernels();
  TileKernel kernel;
  const double* parameters;
  double group_parameters[kMaxParameters];
  std::vector<Array> heap_arrays;
  Array local_arrays[8];
  Array* arrays = local_arrays;
  int inputs = 0, count = 0;
  int64_t compute_size;
  bool direct = true;  // every array can be handed to the kernel as it lies
  bool streams = false;
  bool cheap;

  explicit Pass(const ElementwiseCall& elementwise) : call(elementwise), layout(elementwise.layout) {
    kernel = table.kernels[call.operation][static_cast<int>(call.direction)][call.is_double()];
    if (call.is_brief() && table.brief[call.operation]) kernel = table.brief[call.operation];
    compute_size = call.is_double() ? 8 : 4;
    parameters = call.parameters;
    cheap = call.cost_picoseconds() < kCheapPicoseconds * layout.size;
    if (call.pieces) {
      group_parameters[0] = call.pieces;
      parameters = group_parameters;
    }
    int total = 0;
    for (int k = 0; k < layout.operand_count; ++k) total += layout.operands[k].count;
    if (total > 8) {
      heap_arrays.resize(total);
      arrays = heap_arrays.data();
    }
    for (int k = 0; k < layout.operand_count; ++k) {
      const Operand& operand = layout.operands[k];
      const bool is_output = k >= call.input_count;
      const bool contiguous = layout.contiguous(operand);
      for (int piece = 0; piece < operand.count; ++piece) {
        char* base = static_cast<char*>(operand.data) + piece * operand.step;
        const int64_t size = itemsize(operand.dtype);
        const bool streamed = is_output && contiguous && layout.size * size >= kStreamBytes && !aliases_input(base);
        direct =
            direct && contiguous && !streamed && size == compute_size && reinterpret_cast<uintptr_t>(base) % size == 0;
        streams = streams || streamed;
        arrays[count++] = {&operand, base, contiguous, streamed};
      }
      if (!is_output) inputs = count;
    }
  }

  bool aliases_input(const char* base) const {
    for (int k = 0; k < inputs; ++k)
      if (arrays[k].base == base) return true;
    return false;
  }

  void operator()(int64_t begin, int64_t end) const {
    if (direct)
      run_direct(begin, end);
    else
      run_tiles(begin, end);
    if (streams) table.stream_fence();
  }

  void run_direct(int64_t begin, int64_t end) const {
    const void* in[kMaxArrays];
    void* out[kMaxArrays];
    for (int k = 0; k < count; ++k) {
      char* at = arrays[k].base + begin * compute_size;
      if (k < inputs)
        in[k] = at;
      else
        out[k - inputs] = at;
    }
    kernel(parameters, in, out, end - begin);
  }

  void run_tiles(int64_t begin, int64_t end) const {
    const int64_t tile_bytes = kTileElements * compute_size;
    unsigned char* scratch = aligned_scratch((count + 1) * tile_bytes);
    unsigned char* narrow_tile = scratch + count * tile_bytes;
    const void* in[kMaxArrays];
    void* out[kMaxArrays];
    for (int64_t index = begin; index < end; index += kTileElements) {
      const int64_t n = std::min(kTileElements, end - index);
      for (int k = 0; k < inputs; ++k)
        in[k] = load_tile(table, layout, *arrays[k].operand, arrays[k].base, 0, arrays[k].contiguous, index, n,
                          scratch + k * tile_bytes, narrow_tile);
      for (int k = inputs; k < count; ++k) out[k - inputs] = output_tile(arrays[k], index, scratch + k * tile_bytes);
      kernel(parameters, in, out, n);
      const char* ahead[kMaxArrays];
      const bool fetch = streams && cheap && index + 2 * kTileElements <= end;
      const int ahead_count = fetch ? next_inputs(index + kTileElements, ahead) : 0;
      for (int k = inputs; k < count; ++k)
        store(arrays[k], index, n, out[k - inputs], narrow_tile, ahead, k == count - 1 ? ahead_count : 0);
    }
  }

  // Where the inputs of the tile at `index` lie, for those that lie in one run.
  int next_inputs(int64_t index, const char** ahead) const {
    int found = 0;
    for (int k = 0; k < inputs; ++k)
      if (arrays[k].contiguous) ahead[found++] = arrays[k].base + index * itemsize(arrays[k].operand->dtype);
    return found;
  }

  void* output_tile(const Array& array, int64_t index, void* tile) const {
    const int64_t size = itemsize(array.operand->dtype);
    const bool in_place = array.contiguous && !array.streamed && size == compute_size &&
                          reinterpret_cast<uintptr_t>(array.base) % size == 0;
    return in_place ? array.base + index * size : tile;
  }

  void store(const Array& array, int64_t index, int64_t n, const void* tile, void* narrow_tile,
             const char* const* ahead, int ahead_count) const {
    const DType dtype = array.operand->dtype;
    const int64_t size = itemsize(dtype);
    char* to = array.base + index * size;
    if (tile == to) return;
    if (is_16_bit(dtype)) {
      const bool straight = array.contiguous && !array.streamed && reinterpret_cast<uintptr_t>(to) % size == 0;
      uint16_t* narrowed = straight ? reinterpret_cast<uint16_t*>(to) : static_cast<uint16_t*>(narrow_tile);
      table.narrow[static_cast<int>(dtype)](static_cast<const float*>(tile), narrowed, n);
      if (straight) return;
      tile = narrowed;
    }
    if (array.contiguous && array.streamed) {
      table.stream(to, tile, n * size, ahead, ahead_count);
      return;
    }
    const Cursor cursor(layout, *array.operand, 0, index);
    if (size == 2)
      scatter(array.base, cursor, static_cast<const uint16_t*>(tile), n);
    else if (size == 4)
      scatter(array.base, cursor, static_cast<const uint32_t*>(tile), n);
    else
      scatter(array.base, cursor, static_cast<const uint64_t*>(tile), n);
  }
};

int64_t chunk_elements(int64_t size) {
  const int64_t fair = size / (4 * thread_count());
  return std::clamp(fair / kTileElements * kTileElements, kMinChunk, kMaxChunk);
}

}  // namespace

void run(const ElementwiseCall& call) {
  const int64_t size = call.layout.size;
  if (size == 0) return;
  const Pass pass(call);
  const int64_t picoseconds = std::max(call.cost_picoseconds(), size * kMemoryPicoseconds);
  if (picoseconds < kParallelPicoseconds || thread_count() == 1) {
    const FloatState guard;
    pass(0, size);
    return;
  }
  const int64_t chunk = chunk_elements(size);
  parallel_for((size + chunk - 1) / chunk, [&](int64_t i) { pass(i * chunk, std::min(size, (i + 1) * chunk)); });
}

namespace {

// A 16-bit result is rounded from the float32 one, as everywhere.
void store_sum(const KernelTable& table, const ReductionCall& call, int64_t group, double sum) {
  char* to = static_cast<char*>(call.results) + group * itemsize(call.result_dtype);
  const float rounded = static_cast<float>(sum);
  uint16_t narrowed;
  if (call.result_dtype == DType::float64) {
    memcpy(to, &sum, sizeof sum);
  } else if (call.result_dtype == DType::float32) {
    memcpy(to, &rounded, sizeof rounded);
  } else {
    table.narrow[static_cast<int>(call.result_dtype)](&rounded, &narrowed, 1);  // `to` may be misaligned
    memcpy(to, &narrowed, sizeof narrowed);
  }
}

template <class T>
void reduce(const ReductionCall& call) {
  const Layout& layout = call.terms.layout;
  const KernelTable& table = kernels();
  const TileKernel kernel = table.kernels[call.terms.operation][0][sizeof(T) == 8];
  int64_t groups = 1, rows = 1;
  for (int d = 0; d < layout.ndim; ++d) (d < call.kept ? groups : rows) *= layout.shape[d];
  const int64_t chunks = chunk_count(rows);
  std::vector<double> partials(groups * chunks);
  const int inputs = call.terms.input_count;

  const auto sum_one = [&](int64_t work) {
    const int64_t group = work / chunks, start = work % chunks * kChunkRows;
    const int64_t n = std::min<int64_t>(kChunkRows, rows - start);
    unsigned char* scratch = aligned_scratch((inputs + 2) * kChunkRows * sizeof(T));
    const void* in[kMaxOperands];
    for (int k = 0; k < inputs; ++k) {
      const Operand& operand = layout.operands[k];
      const char* base = static_cast<const char*>(operand.data);
      int64_t rest = group;
      for (int d = call.kept - 1; d >= 0; --d) {
        base += rest % layout.shape[d] * operand.strides[d];
        rest /= layout.shape[d];
      }
      const bool contiguous = layout.ndim == call.kept + 1 && operand.strides[call.kept] == itemsize(operand.dtype);
      in[k] = load_tile(table, layout, operand, base, call.kept, contiguous, start, n,
                        scratch + k * kChunkRows * sizeof(T), scratch + (inputs + 1) * kChunkRows * sizeof(T));
    }
    void* terms = scratch + inputs * kChunkRows * sizeof(T);
    kernel(call.terms.parameters, in, &terms, n);
    if constexpr (sizeof(T) == 4)
      partials[work] = table.sum_float(static_cast<const float*>(terms), n);
    else
      partials[work] = table.sum_double(static_cast<const double*>(terms), n);
  };

  const FloatState guard;  // for the merging, too
  if (call.terms.cost_picoseconds() < kParallelPicoseconds) {
    for (int64_t work = 0; work < groups * chunks; ++work) sum_one(work);
  } else {
    // Sixteen chunks of 1,024 rows a claim: a claim costs an atomic addition on a shared line.
    constexpr int64_t kBatch = 16;
    parallel_for((groups * chunks + kBatch - 1) / kBatch, [&](int64_t batch) {
      for (int64_t work = batch * kBatch; work < std::min((batch + 1) * kBatch, groups * chunks); ++work) sum_one(work);
    });
  }
  for (int64_t group = 0; group < groups; ++group)
    store_sum(table, call, group, merge_chunks(partials.data() + group * chunks, chunks, 1));
}

}  // namespace

void run(const ReductionCall& call) {
  if (call.terms.is_double())
    reduce<double>(call);
  else
    reduce<float>(call);
}

void stream_copy(void* to, const void* from, int64_t bytes) {
  const KernelTable& table = kernels();
  constexpr int64_t kChunk = 256 << 10;
  parallel_for((bytes + kChunk - 1) / kChunk, [&](int64_t i) {
    const int64_t start = i * kChunk;
    table.stream(static_cast<char*>(to) + start, static_cast<const char*>(from) + start,
                 std::min(kChunk, bytes - start), nullptr, 0);
    table.stream_fence();
  });
}

}  // namespace brazen::cpu
