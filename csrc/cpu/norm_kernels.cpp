// SPDX-License-Identifier: BSD-3-Clause
// The loops of the norms (row_kernels.h). Compiled once per instruction set, as kernels.cpp: nothing of std:: may be
// instantiated.
#include "lanes.h"
#include "row_kernels.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

#define EACH_ELEMENT _Pragma("GCC ivdep") for (size_t i = 0; i < n; ++i)

template <class T>
Moments moments(const T* x, size_t n) {
  const size_t first = n < kLanes ? n : kLanes;
  const T pivot = pivot_of(sum_of<T>(first, [=](size_t i) { return x[i]; }), static_cast<int64_t>(n));
  T sums[kLanes] = {}, squares[kLanes] = {};
  each_lane(n, [&](int lane, size_t i, bool inside) {
    const T d = inside ? x[i] - pivot : T(0);
    sums[lane] += d;
    squares[lane] += d * d;
  });
  return chunk_moments(pivot, merge_lanes(sums), merge_lanes(squares), static_cast<int64_t>(n));
}

template <class T>
T squares(const T* x, size_t n) {
  return sum_of<T>(n, [=](size_t i) { return x[i] * x[i]; });
}

template <class T>
void add(const T* x, const T* y, T* sum, size_t n) {
  EACH_ELEMENT sum[i] = x[i] + y[i];
}

// A value for each element, or one for all.
template <class T>
struct Each {
  const T* values;
  FORMULA T operator[](size_t i) const { return values[i]; }
};
template <class T>
struct Same {
  T value;
  explicit Same(const T* at) : value(*at) {}
  FORMULA T operator[](size_t) const { return value; }
};

template <template <class> class Of, class T>
void normalize_with(const T* x, RowStatistics<T> row, const T* scales, const T* shifts, T* y, size_t n) {
  if (scales && shifts) {
    const Of<T> scale{scales}, shift{shifts};
    EACH_ELEMENT y[i] = affine<false, true, true>(normalized(x[i], row), T(0), scale[i], shift[i]);
  } else if (scales) {
    const Of<T> scale{scales};
    EACH_ELEMENT y[i] = affine<false, true, false>(normalized(x[i], row), T(0), scale[i], T(0));
  } else if (shifts) {
    const Of<T> shift{shifts};
    EACH_ELEMENT y[i] = affine<false, false, true>(normalized(x[i], row), T(0), T(0), shift[i]);
  } else {
    EACH_ELEMENT y[i] = normalized(x[i], row);
  }
}

// Both sums in one pass: d of element i from `grad`.
template <class T, class Grad>
FORMULA void sum_gradients(const T* x, T center, T deviation, T* sums, size_t n, Grad&& grad) {
  T grads[kLanes] = {}, products[kLanes] = {};
  each_lane(n, [&](int lane, size_t i, bool inside) {
    const T d = inside ? grad(i) : T(0);
    grads[lane] += d;
    products[lane] += inside ? d * normalized(x[i], center, deviation) : T(0);
  });
  sums[0] = merge_lanes(grads);
  sums[1] = merge_lanes(products);
}

template <class T>
void gradient_sums(const T* dy, const T* x, T center, T deviation, const T* scale, T* sums, size_t n) {
  if (scale)
    sum_gradients(x, center, deviation, sums, n, [=](size_t i) { return dy[i] * scale[i]; });
  else
    sum_gradients(x, center, deviation, sums, n, [=](size_t i) { return dy[i]; });
}

// dx, and where asked for this row's share of dscale and dshift. dx may lie over x or dy.
template <bool scaled, class T>
void gradient_of(const T* dy, const T* x, T center, T deviation, const T* scale, RowCorrection<T> correction, T* dx,
                 T* dscale, T* dshift, size_t n) {
  const auto factor = [=](size_t i) {
    if constexpr (scaled)
      return scale[i];
    else
      return T(1);
  };
  if (dscale) {
    EACH_ELEMENT {
      const T d = dy[i], at = x[i];
      dscale[i] += d * normalized(at, center, deviation);
      dshift[i] += d;
      dx[i] = corrected_grad(d * factor(i), at, center, deviation, correction.slope, correction.base);
    }
  } else {
    EACH_ELEMENT dx[i] = corrected_grad(dy[i] * factor(i), x[i], center, deviation, correction.slope, correction.base);
  }
}

template <class T>
void gradient_channel(const T* dy, const T* x, T center, T deviation, T scale, RowCorrection<T> correction, T* dx,
                      size_t n) {
  EACH_ELEMENT dx[i] = corrected_grad(dy[i] * scale, x[i], center, deviation, correction.slope, correction.base);
}

template <class T>
void gradient(const T* dy, const T* x, T center, T deviation, const T* scale, RowCorrection<T> correction, T* dx,
              T* dscale, T* dshift, size_t n) {
  if (scale)
    gradient_of<true>(dy, x, center, deviation, scale, correction, dx, dscale, dshift, n);
  else
    gradient_of<false>(dy, x, center, deviation, scale, correction, dx, dscale, dshift, n);
}

#undef EACH_ELEMENT

template <class T>
constexpr NormLoops<T> make_loops() {
  return {moments<T>,  squares<T>,         add<T>, normalize_with<Each, T>, normalize_with<Same, T>, gradient_sums<T>,
          gradient<T>, gradient_channel<T>};
}

}  // namespace

// Referenced by name from row_kernels.cpp.
extern const NormLoops<float> kNormsSingle;
extern const NormLoops<double> kNormsTwice;
constinit const NormLoops<float> kNormsSingle = make_loops<float>();
constinit const NormLoops<double> kNormsTwice = make_loops<double>();

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
