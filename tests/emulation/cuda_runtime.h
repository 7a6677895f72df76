// SPDX-License-Identifier: BSD-3-Clause
// Stands in for CUDA's cuda_runtime.h so that csrc/cuda/*.cu, unchanged, compile for the host. Test-only: one device,
// whose memory is the host's; streams in order; every launch finished on return. Grown by what csrc/cuda/ uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
// Blocks of a launch run one after another in the calling thread.
#define __shared__ static thread_local

#define CUDART_VERSION 13000

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidKernelImage = 200,
  cudaErrorDeviceUninitialized = 201,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorInvalidPtx = 218,
  cudaErrorUnsupportedPtxVersion = 222,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorContextIsDestroyed = 709,
  cudaErrorIllegalAddress = 700,
};

enum cudaDeviceAttr {
  cudaDevAttrMemoryClockRate = 36,
  cudaDevAttrGlobalMemoryBusWidth = 37,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76
};

enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};

inline constexpr unsigned cudaHostAllocPortable = 1, cudaHostAllocMapped = 2;

using cudaStream_t = struct EmulatedStream*;

enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };

namespace emulation {

extern thread_local dim3 thread_index, block_index, block_extent, grid_extent;
extern int64_t launches;

// Runs `body` once for every thread of the grid. Threads of a block that meet at a barrier or a shuffle are fibers; one
// that meets none runs from end to end.
void run_grid(dim3 grid, dim3 block, void (*body)(void*), void* context);

void wait_for_block();
uint64_t exchange(uint64_t value, int source_lane);
unsigned vote(bool value);

// Between begin and end of a capture, launches on that stream are kept for its graph instead of run.
bool capturing(cudaStream_t stream);
void keep(std::function<void()> launch);

// BRAZEN_EMULATED_FAILURE=number of a cudaError_t makes the calls that would report it do so.
cudaError_t failure(cudaError_t kind);

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define blockDim emulation::block_extent
#define gridDim emulation::grid_extent

inline void __syncthreads() { emulation::wait_for_block(); }

// All 32 lanes take part, as everywhere in csrc/cuda/.
template <class T>
T __shfl_xor_sync(unsigned, T value, int lanes) {
  uint64_t word = 0;
  __builtin_memcpy(&word, &value, sizeof value);
  word = emulation::exchange(word, static_cast<int>((threadIdx.x % 32) ^ static_cast<unsigned>(lanes)));
  __builtin_memcpy(&value, &word, sizeof value);
  return value;
}

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return __shfl_xor_sync(0, value, lane ^ static_cast<int>(threadIdx.x % 32));
}
inline unsigned __ballot_sync(unsigned, bool value) { return emulation::vote(value); }
inline int __ffs(int word) { return __builtin_ffs(word); }

// Threads run one after another.
template <class Word>
Word atomicMax(Word* at, Word value) {
  const Word before = *at;
  if (value > before) *at = value;
  return before;
}

template <class Word>
Word atomicCAS(Word* at, Word expected, Word value) {
  const Word before = *at;
  if (before == expected) *at = value;
  return before;
}
template <class Word>
Word atomicExch(Word* at, Word value) {
  const Word before = *at;
  *at = value;
  return before;
}
inline void __threadfence() {}
inline void __threadfence_system() {}

template <class Pass>
cudaError_t cudaLaunchKernel(void (*kernel)(Pass), dim3 grid, dim3 block, void** arguments, size_t,
                             cudaStream_t stream) {
  for (const cudaError_t kind :
       {cudaErrorNoKernelImageForDevice, cudaErrorInvalidResourceHandle, cudaErrorIllegalAddress})
    if (emulation::failure(kind) != cudaSuccess) return kind;
  if (grid.x == 0 || block.x == 0 || block.x > 1024) return cudaErrorInvalidValue;
  struct Call {
    void (*kernel)(Pass);
    Pass pass;
  } call{kernel, *static_cast<const Pass*>(arguments[0])};
  const auto run = [=] {
    Call own = call;
    emulation::run_grid(
        grid, block,
        [](void* context) {
          const Call& made = *static_cast<Call*>(context);
          made.kernel(made.pass);
        },
        &own);
  };
  ++emulation::launches;
  if (emulation::capturing(stream))
    emulation::keep(run);
  else
    run();
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);
cudaError_t cudaGetLastError();
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
