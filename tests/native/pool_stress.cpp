// SPDX-License-Identifier: BSD-3-Clause
// The thread pool under load, for the thread sanitizer: concurrent callers, changing thread counts, and forked
// children. It uses threads.h alone and knows no kernel.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "../../csrc/cpu/threads.h"

namespace {

using brazen::cpu::parallel_for;
using brazen::cpu::set_thread_count;

// Every chunk exactly once, and everything written in a region is seen after it: plain, not atomic, counters.
void region(int64_t chunks, int salt) {
  std::vector<int64_t> seen(chunks, 0);
  parallel_for(chunks, [&](int64_t chunk) { seen[chunk] += chunk + salt; });
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    if (seen[chunk] == chunk + salt) continue;
    std::fprintf(stderr, "chunk %ld was computed %s\n", static_cast<long>(chunk), seen[chunk] ? "twice" : "never");
    std::abort();
  }
}

void regions(int count, int salt) {
  for (int i = 0; i < count; ++i) region(1 + (i * 7 + salt) % 97, salt + i);
}

void concurrent_callers(int callers, int count) {
  std::vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller) threads.emplace_back([=] { regions(count, caller); });
  for (std::thread& thread : threads) thread.join();
}

// A child has none of the parent's workers, and must make its own.
void forked_child() {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    regions(50, 3);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    std::fprintf(stderr, "a forked child ended with status %d\n", status);
    std::abort();
  }
}

}  // namespace

int main() {
  for (const int threads : {2, 3, 8, 2}) {
    set_thread_count(threads);
    regions(500, threads);
    concurrent_callers(4, 300);
  }
  std::atomic<bool> done{false};
  std::thread changer([&] {
    for (int i = 0; !done.load(); ++i) {
      set_thread_count(1 + i % 8);
      std::this_thread::yield();
    }
  });
  concurrent_callers(3, 300);
  done = true;
  changer.join();
  set_thread_count(4);
  for (int i = 0; i < 10; ++i) {
    regions(20, i);
    forked_child();
  }
  set_thread_count(0);
  regions(200, 1);
  std::puts("pool: every chunk once, in every region");
  return 0;
}
