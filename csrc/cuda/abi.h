// SPDX-License-Identifier: BSD-3-Clause
// The C ABI between the core module and the CUDA library: every function that crosses, and nothing of CUDA's own types.
#pragma once

#include <cstddef>

#include "../core/batch_norm.h"
#include "../core/call.h"
#include "../core/chain.h"
#include "../core/images.h"
#include "../core/indexed_rows.h"
#include "../core/rows.h"
#include "../core/update.h"

#if defined(BRAZEN_CUDA_LIBRARY)
#define BRAZEN_ABI extern "C" __attribute__((visibility("default")))
#else
#define BRAZEN_ABI extern "C"
#endif

namespace brazen::cuda {

// Both sides are built from one tree; the core refuses a library whose number differs. Raise it when a struct changes.
inline constexpr int kAbi = 13;

enum class Status : int32_t { ok, bad_argument, no_driver, no_device, no_kernel_image, out_of_memory, failed };

// Where a call runs, and where the library writes why it did not.
struct Launch {
  int32_t device;
  void* stream;  // a cudaStream_t
  char* message;
  size_t message_size;
};

struct Description {
  int32_t abi;
  int32_t runtime_version;  // 13000 for CUDA 13.0
  int32_t driver_version;   // 0 without a driver
  int32_t device_count;
  const char* archs;  // "75;80;...;120+PTX", as built
};

}  // namespace brazen::cuda

BRAZEN_ABI brazen::cuda::Status brazen_cuda_describe(brazen::cuda::Description* description, char* message,
                                                     size_t size);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_elementwise(const brazen::ElementwiseCall* call,
                                                        const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_reduction(const brazen::ReductionCall* call,
                                                      const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_chain(const brazen::ChainCall* call, const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_fill(const brazen::FillCall* call, const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_statistics(const brazen::StatisticsCall* call,
                                                       const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_merge(const brazen::MergeCall* call, const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_channel_sums(const brazen::ChannelSumsCall* call,
                                                         const brazen::cuda::Launch* launch);
// The statistics or sums, what follows from them, and the pass over the elements.
BRAZEN_ABI brazen::cuda::Status brazen_cuda_batch_norm(const brazen::BatchNormCall* call,
                                                       const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_batch_norm_backward(const brazen::BatchNormBackwardCall* call,
                                                                const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_row_loss(const brazen::RowLossCall* call,
                                                     const brazen::cuda::Launch* launch);
// Whether losses on the device have met a label out of range since this was asked last, and which. It does not wait.
BRAZEN_ABI int32_t brazen_cuda_take_label_error(int32_t device, brazen::LabelError* error);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_element_loss(const brazen::ElementLossCall* call,
                                                         const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_row_map(const brazen::RowMapCall* call, const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_row_norm(const brazen::RowNormCall* call,
                                                     const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_row_lengths(const brazen::RowLengthsCall* call,
                                                        const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_images(const brazen::ImageCall* call, const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_indexed_rows(const brazen::IndexedRowsCall* call,
                                                         const brazen::cuda::Launch* launch);
// Of a list's memory on the device, and of its shadow on the host.
BRAZEN_ABI void brazen_cuda_list_bytes(const brazen::UpdateCall* call, int64_t* bytes, int64_t* shadow_bytes);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_update(const brazen::UpdateCall* call, const brazen::DeviceStep* device,
                                                   brazen::DeviceSpace* space, const brazen::cuda::Launch* launch);
BRAZEN_ABI brazen::cuda::Status brazen_cuda_list(const brazen::ListCall* call, brazen::DeviceSpace* space,
                                                 const brazen::cuda::Launch* launch);
