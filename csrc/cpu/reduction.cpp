// SPDX-License-Identifier: BSD-3-Clause
// The fixed-shape sum of an elementwise call's terms: chunks of 1,024 rows for threads, merged in a binary tree.
#include "../formulas/reduction.h"

#include <algorithm>
#include <vector>

#include "elementwise.h"
#include "float_state.h"
#include "scratch.h"
#include "threads.h"
#include "tiles.h"
#include "work.h"

namespace brazen::cpu {
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
    unsigned char* scratch = thread_scratch((inputs + 2) * kChunkRows * sizeof(T));
    const void* in[kMaxOperands];
    for (int k = 0; k < inputs; ++k) {
      const Operand& operand = layout.operands[k];
      const char* base = static_cast<const char*>(operand.data);
      int64_t rest = group;
      for (int d = call.kept - 1; d >= 0; --d) {
        base += rest % layout.shape[d] * operand.strides[d];
        rest /= layout.shape[d];
      }
      const bool one_run = layout.ndim == call.kept + 1 && operand.strides[call.kept] == itemsize(operand.dtype);
      void* tile = scratch + k * kChunkRows * sizeof(T);
      in[k] = one_run && naturally_aligned(base, operand)
                  ? use_run(table, operand.dtype, base + start * itemsize(operand.dtype), n, tile)
                  : gather_run(table, layout, operand, base, call.kept, start, n, tile,
                               scratch + (inputs + 1) * kChunkRows * sizeof(T));
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

}  // namespace brazen::cpu
