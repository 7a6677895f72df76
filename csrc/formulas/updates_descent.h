// SPDX-License-Identifier: BSD-3-Clause
// Rules that follow the gradient, its sign or its size alone: descent, momentum, Adagrad, RMSProp and their kin. The
// contract of a rule stands in updates.h.
#pragma once

#include "update_rule.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

template <class T>
struct Sgd {
  static constexpr UpdateInfo info{"sgd", {{"lr", 1e-3}}};
  T lr;

  FORMULA static Sgd make(const double* h, StepMemory&) { return {T(h[0])}; }
  FORMULA void operator()(T& param, T grad) const { param = param - lr * grad; }
};

// The three forms of momentum, which agree at a constant learning rate up to its scale:
// torch v = mu v + (1 - dampening) g, w -= lr v; classic v = mu v - lr g, w += v; ema v = mu v + (1 - mu) g, w -= lr v.
// Nesterov is the re-parametrised form: w stands for the point where the gradient is taken.
template <class T>
struct Momentum {
  static constexpr UpdateInfo info{"momentum",
                                   {{"lr", 1e-3},
                                    {"momentum", 0.9},
                                    {"dampening", 0},
                                    {"nesterov", 0},
                                    {"form", 0},             // 0 torch, 1 classic, 2 ema
                                    {"first_gradient", 1}},  // torch: the first velocity is the undampened gradient
                                   {"momentum_buffer"}};
  T keep, take, from_velocity, from_grad;

  FORMULA static Momentum make(const double* h, StepMemory& memory) {
    const double lr = h[0], mu = h[1];
    const bool nesterov = h[3] != 0, classic = h[4] == 1, ema = h[4] == 2;
    double keep = mu, take = classic ? -lr : ema ? 1 - mu : 1 - h[2];
    if (h[5] != 0 && memory.step == 1) keep = 0, take = classic ? -lr : 1;
    if (classic) return {T(keep), T(take), T(nesterov ? mu : 1.0), T(nesterov ? -lr : 0.0)};
    const double grad_share = ema ? 1 - mu : 1.0;
    return {T(keep), T(take), T(nesterov ? -lr * mu : -lr), T(nesterov ? -lr * grad_share : 0.0)};
  }
  FORMULA void operator()(T& param, T grad, T& velocity) const {
    velocity = keep * velocity + take * grad;
    param = param + (from_velocity * velocity + from_grad * grad);
  }
};

template <class T>
struct Adagrad {
  static constexpr UpdateInfo info{
      "adagrad", {{"lr", 1e-2}, {"lr_decay", 0}, {"eps_inside", 0}, {"eps_outside", 1e-10}}, {"sum"}};
  T lr, eps_inside, eps_outside;

  FORMULA static Adagrad make(const double* h, StepMemory& memory) {
    return {T(h[0] / (1 + (memory.step - 1) * h[1])), T(h[2]), T(h[3])};
  }
  FORMULA void operator()(T& param, T grad, T& sum) const {
    sum = sum + grad * grad;
    param = param - lr * ratio(grad, math::sqrt(sum + eps_inside) + eps_outside);
  }
};

// With `first_gradient`, the average starts at the first square: a first step of exactly lr.
template <class T, bool centered, bool momentum>
struct RmspropOf {
  static constexpr UpdateInfo info{
      momentum ? (centered ? "rmsprop_centered_momentum" : "rmsprop_momentum")
               : (centered ? "rmsprop_centered" : "rmsprop"),
      {{"lr", 1e-2}, {"alpha", 0.99}, {"eps_inside", 0}, {"eps_outside", 1e-8}, {"momentum", 0}, {"first_gradient", 0}},
      {"square_avg", centered ? "grad_avg" : (momentum ? "momentum_buffer" : nullptr),
       centered && momentum ? "momentum_buffer" : nullptr}};
  T lr, keep, take, eps_inside, eps_outside, mu;

  FORMULA static RmspropOf make(const double* h, StepMemory& memory) {
    const bool first = h[5] != 0 && memory.step == 1;
    return {T(h[0]), T(first ? 0.0 : h[1]), T(first ? 1.0 : 1 - h[1]), T(h[2]), T(h[3]), T(h[4])};
  }
  FORMULA T scaled(T grad, T variance) const { return ratio(grad, math::sqrt(variance + eps_inside) + eps_outside); }
  FORMULA T variance(T grad, T& square, T& mean) const {
    square = keep * square + take * (grad * grad);
    mean = keep * mean + take * grad;
    return math::at_least(T(0), square - mean * mean);  // rounding may leave less than nothing
  }

  FORMULA void operator()(T& param, T grad, T& square) const {
    square = keep * square + take * (grad * grad);
    param = param - lr * scaled(grad, square);
  }
  FORMULA void operator()(T& param, T grad, T& square, T& second) const {
    if constexpr (centered) {
      param = param - lr * scaled(grad, variance(grad, square, second));
    } else {
      square = keep * square + take * (grad * grad);
      second = mu * second + scaled(grad, square);
      param = param - lr * second;
    }
  }
  FORMULA void operator()(T& param, T grad, T& square, T& mean, T& velocity) const {
    velocity = mu * velocity + scaled(grad, variance(grad, square, mean));
    param = param - lr * velocity;
  }
};
template <class T>
using Rmsprop = RmspropOf<T, false, false>;
template <class T>
using RmspropMomentum = RmspropOf<T, false, true>;
template <class T>
using RmspropCentered = RmspropOf<T, true, false>;
template <class T>
using RmspropCenteredMomentum = RmspropOf<T, true, true>;

// Zeiler 2012; epsilon inside both roots, or outside.
template <class T>
struct Adadelta {
  static constexpr UpdateInfo info{
      "adadelta", {{"lr", 1.0}, {"rho", 0.9}, {"eps_inside", 1e-6}, {"eps_outside", 0}}, {"square_avg", "acc_delta"}};
  T lr, keep, take, eps_inside, eps_outside;

  FORMULA static Adadelta make(const double* h, StepMemory&) {
    return {T(h[0]), T(h[1]), T(1 - h[1]), T(h[2]), T(h[3])};
  }
  FORMULA void operator()(T& param, T grad, T& square, T& moved) const {
    square = keep * square + take * (grad * grad);
    const T delta =
        (math::sqrt(moved + eps_inside) + eps_outside) * ratio(grad, math::sqrt(square + eps_inside) + eps_outside);
    moved = keep * moved + take * (delta * delta);
    param = param - lr * delta;
  }
};

// Riedmiller 1993 without backtracking: a gradient that changed its sign is forgotten for one step.
template <class T>
struct Rprop {
  static constexpr UpdateInfo info{
      "rprop",
      {{"lr", 1e-2}, {"etaminus", 0.5}, {"etaplus", 1.2}, {"step_size_min", 1e-6}, {"step_size_max", 50}},
      {"prev", "step_size"}};
  T shrink, grow, smallest, largest;

  FORMULA static Rprop make(const double* h, StepMemory&) { return {T(h[1]), T(h[2]), T(h[3]), T(h[4])}; }
  FORMULA void operator()(T& param, T grad, T& before, T& step) const {
    const T direction = sign(grad), turn = direction * sign(before);
    const T slower = turn < 0 ? shrink : T(1), factor = turn > 0 ? grow : slower;
    step = math::at_most(largest, math::at_least(smallest, step * factor));
    const T stepped = turn < 0 ? T(0) : direction;
    param = param - stepped * step;
    before = turn < 0 ? T(0) : grad;
  }
};

// Polyak and Juditsky's averaged descent; the average is the state `ax`.
template <class T>
struct Asgd {
  static constexpr UpdateInfo info{"asgd", {{"lr", 1e-2}, {"lambd", 1e-4}, {"alpha", 0.75}, {"t0", 1e6}}, {"ax"}};
  T eta, shrink, weight;

  FORMULA static Asgd make(const double* h, StepMemory& memory) {
    const double done = memory.step - 1;
    const double eta = h[0] / real_power(1 + h[1] * h[0] * done, h[2]);
    const double since = done - h[3];
    return {T(eta), T(1 - h[1] * eta), T(since > 1 ? 1 / since : 1.0)};
  }
  FORMULA void operator()(T& param, T grad, T& average) const {
    param = param * shrink - eta * grad;
    const T moved = average + (param - average) * weight;
    average = weight == 1 ? param : moved;
  }
};

template <class T>
struct Lion {
  static constexpr UpdateInfo info{"lion", {{"lr", 1e-4}, {"beta1", 0.9}, {"beta2", 0.99}}, {"exp_avg"}};
  T lr, keep_step, take_step, keep_mean, take_mean;

  FORMULA static Lion make(const double* h, StepMemory&) {
    return {T(h[0]), T(h[1]), T(1 - h[1]), T(h[2]), T(1 - h[2])};
  }
  FORMULA void operator()(T& param, T grad, T& mean) const {
    param = param - lr * sign(keep_step * mean + take_step * grad);
    mean = keep_mean * mean + take_mean * grad;
  }
};

}  // namespace BRAZEN_TARGET
}  // namespace brazen
