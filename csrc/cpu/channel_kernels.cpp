// SPDX-License-Identifier: BSD-3-Clause
// Moments and gradient sums of channels, in the lanes of formulas/reduction.h. Compiled once per instruction set; no
// std:: here.
#include "channel_kernels.h"

#include "lanes.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

// The lines that take the place of the lanes just read.
template <class T>
inline void fetch(const char* ahead, size_t row) {
  for (size_t byte = 0; byte < kLanes * sizeof(T); byte += 64) __builtin_prefetch(ahead + row * sizeof(T) + byte);
}

// Of the first rows, one a lane.
template <class T>
T sum_of_first(const T* rows, size_t n) {
  if (n >= kLanes) return merge_lanes(rows);
  T lanes[kLanes] = {};
  for (size_t lane = 0; lane < n; ++lane) lanes[lane] = rows[lane];
  return merge_lanes(lanes);
}

template <class T>
Moments moments(const void* from, size_t n, const char* ahead) {
  const T* rows = static_cast<const T*>(from);
  const T pivot = pivot_of(sum_of_first(rows, n), int64_t(n));
  T sum[kLanes] = {}, squares[kLanes] = {};
  size_t row = 0;
  for (; row + kLanes <= n; row += kLanes) {
    fetch<T>(ahead, row);
    for (int lane = 0; lane < kLanes; ++lane) {
      const T distance = rows[row + lane] - pivot;
      sum[lane] += distance;
      squares[lane] = math::fma(distance, distance, squares[lane]);
    }
  }
  for (int lane = 0; row < n; ++row, ++lane) {
    const T distance = rows[row] - pivot;
    sum[lane] += distance;
    squares[lane] = math::fma(distance, distance, squares[lane]);
  }
  return chunk_moments(pivot, merge_lanes(sum), merge_lanes(squares), int64_t(n));
}

template <class T>
GradientSums sums(const void* grad_from, const void* x_from, const void* center_from, size_t n, const char* grad_ahead,
                  const char* x_ahead) {
  const T *grad = static_cast<const T*>(grad_from), *x = static_cast<const T*>(x_from);
  const T center = *static_cast<const T*>(center_from);
  T sum[kLanes] = {}, product[kLanes] = {};
  size_t row = 0;
  for (; row + kLanes <= n; row += kLanes) {
    fetch<T>(grad_ahead, row);
    fetch<T>(x_ahead, row);
    for (int lane = 0; lane < kLanes; ++lane) {
      sum[lane] += grad[row + lane];
      product[lane] = math::fma(grad[row + lane], x[row + lane] - center, product[lane]);
    }
  }
  for (int lane = 0; row < n; ++row, ++lane) {
    sum[lane] += grad[row];
    product[lane] = math::fma(grad[row], x[row] - center, product[lane]);
  }
  return {double(merge_lanes(sum)), double(merge_lanes(product))};
}

// Four rows at a time: the sums are read and written once for them.
template <class T>
void add_moments(const void* from, int64_t step, size_t count, size_t width, const void* pivot_from, void* sum_to,
                 void* squares_to) {
  const T *x = static_cast<const T*>(from), *pivot = static_cast<const T*>(pivot_from);
  T *sum = static_cast<T*>(sum_to), *squares = static_cast<T*>(squares_to);
  for (; count >= 4; count -= 4, x += 4 * step) {
#pragma GCC ivdep
    for (size_t i = 0; i < width; ++i) {
      const T p = pivot[i];
      const T a = x[i] - p, b = x[i + step] - p, c = x[i + 2 * step] - p, d = x[i + 3 * step] - p;
      sum[i] = sum[i] + a + b + c + d;
      squares[i] = math::fma(d, d, math::fma(c, c, math::fma(b, b, math::fma(a, a, squares[i]))));
    }
  }
  for (; count > 0; --count, x += step) {
#pragma GCC ivdep
    for (size_t i = 0; i < width; ++i) {
      const T distance = x[i] - pivot[i];
      sum[i] += distance;
      squares[i] = math::fma(distance, distance, squares[i]);
    }
  }
}

template <class T>
void add_sums(const void* grad_from, int64_t grad_step, const void* x_from, int64_t x_step, size_t count, size_t width,
              const void* center_from, void* sum_to, void* product_to) {
  const T *grad = static_cast<const T*>(grad_from), *x = static_cast<const T*>(x_from);
  const T* center = static_cast<const T*>(center_from);
  T *sum = static_cast<T*>(sum_to), *product = static_cast<T*>(product_to);
  for (; count >= 4; count -= 4, x += 4 * x_step, grad += 4 * grad_step) {
#pragma GCC ivdep
    for (size_t i = 0; i < width; ++i) {
      const T m = center[i];
      const T a = grad[i], b = grad[i + grad_step], c = grad[i + 2 * grad_step], d = grad[i + 3 * grad_step];
      sum[i] = sum[i] + a + b + c + d;
      const T first = math::fma(b, x[i + x_step] - m, math::fma(a, x[i] - m, product[i]));
      product[i] = math::fma(d, x[i + 3 * x_step] - m, math::fma(c, x[i + 2 * x_step] - m, first));
    }
  }
  for (; count > 0; --count, x += x_step, grad += grad_step) {
#pragma GCC ivdep
    for (size_t i = 0; i < width; ++i) {
      sum[i] += grad[i];
      product[i] = math::fma(grad[i], x[i] - center[i], product[i]);
    }
  }
}

template <class T>
void add(void* to_untyped, const void* from_untyped, size_t n) {
  T* to = static_cast<T*>(to_untyped);
  const T* from = static_cast<const T*>(from_untyped);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) to[i] += from[i];
}

template <class T>
void pivots(void* sums_untyped, int64_t rows, size_t n) {
  T* sums = static_cast<T*>(sums_untyped);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) sums[i] = pivot_of(sums[i], rows);
}

template <class T>
void finish(const void* pivot, const void* sum, const void* squares, int64_t rows, size_t n, Moments* moments,
            int64_t stride) {
  for (size_t i = 0; i < n; ++i)
    moments[i * stride] = chunk_moments(static_cast<const T*>(pivot)[i], static_cast<const T*>(sum)[i],
                                        static_cast<const T*>(squares)[i], rows);
}

}  // namespace

extern const ChannelKernels kChannelKernels;
constinit const ChannelKernels kChannelKernels = {
    {moments<float>, moments<double>},   {sums<float>, sums<double>}, {add_moments<float>, add_moments<double>},
    {add_sums<float>, add_sums<double>}, {add<float>, add<double>},   {pivots<float>, pivots<double>},
    {finish<float>, finish<double>},
};

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
