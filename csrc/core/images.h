// SPDX-License-Identifier: BSD-3-Clause
// What a pass over the windows of images is told: the images, the windows, the arrays. It reads no element.
#pragma once

#include <cstdint>

#include "dtype.h"

namespace brazen {

enum class ImagePass : int32_t { to_columns, from_columns, max, max_gradient, average, average_gradient };

// Contiguous images: (batch, channels, height, width), or with the channels last.
struct ImageCall {
  ImagePass pass;
  DType dtype;  // of the images; columns are of the compute type
  bool channels_last;
  bool count_padding;  // an average divides by the whole window
  int64_t batch, channels, height, width;
  int64_t groups;  // of channels, each with columns of its own
  int64_t kernel[2], stride[2], padding[2], dilation[2], windows[2];
  const void* x;   // images; the columns of from_columns; null where a gradient does not need them
  const void* dy;  // of the gradients: of the windows' results
  void* out;

  int64_t window_count() const { return windows[0] * windows[1]; }
  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t work() const { return batch * channels * window_count() * taps(); }
};

}  // namespace brazen
