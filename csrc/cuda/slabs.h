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

// What the driver says of a device; 0 where it does not.
inline int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, which, device) == cudaSuccess ? value : 0;
}

// Asked for only where an array exceeds the L2: some drivers look these two up on the bus.
inline double bytes_a_microsecond(int device) {
  return 2e-3 * attribute(cudaDevAttrMemoryClockRate, device) * attribute(cudaDevAttrGlobalMemoryBusWidth, device) / 8;
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
// them where one slab is enough, where one does not hold a channel, where it would save less than its launches cost, or
// where the driver does not tell the memory's speed.
inline int64_t slab_channels(const Layout& layout, int arrays, bool columns, int device) {
  const int64_t channels = channel_count(layout), a_channel = bytes_read_twice(layout, arrays);
  const int64_t room = attribute(cudaDevAttrL2CacheSize, device) / kL2Share;
  if (channels * a_channel <= room) return channels;
  const int64_t unit = columns ? kLanes : channels_of_whole_vectors(layout, arrays);
  const int64_t fitting = unit ? room / a_channel / unit * unit : 0;
  if (fitting == 0) return channels;
  const double speed = bytes_a_microsecond(device);
  if (speed == 0 || fitting * a_channel < kSlabMicroseconds * speed) return channels;
  const int64_t slabs = (channels + fitting - 1) / fitting, even = (channels + slabs - 1) / slabs;
  return (even + unit - 1) / unit * unit;
}

}  // namespace brazen::cuda::channels
