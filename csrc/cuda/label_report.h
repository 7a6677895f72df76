// SPDX-License-Identifier: BSD-3-Clause
// How a kernel tells the host of a label out of range although nobody waits for it: it writes into host memory that the
// device sees, where a later call looks. No copy is queued, so a replayed CUDA graph tells as well.
#pragma once

#include "../core/rows.h"
#include "launch.h"

namespace brazen::cuda {

// In page-locked host memory, one for each device. Each counter has one writer: atomics do not span the two sides.
struct LabelReport {
  uint64_t told;   // errors that the device wrote
  uint64_t taken;  // errors that the host read
  LabelError error;
};

static LabelReport* label_reports[kMaxDevices];

// The device's report, made at the first call: later ones, captured ones among them, find it there. The allocation is
// the one thing here that may hold up other streams. Host memory has one address for all.
inline cudaError_t find_label_report(int device, LabelReport*& found) {
  if (device < 0 || device >= kMaxDevices) return cudaErrorInvalidDevice;
  LabelReport*& place = label_reports[device];
  found = __atomic_load_n(&place, __ATOMIC_ACQUIRE);
  if (found) return cudaSuccess;
  // A capture, of whatever thread, would forbid the allocation, which is no part of its graph.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaError_t error = cudaThreadExchangeStreamCaptureMode(&mode);
  if (error != cudaSuccess) return error;
  void* memory = nullptr;
  error = cudaHostAlloc(&memory, sizeof(LabelReport), cudaHostAllocMapped | cudaHostAllocPortable);
  const cudaError_t restored = cudaThreadExchangeStreamCaptureMode(&mode);
  if (error != cudaSuccess) return error;
  LabelReport* made = static_cast<LabelReport*>(memory);
  *made = LabelReport{};
  if (!__atomic_compare_exchange_n(&place, &found, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    (void)cudaFreeHost(memory);  // another thread was first, and its report is `found`
  else
    found = made;
  return restored;
}

// Set while a kernel tells; other streams' kernels do not.
static __device__ unsigned telling = 0;

// By one thread. What is told first stays until the host has taken it; what comes meanwhile is dropped.
__device__ inline void tell(LabelReport* report, const LabelError& error) {
  if (atomicCAS(&telling, 0u, 1u) != 0) return;
  __threadfence();
  const volatile LabelReport* seen = report;
  if (seen->told == seen->taken) {
    report->error = error;
    __threadfence_system();
    volatile uint64_t* told = &report->told;
    *told = *told + 1;
    __threadfence_system();
  }
  atomicExch(&telling, 0u);
}

// On the host: the error that waits, if there is one. It makes no CUDA call.
inline bool take(int device, LabelError& error) {
  LabelReport* report =
      device >= 0 && device < kMaxDevices ? __atomic_load_n(&label_reports[device], __ATOMIC_ACQUIRE) : nullptr;
  if (!report) return false;
  const uint64_t told = __atomic_load_n(&report->told, __ATOMIC_ACQUIRE);
  uint64_t taken = __atomic_load_n(&report->taken, __ATOMIC_RELAXED);
  if (told == taken) return false;
  error = report->error;
  return __atomic_compare_exchange_n(&report->taken, &taken, told, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

}  // namespace brazen::cuda
