// SPDX-License-Identifier: BSD-3-Clause
// What the library says about itself and about errors. No kernel here.
#include <cstdio>

#include "launch.h"

namespace brazen::cuda {
namespace {

constexpr int kOldestDriver = 580;  // the first series that serves CUDA 13

// Two digits of the version, as in "13.0".
struct Version {
  int major, minor;
  explicit Version(int number) : major(number / 1000), minor(number % 1000 / 10) {}
};

Status no_driver(char* message, size_t size) {
  int driver = 0;
  (void)cudaDriverGetVersion(&driver);
  if (driver == 0)
    snprintf(message, size,
             "no NVIDIA driver was found; install driver %d or newer, or run the container with its GPUs",
             kOldestDriver);
  else
    snprintf(message, size,
             "the NVIDIA driver serves CUDA %d.%d, too old for this library's CUDA %d.%d; install driver %d or newer",
             Version(driver).major, Version(driver).minor, Version(CUDART_VERSION).major, Version(CUDART_VERSION).minor,
             kOldestDriver);
  return Status::no_driver;
}

Status no_image(int device, char* message, size_t size) {
  int major = 0, minor = 0;
  (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device < 0 ? 0 : device);
  (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device < 0 ? 0 : device);
  snprintf(message, size,
           "CUDA device %d has compute capability %d.%d, this library was built for %s; build it with "
           "BRAZEN_CUDA_ARCHS=%d%d",
           device, major, minor, kArchs, major, minor);
  return Status::no_kernel_image;
}

}  // namespace

Status refuse(const Launch& where, const char* reason) {
  snprintf(where.message, where.message_size, "%s", reason);
  return Status::bad_argument;
}

bool aligned(const Layout& layout) {
  for (int k = 0; k < layout.operand_count; ++k) {
    const Operand& operand = layout.operands[k];
    uint64_t bits =
        reinterpret_cast<uintptr_t>(operand.data) | static_cast<uint64_t>(operand.count > 1 ? operand.step : 0);
    for (int d = 0; d < layout.ndim; ++d) bits |= static_cast<uint64_t>(operand.strides[d]);
    if (bits % static_cast<uint64_t>(itemsize(operand.dtype))) return false;
  }
  return true;
}

Status explain(cudaError_t error, int device, char* message, size_t size) {
  // An error of a launch stays behind as the thread's last one, where the next library would find it.
  (void)cudaGetLastError();
  switch (error) {
    case cudaErrorInsufficientDriver: return no_driver(message, size);
    case cudaErrorNoDevice:
      snprintf(message, size, "the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES");
      return Status::no_device;
    case cudaErrorInvalidDevice: {
      int count = 0;
      (void)cudaGetDeviceCount(&count);
      snprintf(message, size, "there is no CUDA device %d; this process sees %d, see CUDA_VISIBLE_DEVICES", device,
               count);
      return Status::bad_argument;
    }
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidKernelImage:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion: return no_image(device, message, size);
    case cudaErrorMemoryAllocation:
      snprintf(message, size, "CUDA device %d is out of memory; free arrays, or a memory pool with free_all_blocks()",
               device);
      return Status::out_of_memory;
    case cudaErrorInvalidResourceHandle:
    case cudaErrorContextIsDestroyed:
    case cudaErrorDeviceUninitialized:
      snprintf(message, size,
               "the current stream is no live stream of CUDA device %d (%s); make a stream of that device current",
               device, cudaGetErrorName(error));
      return Status::bad_argument;
    default:
      snprintf(message, size,
               "%s on CUDA device %d: %s; an earlier kernel of this process may have caused it, find it with "
               "CUDA_LAUNCH_BLOCKING=1",
               cudaGetErrorName(error), device, cudaGetErrorString(error));
      return Status::failed;
  }
}

}  // namespace brazen::cuda

brazen::cuda::Status brazen_cuda_describe(brazen::cuda::Description* description, char* message, size_t size) {
  using namespace brazen::cuda;
  *description = {kAbi, CUDART_VERSION, 0, 0, kArchs};
  (void)cudaDriverGetVersion(&description->driver_version);
  const cudaError_t error = cudaGetDeviceCount(&description->device_count);
  if (error == cudaSuccess) return Status::ok;
  description->device_count = 0;
  return explain(error, -1, message, size);
}
