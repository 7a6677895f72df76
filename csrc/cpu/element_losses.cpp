// SPDX-License-Identifier: BSD-3-Clause
// Losses of one number an element: the whole array is one row, whose chunks are claimed by threads.
#include <memory>

#include "float_state.h"
#include "row_access.h"
#include "row_claims.h"
#include "row_kernels.h"
#include "rows.h"

namespace brazen::cpu {
namespace {

template <class T>
void run_losses(const ElementLossCall& call) {
  const FloatState guard;
  const RowLoops<T>& loop = loops<T>(*kernels().rows);
  const int64_t size = call.arrays.columns.size, chunks = chunk_count(size);
  const bool kept = call.reduction == Reduction::none;
  const double factor = call.reduction == Reduction::mean ? mean_factor(static_cast<double>(size)) : 1.0;
  const T slope_factor = static_cast<T>(call.grad_scale * factor);
  std::unique_ptr<double[]> partials(new double[std::max<int64_t>(1, chunks)]);

  const auto work = [&](int64_t begin, int64_t end) {
    RowSource<T> x(call.arrays, 0, true), targets(call.arrays, 1, true),
        weights(call.arrays, call.weighted ? 2 : 0, true);
    RowSink<T> gradient(call.arrays, call.gradient(), call.gradient());
    Arena arena;
    T* terms = nullptr;
    for (int round = 0; round < 2; ++round) {
      x.take(arena), targets.take(arena), gradient.take(arena);
      if (call.weighted) weights.take(arena);
      terms = arena.take<T>(kChunkRows);
      if (round == 0) arena.provide();
    }
    x.seek(0), targets.seek(0), gradient.seek(0);
    if (call.weighted) weights.seek(0);
    const char* bases[2] = {gradient.streamed() ? x.ahead(0) : nullptr,
                            gradient.streamed() ? targets.ahead(0) : nullptr};
    for (int64_t i = begin; i < end; ++i) {
      const int64_t start = i * kChunkRows, n = std::min<int64_t>(kChunkRows, size - start);
      T* losses = kept ? static_cast<T*>(call.losses) + start : terms;
      loop.element_losses[call.operation](call.parameters, x.chunk(start, n), targets.chunk(start, n),
                                          call.weighted ? weights.chunk(start, n) : nullptr, slope_factor, losses,
                                          gradient.chunk(start), n);
      const char* ahead[2];
      int count = 0;
      if (i + 1 < end && start + 2 * kChunkRows <= size)
        for (const char* base : bases)
          if (base) ahead[count++] = base + (start + n) * itemsize(x.dtype());
      gradient.store(start, n, ahead, count);
      partials[i] = static_cast<double>(kept ? T(0) : loop.sum(losses, n));
    }
    if (gradient.streamed()) kernels().stream_fence();
  };
  const UnitClaims claims(chunks, kChunkRows, itemsize(call.arrays.rows.operands[call.gradient()].dtype), call.fresh,
                          size * 100);
  claims.each(work);
  if (!kept) *static_cast<T*>(call.losses) = static_cast<T>(merge_chunks(partials.get(), chunks, 1) * factor);
}

}  // namespace

void run(const ElementLossCall& call) { call.is_double() ? run_losses<double>(call) : run_losses<float>(call); }

}  // namespace brazen::cpu
