// SPDX-License-Identifier: BSD-3-Clause
// The backward pass of the norms: dx row by row, and in the same pass the sums over rows for scale and shift.
//
// Column sums have the shape of formulas/reduction.h: row r belongs to lane r mod 32 of its chunk of 1,024 rows. A
// thread claims a whole chunk where its lanes fit into L2 and there are chunks for all threads, else the rows of a
// chunk that leave one remainder modulo 2, 4 or 8: a part of the lanes, which meet as the first levels of the tree.
// Rows are taken in order, for the processor fetches the next ones by itself (lane after lane took 2.8 copies' time for
// 8,192 rows of 1,024, in order 1.9). Parts are kept: at most eight a chunk, 1/64 of x for both sums.
#include <algorithm>
#include <memory>

#include "float_state.h"
#include "row_access.h"
#include "row_channels.h"
#include "row_claims.h"
#include "row_kernels.h"
#include "row_norms.h"
#include "rows.h"
#include "threads.h"

namespace brazen::cpu {
namespace {

constexpr int kMaxParts = 8;
constexpr int64_t kLaneBytes = 512 << 10;  // half of an L2
constexpr int64_t kChannelBytes = 512 << 10;

template <class T>
class Backward {
 public:
  explicit Backward(const RowNormCall& call)
      : call_(call),
        rows_(call.arrays.rows.size),
        columns_(call.arrays.columns.size),
        sums_(call.dscale || call.dshift) {
    if (channels_.exist() && call.has_scale) scales_ = channels_.values<T>(call, 2);
  }

  void run() {
    const FloatState guard;
    const int64_t picoseconds = call_.arrays.size() * 2 * kNormPicoseconds;
    if (!sums_)
      take_rows(0, rows_, picoseconds);
    else if (channels_.exist())
      by_channels(picoseconds);
    else
      by_columns(picoseconds);
  }

 private:
  // A thread's view of the arrays.
  struct Rows {
    explicit Rows(const Backward& of)
        : of(of),
          dy(of.call_.arrays, 0),
          x(of.call_.arrays, 1),
          scale(of.call_.arrays, of.call_.has_scale ? 2 : 0),
          dx(of.call_.arrays, of.call_.output(), of.call_.output()),
          scaled(of.call_.has_scale && !of.channels_.exist()) {
      const bool sums = of.sums_ && !of.channels_.exist();
      if (!sums) dx.write_in_order();
      for (int round = 0; round < 2; ++round) {
        dy.take(arena), x.take(arena), dx.take(arena);
        if (scaled) scale.take(arena);
        lanes = sums ? arena.take<T>(kLanes / of.parts_a_chunk_ * of.lane_size()) : nullptr;
        if (round == 0) arena.provide();
      }
    }
    ~Rows() {
      dx.finish();
      if (dx.streamed()) of.table_.stream_fence();
    }

    void gradient(int64_t row, int64_t next, T* dscale = nullptr, T* dshift = nullptr) {
      dy.seek(row), x.seek(row), dx.seek(row);
      if (scaled) scale.seek(row);
      center = of.call_.centred ? static_cast<const T*>(of.call_.means)[row] : T(0);
      deviation = static_cast<const T*>(of.call_.inverse_deviations)[row];
      const RowCorrection<T> correction = row_correction(of.channels_.exist() ? sums_by_channel(row) : row_sums(),
                                                         static_cast<double>(of.columns_), deviation, of.call_.centred);
      const char* bases[2] = {};
      if (dx.streamed() && next >= 0) bases[0] = dy.ahead(next), bases[1] = x.ahead(next);
      each_chunk(of.columns_, [&](int64_t start, int64_t n) {
        if (of.call_.has_scale && !scaled)
          of.channels_.each(row, start, n, [&](int64_t channel, int64_t first, int64_t count) {
            of.norms_.gradient_channel(dy.chunk(first, count), x.chunk(first, count), center, deviation,
                                       of.scales_[channel], correction, dx.chunk(start) + (first - start), count);
          });
        else
          of.norms_.gradient(dy.chunk(start, n), x.chunk(start, n), center, deviation, factors(start, n), correction,
                             dx.chunk(start), dscale ? dscale + start : nullptr, dshift ? dshift + start : nullptr, n);
        const char* ahead[2];
        int count = 0;
        for (const char* base : bases)
          if (base) ahead[count++] = base + start * itemsize(dx.dtype());
        dx.store(start, n, ahead, count);
      });
    }

    const T* factors(int64_t start, int64_t n) const { return scaled ? scale.chunk(start, n) : nullptr; }

    RowGradientSums row_sums() const {
      const TwoSums sums = two_sums<T>(of.columns_, [&](int64_t start, int64_t n, T* chunk) {
        of.norms_.gradient_sums(dy.chunk(start, n), x.chunk(start, n), center, deviation, factors(start, n), chunk, n);
      });
      return {sums.first, sums.second};
    }

    // A channel's positions are the chunks of its sums, which are the gradients' share of this row; the row's follow
    // from them.
    RowGradientSums sums_by_channel(int64_t row) const {
      ChunkTree<RowGradientSums> sums;
      const int64_t channels = of.channels_.a_row();
      for (int64_t channel = 0; channel < channels; ++channel) {
        const int64_t first = channel * of.channels_.positions();
        const TwoSums own = two_sums<T>(of.channels_.positions(), [&](int64_t start, int64_t n, T* chunk) {
          of.norms_.gradient_sums(dy.chunk(first + start, n), x.chunk(first + start, n), center, deviation, nullptr,
                                  chunk, n);
        });
        const T* scale = of.scales_.data();
        sums.push(scaled_sums({own.first, own.second}, scale ? scale[of.channels_.first_of(row) + channel] : T(1)));
        if (!of.sums_) continue;
        double* kept = of.channel_sums_.get() + 2 * ((row - of.first_row_) * channels + channel);
        kept[0] = own.second, kept[1] = own.first;
      }
      return sums.total();
    }

    const Backward& of;
    RowSource<T> dy, x, scale;
    RowSink<T> dx;
    const bool scaled;  // column by column, not by channels
    Arena arena;
    T* lanes;
    T center = 0, deviation = 0;
  };

  void by_columns(int64_t picoseconds) {
    const int64_t chunks = chunk_count(rows_);
    while (parts_a_chunk_ < kMaxParts && (kLanes / parts_a_chunk_ * lane_size() * sizeof(T) > kLaneBytes ||
                                          chunks * parts_a_chunk_ < 4 * thread_count()))
      parts_a_chunk_ *= 2;
    const int64_t units = chunks * parts_a_chunk_;
    parts_.reset(new T[units * lane_size()]);
    UnitClaims claims(units, kChunkRows / parts_a_chunk_ * columns_, 0, false, picoseconds);
    claims.set_each(1);
    claims.each([&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; ++unit) column_part(unit);
    });
    merge_parts();
  }

  // The rows of a chunk that leave the remainder `part`: lanes part, part + parts, part + 2 parts ...
  void column_part(int64_t unit) {
    Rows rows(*this);
    const int64_t parts = parts_a_chunk_, lanes = kLanes / parts;
    const int64_t first = unit / parts * kChunkRows, part = unit % parts;
    const int64_t count = std::min<int64_t>(kChunkRows, rows_ - first);
    const auto lane = [&](int64_t number) { return rows.lanes + number * lane_size(); };
    std::fill_n(rows.lanes, lanes * lane_size(), T(0));
    for (int64_t r = part; r < count; r += parts) {
      const int64_t next = r + parts < count ? first + r + parts : -1;
      T* sums = lane(r / parts % lanes);
      rows.gradient(first + r, next, sums, sums + columns_);
    }
    for (int64_t offset = lanes / 2; offset > 0; offset /= 2)
      for (int64_t i = 0; i < offset; ++i)
        norms_.add(lane(i), lane(i + offset), offset > 1 ? lane(i) : parts_.get() + unit * lane_size(), lane_size());
  }

  void merge_parts() {
    const int64_t chunks = chunk_count(rows_), parts = parts_a_chunk_, both = lane_size();
    UnitClaims claims(chunk_count(both), kChunkRows * chunks * parts, 0, false, chunks * parts * both * 30);
    claims.each([&](int64_t begin, int64_t end) {
      Arena arena;
      double* totals = nullptr;
      for (int round = 0; round < 2; ++round) {
        totals = arena.take<double>(chunks);
        if (round == 0) arena.provide();
      }
      for (int64_t at = begin * kChunkRows; at < std::min(both, end * kChunkRows); ++at) {
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          T lanes[kMaxParts];
          for (int64_t part = 0; part < parts; ++part) lanes[part] = parts_[(chunk * parts + part) * both + at];
          for (int64_t offset = parts / 2; offset > 0; offset /= 2)
            for (int64_t i = 0; i < offset; ++i) lanes[i] += lanes[i + offset];
          totals[chunk] = static_cast<double>(lanes[0]);
        }
        const T total = static_cast<T>(merge_chunks(totals, chunks, 1));
        if (at < columns_)
          store(call_.dscale, call_.dscale_dtype, at, total);
        else
          store(call_.dshift, call_.dshift_dtype, at - columns_, total);
      }
    });
  }

  void take_rows(int64_t first, int64_t count, int64_t picoseconds) {
    claim_rows(call_.arrays, count, call_.output(), call_.fresh, picoseconds).each([&](int64_t begin, int64_t end) {
      Rows rows(*this);
      for (int64_t row = first + begin; row < first + end; ++row)
        rows.gradient(row, row + 1 < first + end ? row + 1 : -1);
    });
  }

  // A row is a group of one sample: its channels follow those of the groups before. Some samples' sums are kept at
  // once, and become one.
  void by_channels(int64_t picoseconds) {
    const int64_t both = 2 * call_.channels, samples = call_.samples(), together = call_.samples_at_once(kChannelBytes);
    const int64_t parts = std::max<int64_t>(1, (samples + together - 1) / together);
    channel_sums_.reset(new double[std::min(samples, together) * both]);
    const std::unique_ptr<double[]> merged(new double[parts * both]());
    for (int64_t part = 0; part * together < samples; ++part) {
      const int64_t count = std::min(together, samples - part * together);
      first_row_ = part * together * call_.groups;
      take_rows(first_row_, count * call_.groups, picoseconds / parts);
      merge_samples(channel_sums_.get(), count);
      std::copy_n(channel_sums_.get(), both, merged.get() + part * both);
    }
    merge_samples(merged.get(), parts);
    for (int64_t channel = 0; channel < call_.channels; ++channel) {
      store(call_.dscale, call_.dscale_dtype, channel, static_cast<T>(merged[2 * channel]));
      store(call_.dshift, call_.dshift_dtype, channel, static_cast<T>(merged[2 * channel + 1]));
    }
  }

  // The tree over samples, all channels abreast; left in the first.
  void merge_samples(double* sums, int64_t samples) const {
    const int64_t both = 2 * call_.channels;
    for (int64_t width = 1; width < samples; width *= 2)
      for (int64_t sample = 0; sample + width < samples; sample += 2 * width)
        for (int64_t i = 0; i < both; ++i) sums[sample * both + i] += sums[(sample + width) * both + i];
  }

  // A gradient has its parameter's dtype.
  void store(void* to, DType dtype, int64_t index, T value) const {
    if (!to) return;
    if (is_16_bit(dtype)) {
      const float single = static_cast<float>(value);
      table_.narrow[static_cast<int>(dtype)](&single, static_cast<uint16_t*>(to) + index, 1);
    } else {
      static_cast<T*>(to)[index] = value;
    }
  }

  // dscale's and dshift's sums of one lane, one after the other.
  int64_t lane_size() const { return 2 * columns_; }

  const RowNormCall& call_;
  const int64_t rows_, columns_;
  int64_t parts_a_chunk_ = 1;
  const bool sums_;
  const RowChannels channels_{call_};
  std::vector<T> scales_;
  const KernelTable& table_ = kernels();
  const NormLoops<T>& norms_ = norm_loops<T>(*kernels().rows);
  std::unique_ptr<T[]> parts_;
  std::unique_ptr<double[]> channel_sums_;
  int64_t first_row_ = 0;  // of those whose channel sums are kept
};

}  // namespace

void run_norm_backward(const RowNormCall& call) {
  call.is_double() ? Backward<double>(call).run() : Backward<float>(call).run();
}

}  // namespace brazen::cpu
