// SPDX-License-Identifier: BSD-3-Clause
// The emulated device: fibers for the threads of a block, and the few runtime calls. Test-only.
#include <ucontext.h>

#include <csetjmp>
#include <cstdio>
#include <memory>
#include <vector>

#include "cuda_runtime.h"

namespace emulation {

thread_local dim3 thread_index, block_index, block_extent, grid_extent;
int64_t launches = 0;

namespace {

constexpr size_t kStackBytes = 256 << 10;

// A fiber runs threads of the block one after another until one has to wait; then the next fiber takes over the rest.
// ucontext makes the first jump onto a stack; all others are setjmp and longjmp, which make no system call.
struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  ucontext_t start;
  jmp_buf resume;
  bool started = false;
  bool waiting = false;
  unsigned thread = 0;
  uint64_t sent = 0;
};

enum class Meeting { none, block, warp };

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  ucontext_t scheduler;
  jmp_buf back;
  Fiber* current = nullptr;
  unsigned next_thread = 0, threads = 0, finished = 0;
  size_t used = 0;  // fibers of this block; later ones are left over from larger blocks
  Meeting meeting = Meeting::none;
  void (*body)(void*) = nullptr;
  void* context = nullptr;
};

thread_local Block block;

void fiber_main() {
  for (;;) {
    Fiber* self = block.current;
    while (block.next_thread < block.threads) {
      self->thread = block.next_thread++;
      thread_index = dim3(self->thread, 0, 0);
      block.body(block.context);
      ++block.finished;
    }
    self->waiting = false;
    if (!_setjmp(self->resume)) _longjmp(block.back, 1);
  }
}

void enter(Fiber& fiber) {
  block.current = &fiber;
  if (_setjmp(block.back)) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStackBytes;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, fiber_main, 0);
  setcontext(&fiber.start);
}

Fiber& fiber(size_t i) {
  while (block.fibers.size() <= i) block.fibers.push_back(std::make_unique<Fiber>());
  return *block.fibers[i];
}

void wait(Meeting kind) {
  Fiber* self = block.current;
  if (block.meeting != Meeting::none && block.meeting != kind) {
    fprintf(stderr, "emulation: threads of one block wait at a barrier and at a shuffle\n");
    abort();
  }
  block.meeting = kind;
  self->waiting = true;
  if (!_setjmp(self->resume)) _longjmp(block.back, 1);
  thread_index = dim3(self->thread, 0, 0);
}

void run_block() {
  block.next_thread = block.finished = 0;
  block.meeting = Meeting::none;
  block.used = 0;
  while (block.next_thread < block.threads) enter(fiber(block.used++));
  // Every thread has now finished or waits; a wait ends when all that have not finished are there.
  while (block.finished < block.threads) {
    block.meeting = Meeting::none;
    for (size_t i = 0; i < block.used; ++i) {
      if (!block.fibers[i]->waiting) continue;
      block.fibers[i]->waiting = false;
      enter(*block.fibers[i]);
    }
  }
}

}  // namespace

void run_grid(dim3 grid, dim3 extent, void (*body)(void*), void* context) {
  grid_extent = grid, block_extent = extent;
  block.threads = extent.x, block.body = body, block.context = context;
  for (unsigned x = 0; x < grid.x; ++x) {
    block_index = dim3(x, 0, 0);
    run_block();
  }
}

void wait_for_block() { wait(Meeting::block); }

unsigned vote(bool value) {
  Fiber* self = block.current;
  self->sent = value;
  wait(Meeting::warp);
  unsigned votes = 0;
  for (size_t i = 0; i < block.used; ++i)
    if (block.fibers[i]->thread / 32 == self->thread / 32 && block.fibers[i]->sent)
      votes |= 1u << block.fibers[i]->thread % 32;
  wait(Meeting::warp);
  return votes;
}

uint64_t exchange(uint64_t value, int source_lane) {
  Fiber* self = block.current;
  self->sent = value;
  wait(Meeting::warp);
  // A fiber may have run threads that returned early before this one, so the source is looked up by its thread.
  const unsigned source = self->thread / 32 * 32 + static_cast<unsigned>(source_lane);
  size_t at = source < block.used && block.fibers[source]->thread == source ? source : 0;
  while (at < block.used && block.fibers[at]->thread != source) ++at;
  if (at == block.used) {
    fprintf(stderr, "emulation: a shuffle reads a lane that has returned\n");
    abort();
  }
  const uint64_t received = block.fibers[at]->sent;
  wait(Meeting::warp);
  return received;
}

namespace {
cudaStream_t captured_stream = nullptr;
std::vector<std::vector<std::function<void()>>> graphs;
}  // namespace

bool capturing(cudaStream_t stream) { return stream && stream == captured_stream; }
void keep(std::function<void()> launch) { graphs.back().push_back(std::move(launch)); }

cudaError_t failure(cudaError_t kind) {
  const char* wanted = getenv("BRAZEN_EMULATED_FAILURE");
  return wanted && atoi(wanted) == kind ? kind : cudaSuccess;
}

}  // namespace emulation

using emulation::failure;

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  const cudaError_t no_driver = failure(cudaErrorInsufficientDriver);
  return no_driver != cudaSuccess ? no_driver : failure(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

cudaError_t cudaGetDeviceCount(int* count) {
  const cudaError_t error = cudaGetDevice(count);
  *count = error == cudaSuccess ? 1 : 0;
  return error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  const char* wanted = getenv("BRAZEN_EMULATED_DRIVER");
  *version = wanted ? atoi(wanted) : 13000;
  return cudaSuccess;
}

// A memory so slow that any cache is worth its launches.
namespace {
int l2_bytes = 0;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrL2CacheSize: *value = l2_bytes; break;
    case cudaDevAttrMemoryClockRate: *value = 1; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = 8; break;
    case cudaDevAttrComputeCapabilityMajor: *value = 7; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
  }
  return cudaSuccess;
}

cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t) {
  if (failure(cudaErrorMemoryAllocation) != cudaSuccess) return cudaErrorMemoryAllocation;
  *memory = malloc(bytes);
  // A kernel that reads what none wrote must not find zeros.
  if (*memory) __builtin_memset(*memory, 0xa5, bytes);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  if (!emulation::capturing(stream)) free(memory);  // a graph uses its memory at every launch
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = emulation::capturing(stream) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

// What the stand-in for CuPy calls: streams are numbers there, graphs too.
#define EMULATED extern "C" __attribute__((visibility("default")))
EMULATED void emulated_begin_capture(void* stream) {
  emulation::graphs.emplace_back();
  emulation::captured_stream = static_cast<cudaStream_t>(stream);
}
EMULATED int emulated_end_capture() {
  emulation::captured_stream = nullptr;
  return static_cast<int>(emulation::graphs.size()) - 1;
}
EMULATED void emulated_launch_graph(int graph) {
  for (auto& launch : emulation::graphs[graph]) launch();
}
EMULATED void emulated_set_l2(int bytes) { l2_bytes = bytes; }
// Launches so far; what a graph keeps is counted when it is captured.
EMULATED int64_t emulated_launches() { return emulation::launches; }

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) { return cudaMallocAsync(memory, bytes, nullptr); }

cudaError_t cudaFreeHost(void* memory) { return cudaFreeAsync(memory, nullptr); }

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  static thread_local cudaStreamCaptureMode current = cudaStreamCaptureModeGlobal;
  const cudaStreamCaptureMode before = current;
  current = *mode, *mode = before;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorEmulated";
}

const char* cudaGetErrorString(cudaError_t) { return "an emulated failure"; }
