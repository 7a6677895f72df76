// SPDX-License-Identifier: BSD-3-Clause
// What follows from a channel's sums, written where the caller wants it: the same lines for the CPU and for CUDA. No
// loop, no arithmetic but formulas/batch_norm.h's.
#pragma once

#include "../formulas/batch_norm.h"

namespace brazen {

// One value a channel, of the compute type; null where there is none.
struct ChannelVector {
  void* data;
  int64_t stride;  // bytes
};

enum class MomentsFrom : int32_t {
  batch,    // measured here
  caller,   // given
  running,  // the running statistics, written as moments of one row
};

// Moments are a float64 array (3, channels): counts, means, sums of squared distances.
struct ForwardResults {
  int64_t channels;
  MomentsFrom from;
  double* moments;     // read where they are the caller's, else written
  void* coefficients;  // (3, channels) of the compute type: center, factor, shift; null where only moments are wanted
  ChannelVector scale, shift;
  ChannelVector running_mean, running_variance;  // updated where the moments are the batch's or the caller's
  double epsilon, momentum;
  bool unbiased;
};

struct BackwardResults {
  int64_t channels;
  bool measured;          // the sums are written, not given
  double* sums;           // (2, channels): of d, and of d * (x - center); null where nothing asks for them
  const double* moments;  // of the forward call
  void* corrections;      // (2, channels) of the compute type: slope, base; null where the statistics are constants
  ChannelVector scale, dscale, dshift;
  double epsilon;
};

inline namespace BRAZEN_TARGET {

FORMULA void store_moments(double* moments, int64_t channels, int64_t channel, Moments value) {
  moments[channel] = value.count;
  moments[channels + channel] = value.mean;
  moments[2 * channels + channel] = value.squares;
}

FORMULA Moments load_moments(const double* moments, int64_t channels, int64_t channel) {
  return {moments[channel], moments[channels + channel], moments[2 * channels + channel]};
}

template <class T>
FORMULA T value_at(const ChannelVector& vector, int64_t channel, T otherwise) {
  if (!vector.data) return otherwise;
  T value;
  __builtin_memcpy(&value, static_cast<const char*>(vector.data) + channel * vector.stride, sizeof value);
  return value;
}

template <class T>
FORMULA void set_value(const ChannelVector& vector, int64_t channel, T value) {
  if (vector.data) __builtin_memcpy(static_cast<char*>(vector.data) + channel * vector.stride, &value, sizeof value);
}

// Of a channel whose moments are not measured.
template <class T>
FORMULA Moments given_moments(const ForwardResults& to, int64_t channel) {
  if (to.from == MomentsFrom::caller) return load_moments(to.moments, to.channels, channel);
  return {1, value_at<T>(to.running_mean, channel, 0), value_at<T>(to.running_variance, channel, 1)};
}

template <class T>
FORMULA void settle(const ForwardResults& to, int64_t channel, Moments moments) {
  if (to.from != MomentsFrom::caller) store_moments(to.moments, to.channels, channel, moments);
  if (!to.coefficients) return;
  const ForwardCoefficients<T> made = forward_coefficients<T>(moments, to.epsilon, value_at<T>(to.scale, channel, 1),
                                                              value_at<T>(to.shift, channel, 0));
  T* coefficients = static_cast<T*>(to.coefficients);
  coefficients[channel] = made.center;
  coefficients[to.channels + channel] = made.factor;
  coefficients[2 * to.channels + channel] = made.shift;
  if (to.from == MomentsFrom::running) return;
  set_value(to.running_mean, channel, running_mean(value_at<T>(to.running_mean, channel, 0), moments, to.momentum));
  set_value(to.running_variance, channel,
            running_variance(value_at<T>(to.running_variance, channel, 0), moments, to.momentum, to.unbiased));
}

FORMULA GradientSums given_sums(const BackwardResults& to, int64_t channel) {
  return {to.sums[channel], to.sums[to.channels + channel]};
}

template <class T>
FORMULA void settle(const BackwardResults& to, int64_t channel, GradientSums sums) {
  if (to.measured) to.sums[channel] = sums.grad, to.sums[to.channels + channel] = sums.product;
  const BackwardCoefficients<T> made = backward_coefficients<T>(load_moments(to.moments, to.channels, channel), sums,
                                                                to.epsilon, value_at<T>(to.scale, channel, 1));
  T* corrections = static_cast<T*>(to.corrections);
  if (corrections) corrections[channel] = made.slope, corrections[to.channels + channel] = made.base;
  set_value(to.dscale, channel, made.dscale);
  set_value(to.dshift, channel, made.dshift);
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
