// SPDX-License-Identifier: BSD-3-Clause
// Rules that keep their second moments by rows, columns and other axes: Adafactor and SM3. The contract of a rule
// stands in updates.h.
//
// The loops make a direction of the whole tensor first, by the functions here; the rule itself goes along it.
#pragma once

#include "update_rule.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// Shazeer 2018, PyTorch's variant: w -= size u / max(1, rms(u) / d), u = g / sqrt(v), v held to at least eps_square^2.
template <class T>
struct Adafactor {
  static constexpr UpdateInfo info{"adafactor",
                                   {{"lr", 1e-2},
                                    {"beta2_decay", -0.8},
                                    {"eps_square", -1},  // negative: the spacing of the compute type at 1
                                    {"eps_scale", 1e-3},
                                    {"d", 1}},
                                   {"direction"}};
  static constexpr bool layerwise = true, measure_moves_states = true, factored = true;
  T fresh, floor, least_size, largest_step, d;

  FORMULA static Adafactor make(const double* h, StepMemory& memory) {
    const double t = memory.step, usual = 1 / math::sqrt(t);
    const double spacing = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
    return {T(real_power(t, h[1])), T(h[2] < 0 ? spacing : h[2]), T(h[3]), T(h[0] < usual ? h[0] : usual), T(h[4])};
  }
  FORMULA T blend(T kept, T seen) const { return kept + fresh * (seen - kept); }
  FORMULA T direction(T grad, T variance) const { return grad / math::sqrt(math::at_least(floor * floor, variance)); }
  // What the variance of a whole row is multiplied by, from its average and the mean of all rows'.
  FORMULA T row_scale(T average, double mean) const {
    return T(double(average) / (mean < double(floor) ? double(floor) : mean));
  }
  // Of the sums of squares of the direction and of the weights.
  FORMULA double size(double directions, double weights, double elements) const {
    const double rms = math::sqrt(directions) / math::sqrt(elements) / double(d);
    const double scale = math::sqrt(weights) / math::sqrt(elements);
    const double step = double(largest_step) * (scale > double(least_size) ? scale : double(least_size));
    return rms > 1 ? step / rms : step;
  }
  FORMULA void operator()(T& param, T, T size, T& direction) const { param = param - size * direction; }
};

// SM3-II (Anil 2019): Adagrad whose sums are kept as one maximum for each index of each axis.
template <class T>
struct Sm3 {
  static constexpr UpdateInfo info{"sm3", {{"lr", 0.1}, {"momentum", 0}}, {"momentum_buffer"}};
  static constexpr bool layerwise = true, measure_moves_states = true, factored = true;
  T lr, keep, take;

  FORMULA static Sm3 make(const double* h, StepMemory&) { return {T(h[0]), T(h[1]), T(1 - h[1])}; }
  FORMULA T variance(T bound, T grad) const { return bound + grad * grad; }
  FORMULA T direction(T kept, T grad, T variance) const {
    return keep * kept + take * ratio(grad, math::sqrt(variance));
  }
  FORMULA double size(double, double, double) const { return double(lr); }
  FORMULA void operator()(T& param, T, T size, T& direction) const { param = param - size * direction; }
};

}  // namespace BRAZEN_TARGET
}  // namespace brazen
