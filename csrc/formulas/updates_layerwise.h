// SPDX-License-Identifier: BSD-3-Clause
// Rules that look at norms of a whole tensor: LARS, LAMB, NovoGrad. The contract of a rule stands in updates.h.
//
// Such a rule takes two passes. `measure` gives two terms an element, whose squares are summed over the tensor;
// `factor` makes one number of the two sums, and of one that the tensor remembers; the second pass gets that number.
#pragma once

#include "update_rule.h"
#include "updates_adam.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// Momentum with a rate for each tensor (You 2017): r = trust |w| / (|g| + weight_decay |w| + eps), 1 where either is 0.
template <class T>
struct Lars {
  static constexpr UpdateInfo info{"lars",
                                   {{"lr", 0.1},
                                    {"momentum", 0.9},
                                    {"weight_decay", 0},
                                    {"trust_coefficient", 1e-3},
                                    {"eps", 0},
                                    {"nesterov", 0},
                                    {"form", 1}},  // 0 torch: lr multiplies the velocity, 1 classic: what enters it
                                   {"momentum_buffer"}};
  static constexpr bool layerwise = true, measure_moves_states = false;
  T lr_inside, lr_outside, mu, weight_decay, trust, eps, nesterov;

  FORMULA static Lars make(const double* h, StepMemory&) {
    const bool classic = h[6] == 1;
    return {T(classic ? h[0] : 1.0), T(classic ? 1.0 : h[0]), T(h[1]), T(h[2]), T(h[3]), T(h[4]), T(h[5])};
  }
  FORMULA void measure(T param, T grad, T&, T& first, T& second) const { first = param, second = grad; }
  FORMULA double factor(double weights, double grads, double&) const {
    const double size = math::sqrt(weights), slope = math::sqrt(grads);
    const double below = slope + double(weight_decay) * size + double(eps);
    return double(lr_inside) * (size > 0 && slope > 0 ? double(trust) * size / below : 1.0);
  }
  FORMULA void operator()(T& param, T grad, T rate, T& velocity) const {
    const T step = rate * (grad + weight_decay * param);
    velocity = mu * velocity + step;
    const T ahead = mu * velocity + step;
    param = param - lr_outside * (nesterov != 0 ? ahead : velocity);
  }
};

// Adam's step and the decay, scaled to the norm of the tensor (You 2020).
template <class T>
struct Lamb {
  static constexpr UpdateInfo info{"lamb",
                                   {{"lr", 1e-3},
                                    {"beta1", 0.9},
                                    {"beta2", 0.999},
                                    {"eps", 1e-6},
                                    {"weight_decay", 0},
                                    {"correction", 1},
                                    {"trust_low", 0},
                                    {"trust_high", __builtin_inf()}},
                                   {"exp_avg", "exp_avg_sq"}};
  static constexpr bool layerwise = true, measure_moves_states = true;
  AdamCoefficients<T> c;
  T lr, weight_decay, low, high;

  FORMULA static Lamb make(const double* h, StepMemory& memory) {
    return {AdamCoefficients<T>::make(1, h[1], h[2], 0, h[3], h[5], memory.step), T(h[0]), T(h[4]), T(h[6]), T(h[7])};
  }
  FORMULA T direction(T param, T mean, T square) const {
    return ratio(c.size * mean, c.root(square)) + weight_decay * param;
  }
  FORMULA void measure(T param, T grad, T& mean, T& square, T& first, T& second) const {
    c.average(grad, mean);
    c.average_square(grad, square);
    first = param, second = direction(param, mean, square);
  }
  FORMULA double factor(double weights, double directions, double&) const {
    const double length = math::sqrt(directions);
    const double size = math::at_most(double(high), math::at_least(double(low), math::sqrt(weights)));
    return double(lr) * (size > 0 && length > 0 ? size / length : 1.0);
  }
  FORMULA void operator()(T& param, T, T rate, T& mean, T& square) const {
    param = param - rate * direction(param, mean, square);
  }
};

// Momentum of gradients divided by their own norm (Ginsburg 2019); the tensor remembers the mean square of the norm.
template <class T>
struct Novograd {
  static constexpr UpdateInfo info{"novograd",
                                   {{"lr", 1e-2},
                                    {"beta1", 0.95},
                                    {"beta2", 0.98},
                                    {"eps", 1e-8},
                                    {"weight_decay", 0},
                                    {"grad_averaging", 0},
                                    {"first_gradient", 1}},
                                   {"exp_avg"}};
  static constexpr bool layerwise = true, measure_moves_states = false;
  T lr, keep_mean, take_mean, keep_square, take_square, eps, weight_decay;

  FORMULA static Novograd make(const double* h, StepMemory& memory) {
    const bool first = h[6] != 0 && memory.step == 1;
    return {T(h[0]), T(h[1]), T(h[5] != 0 ? 1 - h[1] : 1.0), T(first ? 0.0 : h[2]), T(first ? 1.0 : 1 - h[2]),
            T(h[3]), T(h[4])};
  }
  FORMULA void measure(T, T grad, T&, T& first, T& second) const { first = T(0), second = grad; }
  FORMULA double factor(double, double grads, double& memory) const {
    memory = double(keep_square) * memory + double(take_square) * grads;
    return math::sqrt(memory) + double(eps);
  }
  FORMULA void operator()(T& param, T grad, T below, T& mean) const {
    mean = keep_mean * mean + take_mean * (ratio(grad, below) + weight_decay * param);
    param = param - lr * mean;
  }
};

}  // namespace BRAZEN_TARGET
}  // namespace brazen
