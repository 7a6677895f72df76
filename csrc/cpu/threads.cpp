// SPDX-License-Identifier: BSD-3-Clause
// The pool behind threads.h: workers sleep on a futex, spin briefly before that, and are forgotten by a forked child.
#include "threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "../core/error.h"
#include "float_state.h"

namespace brazen::cpu {
namespace {

constexpr int kMaxThreads = 256;
// Waking a sleeper costs about 5-20 us here; a worker that spins this long catches the next call of a tight loop.
constexpr auto kSpin = std::chrono::microseconds(20);

long futex(std::atomic<uint32_t>& word, int operation, uint32_t value) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr,
                 0);
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// cgroup v2 or v1 quota in whole CPUs, 0 where there is none.
int quota_cpus() {
  long long quota = -1, period = 0;
  if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "re")) {
    if (std::fscanf(file, "%lld %lld", &quota, &period) != 2) quota = -1;
    std::fclose(file);
  } else if (FILE* v1 = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re")) {
    if (std::fscanf(v1, "%lld", &quota) != 1) quota = -1;
    std::fclose(v1);
    if (FILE* length = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re")) {
      if (std::fscanf(length, "%lld", &period) != 1) period = 0;
      std::fclose(length);
    }
  }
  return quota > 0 && period > 0 ? static_cast<int>(std::max(1ll, quota / period)) : 0;
}

// Empty and 0 leave the choice to brazen.
int default_threads() {
  if (const char* text = std::getenv("BRAZEN_NUM_THREADS"); text && *text) {
    char* end;
    const long threads = std::strtol(text, &end, 10);
    if (*end != '\0' || threads < 0)
      throw ValueMismatch("BRAZEN_NUM_THREADS is '" + std::string(text) +
                          "'; expected a positive number, or leave it unset");
    if (threads > 0) return static_cast<int>(std::min<long>(threads, kMaxThreads));
  }
  return available_cpus();
}

// One region. Its generation is part of every claim, so that a worker that wakes late cannot touch the next region's
// chunks with this region's function.
struct Region {
  ChunkFunction function = nullptr;
  void* context = nullptr;
  int64_t chunks = 0;
};

class Pool {
 public:
  void run(int64_t chunks, int threads, ChunkFunction function, void* context) {
    grow(threads - 1);
    keep_workers_off_this_cpu();
    region_ = {function, context, chunks};
    next_.store(0, std::memory_order_relaxed);
    // Workers beyond `helpers` skip this region.
    const int helpers = std::min(threads - 1, workers_);
    helpers_.store(helpers, std::memory_order_relaxed);
    inside_.store(kOpen, std::memory_order_release);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) futex(generation_, FUTEX_WAKE, kMaxThreads);

    work(region_);

    // Close the door, then wait for those inside: a worker that comes later finds it closed and touches nothing.
    inside_.fetch_and(~kOpen, std::memory_order_acq_rel);
    const auto start = std::chrono::steady_clock::now();
    while (inside_.load(std::memory_order_acquire) != 0) {
      if (std::chrono::steady_clock::now() - start < kSpin)
        pause();
      else
        sched_yield();
    }
  }

 private:
  static constexpr uint32_t kOpen = 1u << 31;

  void work(const Region& region) {
    const FloatState guard;
    for (;;) {
      const int64_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= region.chunks) return;
      region.function(region.context, chunk);
    }
  }

  // True if the region was still open; the worker is then counted inside it.
  bool enter() {
    uint32_t inside = inside_.load(std::memory_order_acquire);
    while (inside & kOpen)
      if (inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel)) return true;
    return false;
  }

  void serve(int index) {
    uint32_t seen = 0;
    for (;;) {
      seen = wait_for_change(seen);
      if (index >= helpers_.load(std::memory_order_relaxed)) continue;
      if (!enter()) continue;
      work(region_);
      inside_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  uint32_t wait_for_change(uint32_t seen) {
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < kSpin) {
      const uint32_t now = generation_.load(std::memory_order_acquire);
      if (now != seen) return now;
      for (int i = 0; i < 16; ++i) pause();
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    uint32_t now;
    while ((now = generation_.load(std::memory_order_seq_cst)) == seen) futex(generation_, FUTEX_WAIT, seen);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return now;
  }

  // Linux likes to wake a thread where its waker runs; there it would wait for the caller instead of helping it. The
  // caller moves its workers before waking them: a worker that has not run yet could not move itself.
  void keep_workers_off_this_cpu() {
    const int cpu = sched_getcpu();
    if (cpu == avoided_cpu_ || cpu < 0) return;
    cpu_set_t elsewhere;
    if (sched_getaffinity(0, sizeof elsewhere, &elsewhere) != 0) return;
    CPU_CLR(cpu, &elsewhere);
    if (CPU_COUNT(&elsewhere) == 0) return;
    for (int i = 0; i < workers_; ++i) pthread_setaffinity_np(threads_[i], sizeof elsewhere, &elsewhere);
    avoided_cpu_ = cpu;
  }

  void grow(int workers) {
    while (workers_ < workers) {
      struct Start {
        Pool* pool;
        int index;
      };
      auto* start = new Start{this, workers_};
      const auto entry = [](void* raw) -> void* {
        const Start start = *static_cast<Start*>(raw);
        delete static_cast<Start*>(raw);
        start.pool->serve(start.index);
        return nullptr;
      };
      // Signals belong to the interpreter's main thread.
      sigset_t all, before;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      const int failed = pthread_create(&threads_[workers_], nullptr, entry, start);
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (failed) {
        delete start;
        return;
      }
      ++workers_;  // never joined: workers end with the process
      avoided_cpu_ = -1;
    }
  }

  Region region_;
  int workers_ = 0;
  int avoided_cpu_ = -1;
  pthread_t threads_[kMaxThreads];
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  std::atomic<int32_t> sleepers_{0};
  std::atomic<int32_t> helpers_{0};
  alignas(64) std::atomic<uint32_t> inside_{0};
};

// Never destroyed: workers may still wait on it when the process ends.
alignas(Pool) unsigned char storage[sizeof(Pool)];
Pool* pool = nullptr;
std::atomic<bool> busy{false};
std::atomic<int64_t> regions{0};
std::atomic<int> configured{0};

void forget_threads() {
  pool = new (storage) Pool;
  busy.store(false, std::memory_order_relaxed);
}

void start_once() {
  static const bool started = [] {
    pool = new (storage) Pool;
    pthread_atfork(nullptr, nullptr, forget_threads);
    return true;
  }();
  (void)started;
}

}  // namespace

int available_cpus() {
  cpu_set_t allowed;
  int cpus = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed)
                                                                 : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (const int quota = quota_cpus()) cpus = std::min(cpus, quota);
  return std::clamp(cpus, 1, kMaxThreads);
}

int thread_count() {
  int threads = configured.load(std::memory_order_relaxed);
  if (threads == 0) {
    threads = default_threads();
    configured.store(threads, std::memory_order_relaxed);
  }
  return threads;
}

void set_thread_count(int threads) {
  configured.store(threads <= 0 ? default_threads() : std::min(threads, kMaxThreads), std::memory_order_relaxed);
}

int64_t region_count() { return regions.load(std::memory_order_relaxed); }

void run_chunks(int64_t chunks, ChunkFunction function, void* context) {
  regions.fetch_add(1, std::memory_order_relaxed);
  const int threads = static_cast<int>(std::min<int64_t>(thread_count(), chunks));
  if (threads > 1 && !busy.exchange(true, std::memory_order_acquire)) {
    start_once();
    pool->run(chunks, threads, function, context);
    busy.store(false, std::memory_order_release);
    return;
  }
  const FloatState guard;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) function(context, chunk);
}

}  // namespace brazen::cpu
