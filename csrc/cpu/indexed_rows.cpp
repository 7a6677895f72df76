// SPDX-License-Identifier: BSD-3-Clause
// Sums of rows by index: positions sorted by index, then each row of the result by one thread.
#include "indexed_rows.h"

#include <algorithm>
#include <vector>

#include "channel_kernels.h"
#include "float_state.h"
#include "scratch.h"
#include "threads.h"
#include "tiles.h"
#include "work.h"

namespace brazen::cpu {
namespace {

constexpr int64_t kPicoseconds = 100;  // of one element, read and added
constexpr int64_t kTile = 1024;

// The positions of index i, in order, are places[starts[i]] up to places[starts[i + 1]].
struct Sorted {
  std::vector<int64_t> starts, places;

  explicit Sorted(const IndexedRowsCall& call) : starts(call.rows + 2) {
    const auto each = [&](auto&& body) {
      for (int64_t p = 0; p < call.positions; ++p) {
        const int64_t index = index_at(call.indices, call.index_dtype, p);
        if (index >= 0 && index < call.rows) body(p, index);
      }
    };
    // One row late, so that filling the places moves each start to where it belongs.
    each([&](int64_t, int64_t index) { ++starts[index + 2]; });
    for (int64_t i = 2; i <= call.rows + 1; ++i) starts[i] += starts[i - 1];
    places.resize(starts[call.rows + 1]);
    const int64_t room = static_cast<int64_t>(places.size());  // another thread may have changed the indices meanwhile
    each([&](int64_t p, int64_t index) {
      if (starts[index + 1] < room) places[starts[index + 1]++] = p;
    });
  }
};

template <class T>
void sum_row(const IndexedRowsCall& call, const Sorted& sorted, int64_t row) {
  const KernelTable& table = kernels();
  const auto add = table.channels->add[sizeof(T) == 8];
  const int64_t columns = call.columns, item = itemsize(call.dtype);
  T* out = static_cast<T*>(call.out) + row * columns;
  T* tile = reinterpret_cast<T*>(thread_scratch(kTile * sizeof(T)));
  std::fill(out, out + columns, T(0));
  for (int64_t k = sorted.starts[row]; k < sorted.starts[row + 1]; ++k) {
    const char* from = static_cast<const char*>(call.x) + sorted.places[k] * columns * item;
    for (int64_t start = 0; start < columns; start += kTile) {
      const int64_t n = std::min(kTile, columns - start);
      add(out + start, use_run(table, call.dtype, from + start * item, n, tile), n);
    }
  }
}

}  // namespace

void run(const IndexedRowsCall& call) {
  const FloatState guard;
  const Sorted sorted(call);
  with_compute_type(call.out_dtype, [&]<class T>() {
    const auto rows = [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) sum_row<T>(call, sorted, row);
    };
    if (call.work() * kPicoseconds < kParallelPicoseconds || thread_count() == 1) return rows(0, call.rows);
    // Some indices are far more frequent than others: many claims even out what their rows cost.
    const int64_t claim = std::max<int64_t>(1, call.rows / (64 * thread_count()));
    parallel_for((call.rows + claim - 1) / claim,
                 [&](int64_t i) { rows(i * claim, std::min(call.rows, (i + 1) * claim)); });
  });
}

}  // namespace brazen::cpu
