// SPDX-License-Identifier: BSD-3-Clause
// Loops over the windows of images. A sum over windows or taps goes in the order of the kernel's rows and columns,
// whoever computes it; a thread owns all it adds to.
#include "images.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "../formulas/storage.h"
#include "float_state.h"
#include "scratch.h"
#include "threads.h"
#include "work.h"

namespace brazen::cpu {
namespace {

// Storage types and what they are computed in.
struct Half {
  using Compute = float;
  uint16_t bits;
  static float load(Half value) { return from_float16(value.bits); }
  static Half store(float value) { return {to_float16(value)}; }
};
struct Brain {
  using Compute = float;
  uint16_t bits;
  static float load(Brain value) { return from_bfloat16(value.bits); }
  static Brain store(float value) { return {to_bfloat16(value)}; }
};
template <class T>
struct Plain {
  using Compute = T;
  T value;
  static T load(Plain stored) { return stored.value; }
  static Plain store(T value) { return {value}; }
};

// Channels that are worked on together where they are neighbours in memory: their sums stay in L1.
constexpr int64_t kChannelBlock = 64;
// One tap of one window, roughly.
constexpr int64_t kTapPicoseconds = 400;

template <class Body>
void for_each(const ImageCall& call, int64_t parts, Body&& body) {
  if (call.work() * kTapPicoseconds < kParallelPicoseconds) {
    for (int64_t part = 0; part < parts; ++part) body(part);
    return;
  }
  parallel_for(parts, body);
}

int64_t source(const ImageCall& call, int axis, int64_t window, int64_t tap) {
  return window * call.stride[axis] - call.padding[axis] + tap * call.dilation[axis];
}

// The windows [first, last) whose tap lies inside the image, along one axis.
struct Inside {
  int64_t first, last;

  Inside(const ImageCall& call, int axis, int64_t tap, int64_t extent) {
    const int64_t start = tap * call.dilation[axis] - call.padding[axis], stride = call.stride[axis];
    first = start >= 0 ? 0 : (-start + stride - 1) / stride;
    last = extent - start <= 0 ? 0 : (extent - start + stride - 1) / stride;
    last = std::min(last, call.windows[axis]);
    first = std::min(first, last);
  }
};

// Columns of (channels x taps, batch, windows), one matrix for all images: a row of windows is a run of the image's
// row.
int64_t column(const ImageCall& call, int64_t plane, int64_t tap) {
  const int64_t image = plane / call.channels, channel = plane % call.channels;
  return ((channel * call.taps() + tap) * call.batch + image) * call.window_count();
}

// One tap's column of a plane, where the windows keep the image's width: the image moved, with what comes from beyond
// its sides cleared.
template <class S, class T>
void moved_plane(const ImageCall& call, const S* image, int64_t kh, int64_t kw, T* to) {
  const int64_t width = call.width;
  const Inside rows(call, 0, kh, call.height), inside(call, 1, kw, width);
  std::fill(to, to + rows.first * width, T(0));
  const int64_t from = source(call, 0, rows.first, kh) * width + source(call, 1, 0, kw);
  const int64_t begin = std::max<int64_t>(0, -from);
  const int64_t end = std::min((rows.last - rows.first) * width, call.height * width - from);
  T* run = to + rows.first * width;
  for (int64_t i = begin; i < end; ++i) run[i] = S::load(image[from + i]);
  if (inside.first > 0 || inside.last < width)
    for (int64_t row = rows.first; row < rows.last; ++row) {
      std::fill(to + row * width, to + row * width + inside.first, T(0));
      std::fill(to + row * width + inside.last, to + (row + 1) * width, T(0));
    }
  std::fill(to + rows.last * width, to + call.windows[0] * width, T(0));
}

template <class S, class T>
void plane_column(const ImageCall& call, const S* image, int64_t kh, int64_t kw, T* to) {
  const int64_t rows = call.windows[0], width = call.windows[1], stride = call.stride[1];
  const Inside inside(call, 1, kw, call.width);
  for (int64_t oh = 0; oh < rows; ++oh, to += width) {
    const int64_t ih = source(call, 0, oh, kh);
    if (ih < 0 || ih >= call.height) {
      std::fill(to, to + width, T(0));
      continue;
    }
    std::fill(to, to + inside.first, T(0));
    const S* from = image + ih * call.width + source(call, 1, inside.first, kw);
    const int64_t n = inside.last - inside.first;
    T* run = to + inside.first;
    if (stride == 1)
      for (int64_t i = 0; i < n; ++i) run[i] = S::load(from[i]);
    else
      for (int64_t i = 0; i < n; ++i) run[i] = S::load(from[i * stride]);
    std::fill(to + inside.last, to + width, T(0));
  }
}

template <class S>
void to_columns_first(const ImageCall& call) {
  using T = typename S::Compute;
  const S* x = static_cast<const S*>(call.x);
  T* columns = static_cast<T*>(call.out);
  const bool moves = call.stride[0] == 1 && call.stride[1] == 1 && call.windows[1] == call.width;
  for_each(call, call.batch * call.channels, [&](int64_t plane) {
    const S* image = x + plane * call.height * call.width;
    for (int64_t kh = 0; kh < call.kernel[0]; ++kh)
      for (int64_t kw = 0; kw < call.kernel[1]; ++kw) {
        T* to = columns + column(call, plane, kh * call.kernel[1] + kw);
        moves ? moved_plane(call, image, kh, kw, to) : plane_column(call, image, kh, kw, to);
      }
  });
}

template <class S>
void from_columns_first(const ImageCall& call) {
  using T = typename S::Compute;
  const T* columns = static_cast<const T*>(call.x);
  S* out = static_cast<S*>(call.out);
  const int64_t rows = call.windows[0], width = call.windows[1], stride = call.stride[1];
  for_each(call, call.batch * call.channels, [&](int64_t plane) {
    const FloatState guard;
    const int64_t pixels = call.height * call.width;
    T* sum = reinterpret_cast<T*>(thread_scratch(pixels * sizeof(T)));
    std::fill(sum, sum + pixels, T(0));
    for (int64_t kh = 0; kh < call.kernel[0]; ++kh)
      for (int64_t kw = 0; kw < call.kernel[1]; ++kw) {
        const Inside inside(call, 1, kw, call.width);
        const T* from = columns + column(call, plane, kh * call.kernel[1] + kw);
        for (int64_t oh = 0; oh < rows; ++oh, from += width) {
          const int64_t ih = source(call, 0, oh, kh);
          if (ih < 0 || ih >= call.height) continue;
          T* to = sum + ih * call.width + source(call, 1, inside.first, kw);
          const int64_t n = inside.last - inside.first;
          const T* run = from + inside.first;
          if (stride == 1)
            for (int64_t i = 0; i < n; ++i) to[i] += run[i];
          else
            for (int64_t i = 0; i < n; ++i) to[i * stride] += run[i];
        }
      }
    S* image = out + plane * pixels;
    for (int64_t i = 0; i < pixels; ++i) image[i] = S::store(sum[i]);
  });
}

// Columns of (batch x windows, groups, taps, channels of a group).
template <class S>
void to_columns_last(const ImageCall& call) {
  using T = typename S::Compute;
  const S* x = static_cast<const S*>(call.x);
  T* columns = static_cast<T*>(call.out);
  const int64_t C = call.channels, own = C / call.groups;
  for_each(call, call.batch * call.windows[0], [&](int64_t part) {
    const int64_t oh = part % call.windows[0];
    const S* image = x + part / call.windows[0] * call.height * call.width * C;
    T* to = columns + part * call.windows[1] * call.taps() * C;
    for (int64_t ow = 0; ow < call.windows[1]; ++ow)
      for (int64_t group = 0; group < call.groups; ++group)
        for (int64_t kh = 0; kh < call.kernel[0]; ++kh)
          for (int64_t kw = 0; kw < call.kernel[1]; ++kw, to += own) {
            const int64_t ih = source(call, 0, oh, kh), iw = source(call, 1, ow, kw);
            if (ih < 0 || ih >= call.height || iw < 0 || iw >= call.width) {
              std::fill(to, to + own, T(0));
              continue;
            }
            const S* from = image + (ih * call.width + iw) * C + group * own;
            for (int64_t c = 0; c < own; ++c) to[c] = S::load(from[c]);
          }
  });
}

template <class S>
void from_columns_last(const ImageCall& call) {
  using T = typename S::Compute;
  const T* columns = static_cast<const T*>(call.x);
  S* out = static_cast<S*>(call.out);
  const int64_t C = call.channels, own = C / call.groups, row = call.width * C;
  for_each(call, call.batch * call.height, [&](int64_t part) {
    const FloatState guard;
    const int64_t image = part / call.height, ih = part % call.height;
    T* sum = reinterpret_cast<T*>(thread_scratch(row * sizeof(T)));
    std::fill(sum, sum + row, T(0));
    for (int64_t kh = 0; kh < call.kernel[0]; ++kh) {
      const int64_t above = ih + call.padding[0] - kh * call.dilation[0];
      if (above < 0 || above % call.stride[0] || above / call.stride[0] >= call.windows[0]) continue;
      const int64_t line = (image * call.windows[0] + above / call.stride[0]) * call.windows[1];
      for (int64_t kw = 0; kw < call.kernel[1]; ++kw) {
        const Inside inside(call, 1, kw, call.width);
        for (int64_t ow = inside.first; ow < inside.last; ++ow)
          for (int64_t group = 0; group < call.groups; ++group) {
            const int64_t tap = (group * call.kernel[0] + kh) * call.kernel[1] + kw;
            const T* from = columns + (line + ow) * call.taps() * C + tap * own;
            T* to = sum + source(call, 1, ow, kw) * C + group * own;
            for (int64_t c = 0; c < own; ++c) to[c] += from[c];
          }
      }
    }
    S* to = out + part * row;
    for (int64_t i = 0; i < row; ++i) to[i] = S::store(sum[i]);
  });
}

// How a pool walks: planes of one channel, or blocks of neighbouring channels.
struct Walk {
  int64_t lanes, parts, pixel;  // channels together; parts of the work; elements from a pixel to the next

  explicit Walk(const ImageCall& call) {
    lanes = call.channels_last ? std::min(kChannelBlock, call.channels) : 1;
    const int64_t blocks = call.channels_last ? (call.channels + lanes - 1) / lanes : call.channels;
    parts = call.batch * blocks;
    pixel = call.channels_last ? call.channels : 1;
  }

  struct Part {
    int64_t lanes, x, y;  // first elements of the image and of the result
  };

  Part part(const ImageCall& call, int64_t number) const {
    const int64_t pixels = call.height * call.width, windows = call.window_count();
    if (!call.channels_last) return {1, number * pixels, number * windows};
    const int64_t blocks = (call.channels + lanes - 1) / lanes;
    const int64_t image = number / blocks, first = number % blocks * lanes;
    return {std::min(lanes, call.channels - first), image * pixels * call.channels + first,
            image * windows * call.channels + first};
  }
};

// Calls body(pixel) for the taps of a window inside the image, the kernel's rows outermost; returns how many.
template <class Body>
int64_t for_taps(const ImageCall& call, int64_t oh, int64_t ow, Body&& body) {
  int64_t count = 0;
  for (int64_t kh = 0; kh < call.kernel[0]; ++kh) {
    const int64_t ih = source(call, 0, oh, kh);
    if (ih < 0 || ih >= call.height) continue;
    for (int64_t kw = 0; kw < call.kernel[1]; ++kw) {
      const int64_t iw = source(call, 1, ow, kw);
      if (iw < 0 || iw >= call.width) continue;
      body(ih * call.width + iw);
      ++count;
    }
  }
  return count;
}

int64_t divisor(const ImageCall& call, int64_t inside) { return call.count_padding ? call.taps() : inside; }

template <class S>
void pool(const ImageCall& call) {
  using T = typename S::Compute;
  const S* x = static_cast<const S*>(call.x);
  S* y = static_cast<S*>(call.out);
  const Walk walk(call);
  const bool largest = call.pass == ImagePass::max;
  for_each(call, walk.parts, [&](int64_t number) {
    const FloatState guard;
    const Walk::Part part = walk.part(call, number);
    T held[kChannelBlock];
    for (int64_t oh = 0; oh < call.windows[0]; ++oh)
      for (int64_t ow = 0; ow < call.windows[1]; ++ow) {
        std::fill(held, held + part.lanes, largest ? -std::numeric_limits<T>::infinity() : T(0));
        const int64_t inside = for_taps(call, oh, ow, [&](int64_t pixel) {
          const S* from = x + part.x + pixel * walk.pixel;
          if (largest)
            for (int64_t c = 0; c < part.lanes; ++c) {
              const T value = S::load(from[c]), best = held[c];
              held[c] = value > best || value != value ? value : best;  // a NaN stays: nothing exceeds it
            }
          else
            for (int64_t c = 0; c < part.lanes; ++c) held[c] += S::load(from[c]);
        });
        S* to = y + part.y + (oh * call.windows[1] + ow) * walk.pixel;
        const T count = static_cast<T>(divisor(call, inside));
        for (int64_t c = 0; c < part.lanes; ++c) to[c] = S::store(largest ? held[c] : held[c] / count);
      }
  });
}

template <class S>
void pool_gradient(const ImageCall& call) {
  using T = typename S::Compute;
  const S* x = static_cast<const S*>(call.x);
  const S* dy = static_cast<const S*>(call.dy);
  S* dx = static_cast<S*>(call.out);
  const Walk walk(call);
  const bool largest = call.pass == ImagePass::max_gradient;
  for_each(call, walk.parts, [&](int64_t number) {
    const FloatState guard;
    const Walk::Part part = walk.part(call, number);
    const int64_t pixels = call.height * call.width, lanes = part.lanes;
    T* sum = reinterpret_cast<T*>(thread_scratch(pixels * lanes * sizeof(T)));
    std::fill(sum, sum + pixels * lanes, T(0));
    T best[kChannelBlock], gradient[kChannelBlock];
    int64_t winner[kChannelBlock];
    for (int64_t oh = 0; oh < call.windows[0]; ++oh)
      for (int64_t ow = 0; ow < call.windows[1]; ++ow) {
        const S* from = dy + part.y + (oh * call.windows[1] + ow) * walk.pixel;
        for (int64_t c = 0; c < lanes; ++c) gradient[c] = S::load(from[c]);
        if (!largest) {
          const int64_t inside = call.count_padding ? 0 : for_taps(call, oh, ow, [](int64_t) {});
          const T count = static_cast<T>(divisor(call, inside));
          for (int64_t c = 0; c < lanes; ++c) gradient[c] /= count;
          for_taps(call, oh, ow, [&](int64_t pixel) {
            for (int64_t c = 0; c < lanes; ++c) sum[pixel * lanes + c] += gradient[c];
          });
          continue;
        }
        std::fill(winner, winner + lanes, int64_t{-1});
        for_taps(call, oh, ow, [&](int64_t pixel) {
          const S* at = x + part.x + pixel * walk.pixel;
          for (int64_t c = 0; c < lanes; ++c) {
            const T value = S::load(at[c]);
            if (winner[c] >= 0 && !(value > best[c]) && !(value != value)) continue;  // the first of equal ones
            best[c] = value, winner[c] = pixel;
          }
        });
        for (int64_t c = 0; c < lanes; ++c)
          if (winner[c] >= 0) sum[winner[c] * lanes + c] += gradient[c];
      }
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      for (int64_t c = 0; c < lanes; ++c) dx[part.x + pixel * walk.pixel + c] = S::store(sum[pixel * lanes + c]);
  });
}

template <class S>
void run_as(const ImageCall& call) {
  switch (call.pass) {
    case ImagePass::to_columns: return call.channels_last ? to_columns_last<S>(call) : to_columns_first<S>(call);
    case ImagePass::from_columns: return call.channels_last ? from_columns_last<S>(call) : from_columns_first<S>(call);
    case ImagePass::max:
    case ImagePass::average: return pool<S>(call);
    default: return pool_gradient<S>(call);
  }
}

}  // namespace

void run(const ImageCall& call) {
  const FloatState guard;
  switch (call.dtype) {
    case DType::float16: return run_as<Half>(call);
    case DType::bfloat16: return run_as<Brain>(call);
    case DType::float64: return run_as<Plain<double>>(call);
    default: return run_as<Plain<float>>(call);
  }
}

}  // namespace brazen::cpu
