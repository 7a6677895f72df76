// SPDX-License-Identifier: BSD-3-Clause
// The elementwise driver: cuts a pass into chunks for threads.
#include "elementwise.h"

#include <algorithm>

#include "float_state.h"
#include "pass.h"
#include "threads.h"
#include "work.h"

namespace brazen::cpu {
namespace {

// A chunk is what a thread claims at once: long enough to amortise the claim, short enough to balance.
constexpr int64_t kMinChunk = 8 * kTileElements, kMaxChunk = 64 * kTileElements;
// Memory traffic, not arithmetic, costs at least this much an element once data leave the caches.
constexpr int64_t kMemoryPicoseconds = 40;
constexpr int64_t kHugePage = 2 << 20;

// Chunk 0 ends at `first`, the others are `length` long.
struct Chunks {
  int64_t first, length, size;

  int64_t count() const { return 1 + (size - first + length - 1) / length; }
  int64_t begin(int64_t i) const { return i == 0 ? 0 : first + (i - 1) * length; }
  int64_t end(int64_t i) const { return std::min(size, first + i * length); }
};

Chunks cut(const Layout& layout, bool fresh) {
  const Operand& out = layout.operands[layout.operand_count - 1];
  const int64_t item = itemsize(out.dtype);
  if (fresh && layout.contiguous(out) && layout.size * item >= 2 * kStreamBytes) {
    // Two threads that first touch one huge page of a fresh result wait for each other.
    const int64_t before = -reinterpret_cast<uintptr_t>(out.data) % kHugePage / item;
    return {std::min(before ? before : kHugePage / item, layout.size), kHugePage / item, layout.size};
  }
  const int64_t fair = layout.size / (4 * thread_count());
  const int64_t length = std::clamp(fair / kTileElements * kTileElements, kMinChunk, kMaxChunk);
  return {std::min(length, layout.size), length, layout.size};
}

}  // namespace

void run_pass(const Pass& pass, const Layout& layout, bool fresh, int64_t picoseconds) {
  const int64_t size = layout.size;
  if (std::max(picoseconds, size * kMemoryPicoseconds) < kParallelPicoseconds || thread_count() == 1) {
    const FloatState guard;
    pass(0, size);
    return;
  }
  const Chunks chunks = cut(layout, fresh);
  parallel_for(chunks.count(), [&](int64_t i) { pass(chunks.begin(i), chunks.end(i)); });
}

void run(const ElementwiseCall& call) {
  if (call.layout.size == 0) return;
  const Pass pass(call);
  run_pass(pass, call.layout, call.fresh, call.cost_picoseconds());
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
