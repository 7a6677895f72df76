// SPDX-License-Identifier: BSD-3-Clause
// Windows of images: a thread for each element written, which adds its taps or windows in the CPU's order.
#include "../core/images.h"
#include "index.h"
#include "launch.h"
#include "vector.h"

namespace brazen::cuda::images {

constexpr int kThreads = 256;
// Rows and columns of pixels are computed in 32 bits.
constexpr int64_t kMaxPixels = int64_t{1} << 30;

// An extent that element numbers are divided by.
struct Extent {
  Divisor<uint64_t> by;
  int32_t is_one;

  void set(int64_t extent) {
    is_one = extent <= 1;
    if (!is_one) by.set(extent);
  }
};

// Splits the innermost position off the number of an element.
FORMULA int64_t take(uint64_t& index, const Extent& extent) {
  if (extent.is_one) return 0;
  const uint64_t quotient = divide(index, extent.by);
  const int64_t position = static_cast<int64_t>(index - quotient * extent.by.extent);
  index = quotient;
  return position;
}

// Kernel parameters, plain data.
struct WindowPass {
  ImageCall call;
  uint64_t elements;
  int64_t item, taps, window_count;                                     // item: bytes of an image's element
  Extent batch, channels, own, groups, size[2], windows[2], kernel[2];  // own: channels of one group
};

struct Place {
  int64_t image, channel;
  int row, column;
};

FORMULA Place place_of(const WindowPass& pass, uint64_t index, const Extent (&extents)[2]) {
  Place at;
  if (pass.call.channels_last) at.channel = take(index, pass.channels);
  at.column = static_cast<int>(take(index, extents[1]));
  at.row = static_cast<int>(take(index, extents[0]));
  if (!pass.call.channels_last) at.channel = take(index, pass.channels);
  at.image = static_cast<int64_t>(index);
  return at;
}

FORMULA int64_t offset_of(const WindowPass& pass, const Place& at, int64_t rows, int64_t columns) {
  const int64_t channels = pass.call.channels;
  return pass.call.channels_last ? ((at.image * rows + at.row) * columns + at.column) * channels + at.channel
                                 : ((at.image * channels + at.channel) * rows + at.row) * columns + at.column;
}

template <class T>
FORMULA T load(const WindowPass& pass, const void* array, int64_t offset) {
  return load_element<T>(static_cast<const char*>(array) + offset * pass.item, pass.call.dtype);
}

template <class T>
FORMULA void store(const WindowPass& pass, int64_t offset, T value) {
  store_element(static_cast<char*>(pass.call.out) + offset * pass.item, pass.call.dtype, value);
}

FORMULA int source(const WindowPass& pass, int axis, int window, int tap) {
  const ImageCall& call = pass.call;
  return window * static_cast<int>(call.stride[axis]) - static_cast<int>(call.padding[axis]) +
         tap * static_cast<int>(call.dilation[axis]);
}

// The window whose `tap` lies on the pixel at `position`, or -1.
FORMULA int window_at(const WindowPass& pass, int axis, int position, int tap) {
  const ImageCall& call = pass.call;
  const int above = position + static_cast<int>(call.padding[axis]) - tap * static_cast<int>(call.dilation[axis]);
  const int stride = static_cast<int>(call.stride[axis]);
  return above >= 0 && above % stride == 0 && above / stride < call.windows[axis] ? above / stride : -1;
}

// Calls body(row, column) for the taps of the window at `at` that lie inside the image; returns how many.
template <class Body>
FORMULA int for_taps(const WindowPass& pass, const Place& at, Body&& body) {
  const ImageCall& call = pass.call;
  int count = 0;
#pragma unroll 1
  for (int kh = 0; kh < call.kernel[0]; ++kh) {
    const int row = source(pass, 0, at.row, kh);
    if (row < 0 || row >= call.height) continue;
#pragma unroll 1
    for (int kw = 0; kw < call.kernel[1]; ++kw) {
      const int column = source(pass, 1, at.column, kw);
      if (column < 0 || column >= call.width) continue;
      body(row, column);
      ++count;
    }
  }
  return count;
}

template <class T>
FORMULA T divisor(const WindowPass& pass, int inside) {
  return static_cast<T>(pass.call.count_padding ? pass.taps : int64_t{inside});
}

// Columns of (channels x taps, batch, windows), or of (batch x windows, groups, taps, channels of a group).
template <class T>
FORMULA void to_columns(const WindowPass& pass, uint64_t element) {
  const ImageCall& call = pass.call;
  uint64_t index = element;
  Place at;
  struct Pair {
    int row, column;
  };
  const auto pair = [&](const Extent(&extents)[2]) {
    const int column = static_cast<int>(take(index, extents[1]));
    return Pair{static_cast<int>(take(index, extents[0])), column};
  };
  Pair tap, window;
  if (call.channels_last) {
    const int64_t channel = take(index, pass.own);
    tap = pair(pass.kernel);
    at.channel = take(index, pass.groups) * (call.channels / call.groups) + channel;
    window = pair(pass.windows);
    at.image = static_cast<int64_t>(index);
  } else {
    window = pair(pass.windows);
    at.image = take(index, pass.batch);
    tap = pair(pass.kernel);
    at.channel = static_cast<int64_t>(index);
  }
  at.row = source(pass, 0, window.row, tap.row), at.column = source(pass, 1, window.column, tap.column);
  const bool inside = at.row >= 0 && at.row < call.height && at.column >= 0 && at.column < call.width;
  static_cast<T*>(call.out)[element] =
      inside ? load<T>(pass, call.x, offset_of(pass, at, call.height, call.width)) : T(0);
}

template <class T>
FORMULA void from_columns(const WindowPass& pass, uint64_t element) {
  const ImageCall& call = pass.call;
  const Place at = place_of(pass, element, pass.size);
  const int64_t own = call.channels / call.groups, group = at.channel / own;
  T sum = 0;
#pragma unroll 1
  for (int kh = 0; kh < call.kernel[0]; ++kh) {
    const int64_t oh = window_at(pass, 0, at.row, kh);
    if (oh < 0) continue;
#pragma unroll 1
    for (int kw = 0; kw < call.kernel[1]; ++kw) {
      const int64_t ow = window_at(pass, 1, at.column, kw);
      if (ow < 0) continue;
      const int64_t tap = kh * call.kernel[1] + kw;
      const int64_t window = (at.image * call.windows[0] + oh) * call.windows[1] + ow;
      const int64_t offset = call.channels_last
                                 ? ((window * call.groups + group) * pass.taps + tap) * own + (at.channel - group * own)
                                 : (at.channel * pass.taps + tap) * call.batch * pass.window_count + window;
      sum += static_cast<const T*>(call.x)[offset];
    }
  }
  store(pass, static_cast<int64_t>(element), sum);
}

template <class T, bool largest>
FORMULA void pool(const WindowPass& pass, uint64_t element) {
  const ImageCall& call = pass.call;
  const Place at = place_of(pass, element, pass.windows);
  T held = largest ? -static_cast<T>(__builtin_inf()) : T(0);
  const int inside = for_taps(pass, at, [&](int row, int column) {
    const Place pixel{at.image, at.channel, row, column};
    const T value = load<T>(pass, call.x, offset_of(pass, pixel, call.height, call.width));
    if constexpr (largest)
      held = value > held || value != value ? value : held;  // a NaN stays: nothing exceeds it
    else
      held += value;
  });
  store(pass, static_cast<int64_t>(element), largest ? held : held / divisor<T>(pass, inside));
}

// Whether the window's largest pixel, the first of equal ones, is the one given.
template <class T>
FORMULA bool wins(const WindowPass& pass, const Place& window, const Place& pixel) {
  const ImageCall& call = pass.call;
  T best = 0;
  bool found = false, here = false;
  for_taps(pass, window, [&](int row, int column) {
    const Place at{window.image, window.channel, row, column};
    const T value = load<T>(pass, call.x, offset_of(pass, at, call.height, call.width));
    if (found && !(value > best) && !(value != value)) return;
    best = value, found = true, here = row == pixel.row && column == pixel.column;
  });
  return here;
}

// A pixel's windows in their order, which is the taps' backwards.
template <class T, bool largest>
FORMULA void pool_gradient(const WindowPass& pass, uint64_t element) {
  const ImageCall& call = pass.call;
  const Place at = place_of(pass, element, pass.size);
  T sum = 0;
#pragma unroll 1
  for (int kh = static_cast<int>(call.kernel[0]) - 1; kh >= 0; --kh) {
    const int oh = window_at(pass, 0, at.row, kh);
    if (oh < 0) continue;
#pragma unroll 1
    for (int kw = static_cast<int>(call.kernel[1]) - 1; kw >= 0; --kw) {
      const int ow = window_at(pass, 1, at.column, kw);
      if (ow < 0) continue;
      const Place window{at.image, at.channel, oh, ow};
      const T gradient = load<T>(pass, call.dy, offset_of(pass, window, call.windows[0], call.windows[1]));
      if constexpr (largest) {
        if (wins<T>(pass, window, at)) sum += gradient;
      } else {
        sum += gradient / divisor<T>(pass, call.count_padding ? 0 : for_taps(pass, window, [](int, int) {}));
      }
    }
  }
  store(pass, static_cast<int64_t>(element), sum);
}

template <ImagePass kind, class T>
__global__ void __launch_bounds__(kThreads) each_element(const __grid_constant__ WindowPass pass) {
  const uint64_t element = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= pass.elements) return;
  if constexpr (kind == ImagePass::to_columns) to_columns<T>(pass, element);
  if constexpr (kind == ImagePass::from_columns) from_columns<T>(pass, element);
  if constexpr (kind == ImagePass::max) pool<T, true>(pass, element);
  if constexpr (kind == ImagePass::average) pool<T, false>(pass, element);
  if constexpr (kind == ImagePass::max_gradient) pool_gradient<T, true>(pass, element);
  if constexpr (kind == ImagePass::average_gradient) pool_gradient<T, false>(pass, element);
}

template <class T>
auto kernel_of(ImagePass kind) {
  switch (kind) {
    case ImagePass::to_columns: return each_element<ImagePass::to_columns, T>;
    case ImagePass::from_columns: return each_element<ImagePass::from_columns, T>;
    case ImagePass::max: return each_element<ImagePass::max, T>;
    case ImagePass::average: return each_element<ImagePass::average, T>;
    case ImagePass::max_gradient: return each_element<ImagePass::max_gradient, T>;
    default: return each_element<ImagePass::average_gradient, T>;
  }
}

Status run(const ImageCall& call, const Launch& where) {
  const int64_t size[] = {call.height, call.width};
  WindowPass pass{};
  pass.call = call;
  pass.item = itemsize(call.dtype), pass.taps = call.taps(), pass.window_count = call.window_count();
  pass.batch.set(call.batch), pass.channels.set(call.channels);
  pass.own.set(call.channels / call.groups), pass.groups.set(call.groups);
  for (int d = 0; d < 2; ++d) {
    if (size[d] + 2 * call.padding[d] > kMaxPixels || call.dilation[d] * call.kernel[d] > kMaxPixels ||
        call.stride[d] > kMaxPixels)
      return refuse(where, "an image or a window has more than 2^30 pixels along an axis");
    pass.size[d].set(size[d]), pass.windows[d].set(call.windows[d]), pass.kernel[d].set(call.kernel[d]);
  }
  const bool of_windows = call.pass == ImagePass::max || call.pass == ImagePass::average;
  const int64_t pixels = of_windows || call.pass == ImagePass::to_columns ? call.window_count() : size[0] * size[1];
  const int64_t taps = call.pass == ImagePass::to_columns ? call.taps() : 1;
  pass.elements = static_cast<uint64_t>(call.batch * call.channels * pixels * taps);
  if (pass.elements == 0) return Status::ok;
  const uint64_t blocks = (pass.elements + kThreads - 1) / kThreads;
  if (blocks > kMaxBlocks) return refuse(where, "the result has more than 2^39 elements; pass fewer images at once");
  const int64_t item = pass.item, wide = is_16_bit(call.dtype) ? 4 : item;
  const auto off = [](const void* array, int64_t size) { return reinterpret_cast<uintptr_t>(array) % size != 0; };
  if (off(call.x, call.pass == ImagePass::from_columns ? wide : item) || off(call.dy, item) ||
      off(call.out, call.pass == ImagePass::to_columns ? wide : item))
    return refuse(where, kMisaligned);
  const DeviceScope scope(where.device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), where);
  const auto kernel = call.dtype == DType::float64 ? kernel_of<double>(call.pass) : kernel_of<float>(call.pass);
  return explain(launch(kernel, static_cast<int64_t>(blocks), kThreads, where.stream, pass), where);
}

}  // namespace brazen::cuda::images

brazen::cuda::Status brazen_cuda_images(const brazen::ImageCall* call, const brazen::cuda::Launch* where) {
  return brazen::cuda::images::run(*call, *where);
}
