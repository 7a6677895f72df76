// SPDX-License-Identifier: BSD-3-Clause
// The fixed-shape sum of an elementwise call's terms: chunks of 1,024 rows for threads, merged in a binary tree; and,
// read with the same inputs, a gradient.
#include "../formulas/reduction.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "elementwise.h"
#include "float_state.h"
#include "pass.h"
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

// The elements a chunk's rows are in a gradient of the same inputs: known where they are one run of every input, and
// all inputs lie in the gradient's order.
struct Range {
  int64_t begin = -1, end = -1;
};

template <class T>
class Reduction {
 public:
  explicit Reduction(const ReductionCall& call, const ElementwiseCall* gradient = nullptr)
      : call_(call), kernel_(table_.kernels[call.terms.operation][0][sizeof(T) == 8]), gradient_(gradient) {
    for (int d = 0; d < layout_.ndim; ++d) (d < call.kept ? groups_ : rows_) *= layout_.shape[d];
    chunks_ = chunk_count(rows_);
    partials_.resize(groups_ * chunks_);
    if (gradient) pass_.emplace(*gradient);
  }

  void run() {
    const FloatState guard;  // for the merging, too
    const int64_t works = groups_ * chunks_;
    const bool joined = gradient_ && is_joined();
    if (call_.terms.cost_picoseconds() < kParallelPicoseconds || thread_count() == 1) {
      sum(0, works, joined);
    } else {
      const int64_t bytes = kChunkRows * itemsize(layout_.operands[0].dtype);
      const bool fresh = joined && gradient_->fresh && works * bytes >= 2 * kStreamBytes;
      const int64_t claim = fresh ? kHugePage / bytes : kBatch;
      parallel_for((works + claim - 1) / claim,
                   [&](int64_t i) { sum(i * claim, std::min((i + 1) * claim, works), joined); });
    }
    for (int64_t group = 0; group < groups_; ++group)
      store_sum(table_, call_, group, merge_chunks(partials_.data() + group * chunks_, chunks_, 1));
    if (gradient_ && !joined) brazen::cpu::run(*gradient_);
  }

 private:
  // Sixteen chunks of 1,024 rows a claim: a claim costs an atomic addition on a shared line, and what the sums have
  // read is still in L2 when the gradient reads it.
  static constexpr int64_t kBatch = 16, kHugePage = 2 << 20;

  void sum(int64_t begin, int64_t end, bool joined) {
    for (; begin < end; begin += kBatch) {
      const int64_t stop = std::min(begin + kBatch, end);
      for (int64_t work = begin; work < stop; ++work) {
        if (work + 1 < groups_ * chunks_) fetch(work + 1);
        sum_chunk(work);
      }
      if (!joined) continue;
      Range run;
      for (int64_t work = begin; work < stop; ++work) {
        const Range next = elements(work);
        if (next.begin != run.end) {
          if (run.end > run.begin) (*pass_)(run.begin, run.end);
          run = next;
        }
        run.end = next.end;
      }
      (*pass_)(run.begin, run.end);
    }
  }

  int64_t start(int64_t work) const { return work % chunks_ * kChunkRows; }
  int64_t length(int64_t work) const { return std::min<int64_t>(kChunkRows, rows_ - start(work)); }

  const char* base(const Operand& operand, int64_t work) const {
    const char* base = static_cast<const char*>(operand.data);
    int64_t rest = work / chunks_;
    for (int d = call_.kept - 1; d >= 0; --d) {
      base += rest % layout_.shape[d] * operand.strides[d];
      rest /= layout_.shape[d];
    }
    return base;
  }

  // The chunk's rows where they are one aligned run, else null.
  const char* run_of(const Operand& operand, int64_t work) const {
    const char* from = base(operand, work);
    const int64_t item = itemsize(operand.dtype);
    if (!naturally_aligned(from, operand)) return nullptr;
    bool one = false;
    Cursor(layout_, operand, call_.kept, start(work))
        .runs(length(work), [&](int64_t offset, int64_t n, int64_t stride) {
          if (n == length(work) && (stride == item || n == 1)) one = true, from += offset;
        });
    return one ? from : nullptr;
  }

  bool is_joined() const {
    const int last = layout_.ndim - 1;
    if (last < call_.kept || (layout_.ndim > call_.kept + 1 && layout_.shape[last] % kChunkRows != 0)) return false;
    for (int k = 0; k < call_.terms.input_count; ++k)
      if (!run_of(layout_.operands[k], 0) || !pass_->is_packed(k)) return false;
    return elements(0, 0).begin == elements(0, 1).begin;
  }

  Range elements(int64_t work, int input = 0) const {
    const Operand& operand = layout_.operands[input];
    const int64_t begin = pass_->index_of(input, run_of(operand, work));
    return {begin, begin + length(work)};
  }

  // Between its loops over a tile the processor does not look ahead by itself (prelu's gradient 0.65 of a plain copy
  // without, 0.72 with; by channels 0.53 and 0.62).
  void fetch(int64_t work) const {
    for (int k = 0; k < call_.terms.input_count; ++k) {
      const Operand& operand = layout_.operands[k];
      const char* run = run_of(operand, work);
      for (int64_t byte = 0; run && byte < length(work) * itemsize(operand.dtype); byte += 64)
        __builtin_prefetch(run + byte);
    }
  }

  void sum_chunk(int64_t work) {
    const int inputs = call_.terms.input_count;
    const int64_t n = length(work);
    unsigned char* scratch = thread_scratch((inputs + 2) * kChunkRows * sizeof(T));
    const void* in[kMaxOperands];
    for (int k = 0; k < inputs; ++k) {
      const Operand& operand = layout_.operands[k];
      void* tile = scratch + k * kChunkRows * sizeof(T);
      const char* run = run_of(operand, work);
      in[k] = run ? use_run(table_, operand.dtype, run, n, tile)
                  : gather_run(table_, layout_, operand, base(operand, work), call_.kept, start(work), n, tile,
                               scratch + (inputs + 1) * kChunkRows * sizeof(T));
    }
    void* terms = scratch + inputs * kChunkRows * sizeof(T);
    kernel_(call_.terms.parameters, in, &terms, n);
    if constexpr (sizeof(T) == 4)
      partials_[work] = table_.sum_float(static_cast<const float*>(terms), n);
    else
      partials_[work] = table_.sum_double(static_cast<const double*>(terms), n);
  }

  const ReductionCall& call_;
  const Layout& layout_ = call_.terms.layout;
  const KernelTable& table_ = kernels();
  const TileKernel kernel_;
  const ElementwiseCall* gradient_;
  std::optional<Pass> pass_;
  int64_t groups_ = 1, rows_ = 1, chunks_ = 0;
  std::vector<double> partials_;
};

}  // namespace

void run(const ReductionCall& call) {
  call.terms.is_double() ? Reduction<double>(call).run() : Reduction<float>(call).run();
}

void run(const ReductionCall& call, const ElementwiseCall& gradient) {
  if (gradient.layout.size == 0) return run(call);
  if (call.terms.is_double())
    Reduction<double>(call, &gradient).run();
  else
    Reduction<float>(call, &gradient).run();
}

}  // namespace brazen::cpu
