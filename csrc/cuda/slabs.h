// SPDX-License-Identifier: BSD-3-Clause
// How a batch norm is cut into slabs of channels, so that what its first pass has read from memory the second one finds
// in the L2. No kernel, no launch.
#pragma once

#include <cuda_runtime.h>

#include "../core/batch_norm.h"
#include "chain.h"
#include "vector.h"

namespace brazen::cuda::channels {

// A slab takes three launches, which each fill and drain the device, and saves its second reading. Reckoned, not yet
// measured: two to three microseconds a launch.
constexpr double kSlabMicroseconds = 8;

// Of the L2: what is left for the results that pass through it, and for its other half's copies.
constexpr int64_t kL2Share = 2;

struct MemoryTraits {
  int l2_bytes = 0, clock_kilohertz = 0, bus_bits = 0;

  double bytes_a_microsecond() const { return 2e-3 * clock_kilohertz * bus_bits / 8; }
};

inline cudaError_t read(MemoryTraits& traits, int device) {
  cudaError_t error = cudaDeviceGetAttribute(&traits.l2_bytes, cudaDevAttrL2CacheSize, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&traits.clock_kilohertz, cudaDevAttrMemoryClockRate, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&traits.bus_bits, cudaDevAttrGlobalMemoryBusWidth, device);
  return error;
}

inline int64_t bytes_read_twice(const Layout& layout, int arrays) {
  int64_t bytes = 0;
  for (int k = 0; k < arrays; ++k) bytes += row_count(layout) * itemsize(layout.operands[k].dtype);
  return bytes;
}

// The least number of channels whose multiples begin at whole vectors of every array; 0 where vectors do not lie in
// rows.
inline int64_t channels_of_whole_vectors(const Layout& layout, int arrays) {
  int64_t unit = 1;
  for (int k = 0; k < arrays; ++k) {
    const Operand& operand = layout.operands[k];
    for (int d = 1; d < layout.ndim; ++d)
      if (operand.strides[d] != itemsize(operand.dtype) && operand.strides[d] % kVectorBytes != 0) return 0;
    while (unit * operand.strides[0] % kVectorBytes != 0) unit *= 2;
  }
  return unit;
}

// How many channels each slab takes, of a channel-first layout whose first `arrays` operands are read twice; all of
// them where one slab is enough, where one does not hold a channel, or where it would save less than its launches cost.
inline int64_t slab_channels(const Layout& layout, int arrays, bool columns, const MemoryTraits& traits) {
  const int64_t channels = channel_count(layout), a_channel = bytes_read_twice(layout, arrays);
  const int64_t room = traits.l2_bytes / kL2Share;
  if (channels * a_channel <= room) return channels;
  const int64_t unit = columns ? kLanes : channels_of_whole_vectors(layout, arrays);
  const int64_t fitting = unit ? room / a_channel / unit * unit : 0;
  if (fitting == 0 || fitting * a_channel < kSlabMicroseconds * traits.bytes_a_microsecond()) return channels;
  const int64_t slabs = (channels + fitting - 1) / fitting, even = (channels + slabs - 1) / slabs;
  return (even + unit - 1) / unit * unit;
}

}  // namespace brazen::cuda::channels
