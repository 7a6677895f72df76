// SPDX-License-Identifier: BSD-3-Clause
// The thread pool: one parallel region at a time over numbered chunks. It knows nothing of arrays.
#pragma once

#include <cstdint>
#include <type_traits>

namespace brazen::cpu {

// CPUs this process may use: affinity and cgroup quota together.
int available_cpus();

// The number of threads a region may use, the caller included. `set_thread_count(0)` returns to the default, which is
// BRAZEN_NUM_THREADS or else available_cpus().
int thread_count();
void set_thread_count(int threads);

// Parallel regions begun so far, also those that one thread ran: tests count them.
int64_t region_count();

using ChunkFunction = void (*)(void* context, int64_t chunk);

// Calls `function` once for every chunk in [0, chunks) and returns when all are done. Threads claim chunks as they come
// free: a chunk's result must not depend on who computes it. If another region is running, the caller does all of it.
void run_chunks(int64_t chunks, ChunkFunction function, void* context);

template <class Body>
void parallel_for(int64_t chunks, Body&& body) {
  run_chunks(
      chunks, [](void* context, int64_t chunk) { (*static_cast<std::remove_reference_t<Body>*>(context))(chunk); },
      &body);
}

}  // namespace brazen::cpu
