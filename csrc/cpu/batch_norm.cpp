// SPDX-License-Identifier: BSD-3-Clause
// Drives the reductions over channels and the passes of a batch norm: what runs on which thread, in which order. The
// results do not depend on it.
#include "batch_norm.h"

#include <memory>
#include <optional>

#include "chain.h"
#include "channels.h"
#include "float_state.h"
#include "pass.h"
#include "threads.h"
#include "work.h"

namespace brazen::cpu {
namespace {

// Reading from memory costs at least this much an element.
constexpr int64_t kReadPicoseconds = 50;

template <class Body>
void for_each(int64_t count, int64_t picoseconds, Body&& body) {
  if (picoseconds < kParallelPicoseconds || thread_count() == 1) {
    const FloatState guard;
    for (int64_t i = 0; i < count; ++i) body(i);
  } else {
    parallel_for(count, body);
  }
}

Moments merge(Moments* chunks, int64_t count) { return merge_chunk_moments(chunks, count, 1); }

GradientSums merge(GradientSums* chunks, int64_t count) {
  return {merge_chunks(&chunks->grad, count, 2), merge_chunks(&chunks->product, count, 2)};
}

// Numbers the chunks of all channels in about the order of memory: those of one channel that lie in one run, then the
// next channel's.
class MemoryOrder {
 public:
  MemoryOrder(const Layout& layout, int64_t chunks) : channels_(channel_count(layout)), chunks_(chunks) {
    const int64_t inner = layout.ndim > 2 ? layout.shape[layout.ndim - 1] / kChunkRows : chunks;
    together_ = std::clamp<int64_t>(inner, 1, std::max<int64_t>(chunks, 1));
  }

  struct Place {
    int64_t channel, chunk;
  };

  Place operator[](int64_t i) const {
    const int64_t row = channels_ * together_, group = i / row, first = group * together_;
    const int64_t wide = std::min(together_, chunks_ - first), rest = i - group * row;
    return {rest / wide, first + rest % wide};
  }

 private:
  int64_t channels_, chunks_, together_;
};

// The gradient of the affine result where it is no array. A thread's tiles serve from chunk to chunk.
class Gradient {
 public:
  explicit Gradient(const Pass& pass) : pass_(pass) {}

  Computed computed() const { return {compute, this}; }
  // Whatever the thread did since it last computed may have taken the tiles' memory.
  static void forget() { tiles().scratch = nullptr; }

 private:
  static Pass::Tiles& tiles() {
    static thread_local Pass::Tiles own;
    return own;
  }
  static void compute(const void* context, int64_t index, int64_t n, int64_t next, void* tile) {
    const Pass& pass = static_cast<const Gradient*>(context)->pass_;
    if (next >= 0) pass.fetch(next, n);
    pass.compute(tiles(), index, n, &tile);
  }

  const Pass& pass_;
};

// Rows first, channel last: the order of channels that lie side by side.
void move_channel_last(Layout& layout) {
  const auto rotate = [&](int64_t* values) {
    const int64_t first = values[0];
    for (int d = 1; d < layout.ndim; ++d) values[d - 1] = values[d];
    values[layout.ndim - 1] = first;
  };
  rotate(layout.shape);
  for (int k = 0; k < layout.operand_count; ++k) rotate(layout.operands[k].strides);
}

// The pass that computes a gradient in the order in which a reduction asks for it.
class GradientPass {
 public:
  GradientPass(const ChainCall& call, bool columns)
      : call_(columns ? channel_last(call) : call), pass_(call_), gradient_(pass_) {}
  Computed computed() const { return gradient_.computed(); }

 private:
  static ChainCall channel_last(ChainCall call) {
    move_channel_last(call.layout);
    call.layout.simplify(false, 0);
    return call;
  }

  const ChainCall call_;
  const Pass pass_;
  const Gradient gradient_;
};

// Calls merged(channel, result) for every channel.
template <class T, class Result, class Merged>
void reduce(const ChannelReduction<T, Result>& reduction, const Layout& layout, Merged&& merged) {
  const int64_t channels = channel_count(layout), chunks = reduction.chunks();
  const std::unique_ptr<Result[]> partials(new Result[channels * chunks]);
  const int64_t picoseconds = layout.size * kReadPicoseconds;
  if (reduction.columns()) {
    const int64_t blocks = reduction.blocks();
    for_each(blocks * chunks, picoseconds, [&](int64_t i) {
      Gradient::forget();
      reduction.block(i / blocks, i % blocks, partials.get());
    });
  } else {
    // Sixteen chunks of 1,024 rows a claim: a claim costs an atomic addition on a shared line.
    constexpr int64_t kBatch = 16;
    const int64_t count = channels * chunks;
    const MemoryOrder order(layout, chunks);
    for_each((count + kBatch - 1) / kBatch, picoseconds, [&](int64_t batch) {
      Gradient::forget();
      const int64_t end = std::min(count, (batch + 1) * kBatch);
      auto at = order[batch * kBatch];
      for (int64_t i = batch * kBatch; i < end; ++i) {
        const auto next = i + 1 < count ? order[i + 1] : at;
        partials[at.channel * chunks + at.chunk] = reduction.chunk(at.channel, at.chunk, next.channel, next.chunk);
        at = next;
      }
    });
  }
  constexpr int64_t kMergePicoseconds = 10'000, kChannels = 64;
  for_each((channels + kChannels - 1) / kChannels, channels * chunks * kMergePicoseconds, [&](int64_t part) {
    for (int64_t channel = part * kChannels; channel < std::min(channels, (part + 1) * kChannels); ++channel)
      merged(channel, merge(partials.get() + channel * chunks, chunks));
  });
}

// Whether chunks of a channel lie in several runs and are gathered, which waits for memory.
bool gathered(const Layout& layout) { return layout.ndim > 2 && layout.shape[layout.ndim - 1] % kChunkRows != 0; }

// Then the thread that stores one channel fetches another, which is some thread's next.
int64_t beyond(const Layout& layout) { return gathered(layout) ? thread_count() * row_count(layout) : 0; }

// The second pass over a channel finds in the thread's caches what the first one read. Past these sizes it is no
// quicker than two passes over memory (whole runs: 1 MB of them 0.8 to 0.95 times as fast); gathered ones gain beyond,
// up to 3 MB here, but a core's share of L3 is rarely larger.
int64_t slab_bytes(const Layout& layout) { return gathered(layout) ? 2 << 20 : 768 << 10; }

bool fits_slabs(const Layout& layout, int arrays) {
  const int64_t item = itemsize(layout.operands[0].dtype);
  const bool long_runs = layout.ndim <= 2 || layout.shape[layout.ndim - 1] >= kRowElements;
  return long_runs && channel_count(layout) >= 2 * thread_count() &&
         row_count(layout) * item * arrays <= slab_bytes(layout);
}

void run_whole(const ChainCall& channel_first) {
  ChainCall call = channel_first;
  call.layout.simplify(true, call.layout.operand_count - 1);
  run(call);
}

template <class T>
void forward(const BatchNormCall& call) {
  const Layout& layout = call.chain.layout;
  const int64_t channels = channel_count(layout), rows = row_count(layout);
  if (call.results.from != MomentsFrom::batch) {
    for (int64_t channel = 0; channel < channels; ++channel)
      settle<T>(call.results, channel, given_moments<T>(call.results, channel));
    return run_whole(call.chain);
  }
  const ChannelReduction<T, Moments> reduction(layout, layout.operands[0]);
  if (reduction.columns() || !fits_slabs(layout, 1)) {
    reduce(reduction, layout, [&](int64_t channel, Moments moments) { settle<T>(call.results, channel, moments); });
    return run_whole(call.chain);
  }
  const int64_t chunks = reduction.chunks();
  const std::unique_ptr<Moments[]> partials(new Moments[channels * chunks]);
  const Pass pass(call.chain);
  for_each(channels, layout.size * (2 * kReadPicoseconds + pass.picoseconds()), [&](int64_t channel) {
    Moments* own = partials.get() + channel * chunks;
    reduction.channel(channel, own);
    settle<T>(call.results, channel, merge(own, chunks));
    pass(channel * rows, (channel + 1) * rows, beyond(layout));
  });
}

template <class T>
void backward(const BatchNormBackwardCall& call) {
  const Layout& layout = call.arrays;
  const int64_t channels = channel_count(layout), rows = row_count(layout);
  if (!call.results.measured) {
    for (int64_t channel = 0; call.results.sums && channel < channels; ++channel)
      settle<T>(call.results, channel, given_sums(call.results, channel));
    return run_whole(call.chain);
  }
  ChannelReduction<T, GradientSums> reduction(layout, layout.operands[0], layout.operands[1],
                                              static_cast<const T*>(call.coefficients));
  std::optional<GradientPass> gradient;
  if (call.computed) reduction.compute_gradient(gradient.emplace(call.gradient, reduction.columns()).computed());
  if (!call.apply || reduction.columns() || !fits_slabs(layout, 2) || !fits_slabs(call.chain.layout, 2)) {
    reduce(reduction, layout, [&](int64_t channel, GradientSums sums) { settle<T>(call.results, channel, sums); });
    if (call.apply) run_whole(call.chain);
    return;
  }
  const int64_t chunks = reduction.chunks();
  const std::unique_ptr<GradientSums[]> partials(new GradientSums[channels * chunks]);
  const Pass pass(call.chain);
  for_each(channels, layout.size * (3 * kReadPicoseconds + pass.picoseconds()), [&](int64_t channel) {
    GradientSums* own = partials.get() + channel * chunks;
    Gradient::forget();
    reduction.channel(channel, own);
    settle<T>(call.results, channel, merge(own, chunks));
    pass(channel * rows, (channel + 1) * rows, beyond(layout));
  });
}

}  // namespace

void run(const BatchNormCall& call) {
  if (call.chain.layout.size == 0 && call.results.from == MomentsFrom::batch) return;
  const FloatState guard;
  with_compute_type(call.chain.compute_dtype, [&]<class T>() { forward<T>(call); });
}

void run(const BatchNormBackwardCall& call) {
  const FloatState guard;
  with_compute_type(call.arrays.operands[0].dtype, [&]<class T>() { backward<T>(call); });
}

void run(const StatisticsCall& call) {
  const Layout& layout = call.layout;
  const int64_t channels = channel_count(layout);
  if (channels == 0) return;
  with_compute_type(layout.operands[0].dtype, [&]<class T>() {
    const ChannelReduction<T, Moments> reduction(layout, layout.operands[0]);
    reduce(reduction, layout, [&](int64_t channel, Moments m) { store_moments(call.moments, channels, channel, m); });
  });
}

void run(const ChannelSumsCall& call) {
  const Layout& layout = call.arrays;
  const int64_t channels = channel_count(layout);
  const Operand& x = layout.operands[layout.operand_count - 1];
  const FloatState guard;
  with_compute_type(x.dtype, [&]<class T>() {
    const std::unique_ptr<T[]> zeros(new T[channels]());
    ChannelReduction<T, GradientSums> reduction(layout, layout.operands[0], x, zeros.get());
    std::optional<GradientPass> gradient;
    if (call.computed) reduction.compute_gradient(gradient.emplace(call.gradient, reduction.columns()).computed());
    reduce(reduction, layout, [&](int64_t channel, GradientSums sums) {
      set_value(call.product, channel, T(sums.product));
      set_value(call.sum, channel, T(sums.grad));
    });
  });
}

void run(const MergeCall& call) {
  const FloatState guard;
  const std::unique_ptr<Moments[]> moments(new Moments[call.count]);
  const std::unique_ptr<double[]> sums(new double[call.count]);
  for (int64_t channel = 0; channel < call.channels; ++channel) {
    if (call.are_moments) {
      for (int64_t k = 0; k < call.count; ++k) moments[k] = load_moments(call.parts[k], call.channels, channel);
      store_moments(call.result, call.channels, channel, merge_chunk_moments(moments.get(), call.count, 1));
      continue;
    }
    for (int row = 0; row < 2; ++row) {
      for (int64_t k = 0; k < call.count; ++k) sums[k] = call.parts[k][row * call.channels + channel];
      call.result[row * call.channels + channel] = merge_chunks(sums.get(), call.count, 1);
    }
  }
}

}  // namespace brazen::cpu
