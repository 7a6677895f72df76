// SPDX-License-Identifier: BSD-3-Clause
// Adam and its kin: a mean of gradients over the root of a mean of squares. The contract of a rule stands in updates.h.
#pragma once

#include "update_rule.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// What Adam and its kin share. `correction`: 0 none, 1 the paper's Algorithm 1, 2 folded into the learning rate
// (section 2 of the paper, Keras), where epsilon is not corrected.
template <class T>
struct AdamCoefficients {
  T keep_mean, take_mean, keep_square, take_square, size, correction, eps_inside, eps_outside;

  FORMULA static AdamCoefficients make(double lr, double beta1, double beta2, double eps_inside, double eps_outside,
                                       double correction, double step) {
    const double mass1 = correction != 0 ? mass(beta1, step) : 1.0;
    const double mass2 = correction != 0 ? mass(beta2, step) : 1.0;
    const bool folded = correction == 2;
    return {T(beta1),
            T(1 - beta1),
            T(beta2),
            T(1 - beta2),
            T(folded ? lr * math::sqrt(mass2) / mass1 : lr / mass1),
            T(folded ? 1.0 : 1 / mass2),
            T(eps_inside),
            T(eps_outside)};
  }
  FORMULA static AdamCoefficients make(const double* h, const StepMemory& memory) {
    return make(h[0], h[1], h[2], h[3], h[4], h[5], memory.step);
  }
  FORMULA void average(T grad, T& mean) const { mean = keep_mean * mean + take_mean * grad; }
  FORMULA void average_square(T x, T& square) const { square = keep_square * square + take_square * (x * x); }
  FORMULA T root(T square) const { return math::sqrt(square * correction + eps_inside) + eps_outside; }
};

template <class T>
struct Adam {
  static constexpr UpdateInfo info{
      "adam",
      {{"lr", 1e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps_inside", 0}, {"eps_outside", 1e-8}, {"correction", 1}},
      {"exp_avg", "exp_avg_sq"}};
  AdamCoefficients<T> c;

  FORMULA static Adam make(const double* h, StepMemory& memory) { return {AdamCoefficients<T>::make(h, memory)}; }
  FORMULA void operator()(T& param, T grad, T& mean, T& square) const {
    c.average(grad, mean);
    c.average_square(grad, square);
    param = param - c.size * ratio(mean, c.root(square));
  }
};

template <class T>
struct Amsgrad {
  static constexpr UpdateInfo info{
      "amsgrad",
      {{"lr", 1e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps_inside", 0}, {"eps_outside", 1e-8}, {"correction", 1}},
      {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}};
  AdamCoefficients<T> c;

  FORMULA static Amsgrad make(const double* h, StepMemory& memory) { return {AdamCoefficients<T>::make(h, memory)}; }
  FORMULA void operator()(T& param, T grad, T& mean, T& square, T& largest) const {
    c.average(grad, mean);
    c.average_square(grad, square);
    largest = math::maximum(largest, square);
    param = param - c.size * ratio(mean, c.root(largest));
  }
};

// Epsilon inside the maximum is PyTorch's, outside Keras'; the paper has none.
template <class T>
struct Adamax {
  static constexpr UpdateInfo info{
      "adamax",
      {{"lr", 2e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps_inside", 1e-8}, {"eps_outside", 0}},
      {"exp_avg", "exp_inf"}};
  T size, keep_mean, take_mean, keep_norm, eps_inside, eps_outside;

  FORMULA static Adamax make(const double* h, StepMemory& memory) {
    return {T(h[0] / mass(h[1], memory.step)), T(h[1]), T(1 - h[1]), T(h[2]), T(h[3]), T(h[4])};
  }
  FORMULA void operator()(T& param, T grad, T& mean, T& norm) const {
    mean = keep_mean * mean + take_mean * grad;
    norm = math::maximum(keep_norm * norm, math::abs(grad) + eps_inside);
    param = param - size * ratio(mean, norm + eps_outside);
  }
};

// Dozat 2016, with the momentum schedule mu_t = beta1 (1 - 0.96^(t psi) / 2) whose product is remembered.
template <class T>
struct Nadam {
  static constexpr UpdateInfo info{
      "nadam",
      {{"lr", 2e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"momentum_decay", 4e-3}},
      {"exp_avg", "exp_avg_sq"}};
  T keep_mean, take_mean, keep_square, take_square, from_grad, from_mean, correction, eps;

  FORMULA static Nadam make(const double* h, StepMemory& memory) {
    const double t = memory.step, lr = h[0], beta1 = h[1], beta2 = h[2];
    const double mu = beta1 * (1 - 0.5 * real_power(0.96, t * h[4]));
    const double next = beta1 * (1 - 0.5 * real_power(0.96, (t + 1) * h[4]));
    memory.product *= mu;
    return {T(beta1),
            T(1 - beta1),
            T(beta2),
            T(1 - beta2),
            T(lr * (1 - mu) / (1 - memory.product)),
            T(lr * next / (1 - memory.product * next)),
            T(1 / mass(beta2, t)),
            T(h[3])};
  }
  FORMULA void operator()(T& param, T grad, T& mean, T& square) const {
    mean = keep_mean * mean + take_mean * grad;
    square = keep_square * square + take_square * (grad * grad);
    param = param - ratio(from_grad * grad + from_mean * mean, math::sqrt(square * correction) + eps);
  }
};

// Liu 2020: plain momentum until the variance of the adaptive rate is tractable (rho > 5, 4 in the paper), rectified
// after.
template <class T>
struct Radam {
  static constexpr UpdateInfo info{"radam",
                                   {{"lr", 1e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"threshold", 5}},
                                   {"exp_avg", "exp_avg_sq"}};
  T keep_mean, take_mean, keep_square, take_square, size, eps, adaptive;

  FORMULA static Radam make(const double* h, StepMemory& memory) {
    const double t = memory.step, beta2 = h[2], mass2 = mass(beta2, t);
    const double limit = 2 / (1 - beta2) - 1, rho = limit - 2 * t * (1 - mass2) / mass2;
    const bool adaptive = rho > h[4];
    double size = h[0] / mass(h[1], t);
    if (adaptive) size *= math::sqrt(mass2 * ((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)));
    return {T(h[1]), T(1 - h[1]), T(beta2), T(1 - beta2), T(size), T(h[3]), T(adaptive)};
  }
  FORMULA void operator()(T& param, T grad, T& mean, T& square) const {
    mean = keep_mean * mean + take_mean * grad;
    square = keep_square * square + take_square * (grad * grad);
    const T root = math::sqrt(square) + eps;
    param = param - size * ratio(mean, adaptive != 0 ? root : T(1));
  }
};

// Zhuang 2020: epsilon also joins the average itself at every step, as in the paper's algorithm.
template <class T>
struct Adabelief {
  static constexpr UpdateInfo info{"adabelief",
                                   {{"lr", 1e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-16}, {"correction", 1}},
                                   {"exp_avg", "exp_avg_var"}};
  AdamCoefficients<T> c;

  FORMULA static Adabelief make(const double* h, StepMemory& memory) {
    return {AdamCoefficients<T>::make(h[0], h[1], h[2], 0, h[3], h[4], memory.step)};
  }
  FORMULA void operator()(T& param, T grad, T& mean, T& variance) const {
    c.average(grad, mean);
    c.average_square(grad - mean, variance);
    variance = variance + c.eps_outside;
    param = param - c.size * ratio(mean, c.root(variance));
  }
};

// Zaheer 2018: the second moment moves by at most (1 - beta2) g^2.
template <class T>
struct Yogi {
  static constexpr UpdateInfo info{"yogi",
                                   {{"lr", 1e-2}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-3}, {"correction", 1}},
                                   {"exp_avg", "exp_avg_sq"}};
  AdamCoefficients<T> c;

  FORMULA static Yogi make(const double* h, StepMemory& memory) {
    return {AdamCoefficients<T>::make(h[0], h[1], h[2], 0, h[3], h[4], memory.step)};
  }
  FORMULA void operator()(T& param, T grad, T& mean, T& square) const {
    c.average(grad, mean);
    const T grad_square = grad * grad;
    square = square - c.take_square * (sign(square - grad_square) * grad_square);
    param = param - c.size * ratio(mean, c.root(square));
  }
};

// Xie 2022; betas are what the averages keep (0.98, 0.92, 0.99), the paper's are what they take. The decay divides the
// parameter after the step.
template <class T>
struct Adan {
  static constexpr UpdateInfo info{"adan",
                                   {{"lr", 1e-3},
                                    {"beta1", 0.98},
                                    {"beta2", 0.92},
                                    {"beta3", 0.99},
                                    {"eps", 1e-8},
                                    {"correction", 1},
                                    {"proximal_decay", 0}},
                                   {"exp_avg", "exp_avg_diff", "exp_avg_sq", "prev_grad"}};
  T keep_mean, take_mean, keep_diff, take_diff, keep_square, take_square, from_mean, from_diff, correction, eps, shrink,
      first;

  FORMULA static Adan make(const double* h, StepMemory& memory) {
    const double t = memory.step, lr = h[0];
    const bool corrected = h[5] != 0;
    return {T(h[1]),
            T(1 - h[1]),
            T(h[2]),
            T(1 - h[2]),
            T(h[3]),
            T(1 - h[3]),
            T(corrected ? lr / mass(h[1], t) : lr),
            T(lr * h[2] / (corrected ? mass(h[2], t) : 1.0)),
            T(corrected ? 1 / mass(h[3], t) : 1.0),
            T(h[4]),
            T(1 / (1 + lr * h[6])),
            T(t == 1)};
  }
  FORMULA void operator()(T& param, T grad, T& mean, T& diff, T& square, T& before) const {
    const T change = first != 0 ? T(0) : grad - before;
    const T ahead = grad + keep_diff * change;
    mean = keep_mean * mean + take_mean * grad;
    diff = keep_diff * diff + take_diff * change;
    square = keep_square * square + take_square * (ahead * ahead);
    before = grad;
    param = (param - ratio(from_mean * mean + from_diff * diff, math::sqrt(square * correction) + eps)) * shrink;
  }
};

// Pagliardini 2024: Adam with a second, slow mean. `alpha` and beta3 may be warmed up over their own number of steps
// (0: from the start), beta3 linearly in its half-life.
template <class T>
struct Ademamix {
  static constexpr UpdateInfo info{"ademamix",
                                   {{"lr", 1e-3},
                                    {"beta1", 0.9},
                                    {"beta2", 0.999},
                                    {"beta3", 0.9999},
                                    {"alpha", 5},
                                    {"eps", 1e-8},
                                    {"alpha_warmup", 0},
                                    {"beta3_warmup", 0}},
                                   {"exp_avg", "exp_avg_sq", "exp_avg_slow"}};
  AdamCoefficients<T> c;
  T keep_slow, take_slow, from_slow;

  FORMULA static Ademamix make(const double* h, StepMemory& memory) {
    const double t = memory.step, lr = h[0], beta1 = h[1];
    const double alpha = h[6] > t ? h[4] * (t / h[6]) : h[4];
    double beta3 = h[3];
    if (h[7] > t) {
      const double part = t / h[7], log1 = math::log(beta1), log3 = math::log(beta3);
      beta3 = math::exp(log1 * log3 / ((1 - part) * log3 + part * log1));
    }
    return {AdamCoefficients<T>::make(lr, beta1, h[2], 0, h[5], 1, t), T(beta3), T(1 - beta3), T(lr * alpha)};
  }
  FORMULA void operator()(T& param, T grad, T& mean, T& square, T& slow) const {
    c.average(grad, mean);
    slow = keep_slow * slow + take_slow * grad;
    c.average_square(grad, square);
    param = param - ratio(c.size * mean + from_slow * slow, c.root(square));
  }
};

}  // namespace BRAZEN_TARGET
}  // namespace brazen
