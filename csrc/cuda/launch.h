// SPDX-License-Identifier: BSD-3-Clause
// What every entry of the library does around its kernels: the right device, one checked launch, an error with its
// cure.
#pragma once

#include <cuda_runtime.h>

#include "abi.h"
#if !defined(BRAZEN_CUDA_ARCHS_TEXT)
#include "archs.h"  // written by the build
#endif

namespace brazen::cuda {

// The architectures in this build, as the build file states them.
inline constexpr const char* kArchs = BRAZEN_CUDA_ARCHS_TEXT;

// Writes why `error` happened and what cures it, clears it, and says which kind it is. `device` is -1 where none was
// asked for.
Status explain(cudaError_t error, int device, char* message, size_t size);

inline Status explain(cudaError_t error, const Launch& where) {
  return error == cudaSuccess ? Status::ok : explain(error, where.device, where.message, where.message_size);
}

Status refuse(const Launch& where, const char* reason);

// A GPU reads an element only at a multiple of its size.
bool aligned(const Layout& layout);
inline constexpr const char* kMisaligned =
    "an array's elements do not lie at multiples of their size, as a GPU needs; pass a copy of it";

// Makes the call's device current, and gives the caller's own back.
class DeviceScope {
 public:
  explicit DeviceScope(int device) : device_(device) {
    error_ = cudaGetDevice(&previous_);
    if (error_ == cudaSuccess && previous_ != device) error_ = cudaSetDevice(device);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  ~DeviceScope() {
    if (error_ == cudaSuccess && previous_ != device_) (void)cudaSetDevice(previous_);
  }

  cudaError_t error() const { return error_; }

 private:
  int device_;
  int previous_ = 0;
  cudaError_t error_;
};

inline constexpr int64_t kMaxBlocks = 0x7fffffff;
inline int64_t blocks_of(int64_t count, int64_t each) { return (count + each - 1) / each; }

// A pass whose arrays together exceed this leaves nothing in a 50 MB L2 for its neighbours.
inline constexpr int64_t kStreamingBytes = 32 << 20;
// A remainder of a vector costs a second launch, which pays only beside a long first one.
inline constexpr int64_t kWorthTwoLaunches = 1 << 14;

template <class Pass>
cudaError_t launch(void (*kernel)(Pass), int64_t blocks, int threads, void* stream, Pass& pass) {
  void* arguments[] = {&pass};
  return cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), arguments,
                          0, static_cast<cudaStream_t>(stream));
}

}  // namespace brazen::cuda
