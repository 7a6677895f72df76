// SPDX-License-Identifier: BSD-3-Clause
// Every optimizer's rule as a loop over short contiguous runs. Compiled once per instruction set, each time in a
// namespace of its own; nothing of std:: may be instantiated here.
#include "update_kernels.h"

#include "../formulas/storage.h"
#include "lanes.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

// The arrays of one tensor are apart, so iterations are independent.
#define EACH_ELEMENT _Pragma("GCC ivdep") for (size_t i = 0; i < n; ++i)

// Coefficient by coefficient: GCC would load a rule of 16 bytes as one vector, and leave its loop scalar for it.
template <class Rule, class T>
FORMULA Rule read(const void* coefficients) {
  constexpr int count = sizeof(Rule) / sizeof(T);
  T values[count];
#pragma GCC unroll 16
  for (int i = 0; i < count; ++i) values[i] = opaque(static_cast<const T*>(coefficients)[i]);
  return __builtin_bit_cast(Rule, values);
}

template <int states, class Rule, class T>
FORMULA void update_layer(const Rule& rule, const UpdateRun& run, T* param, const T* grad, T* first, T* second) {
  const T scale = T(run.grad_scale), factor = T(run.factor), decay = T(run.decay);
  const size_t n = run.n;
  EACH_ELEMENT {
    T w = param[i] * decay;
    T a = first[i];
    if constexpr (states == 2) {
      T b = second[i];
      rule(w, grad[i] * scale, factor, a, b);
    } else {
      rule(w, grad[i] * scale, factor, a);
    }
    if constexpr (!Rule::measure_moves_states) first[i] = a;
    param[i] = w;
  }
}

template <class Rule, class T>
void update(const void* coefficients, const UpdateRun& run) {
  const Rule rule = read<Rule, T>(coefficients);
  const T scale = T(run.grad_scale), decay = T(run.decay);
  const size_t n = run.n;
  T* param = static_cast<T*>(run.param);
  const T* grad = static_cast<const T*>(run.grad);
  T* first = static_cast<T*>(run.states[0]);
  T* second = static_cast<T*>(run.states[1]);
  T* third = static_cast<T*>(run.states[2]);
  T* fourth = static_cast<T*>(run.states[3]);
  constexpr int states = Rule::info.state_count();
  if constexpr (is_layerwise<Rule>) return update_layer<states>(rule, run, param, grad, first, second);
  EACH_ELEMENT {
    T w = param[i] * decay;
    const T g = grad[i] * scale;
    if constexpr (is_layerwise<Rule>) {
    } else if constexpr (states == 0) {
      rule(w, g);
    } else {
      T a = first[i];
      if constexpr (states == 1) {
        rule(w, g, a);
      } else {
        T b = second[i];
        if constexpr (states == 2) {
          rule(w, g, a, b);
        } else {
          T c = third[i];
          if constexpr (states == 3) {
            rule(w, g, a, b, c);
          } else {
            T d = fourth[i];
            rule(w, g, a, b, c, d);
            fourth[i] = d;
          }
          third[i] = c;
        }
        second[i] = b;
      }
      first[i] = a;
    }
    param[i] = w;
  }
}

template <class T>
void prepare(const GroupStep& group, const UpdateRun& run, void* out) {
  const auto rule = Preparation<T>::make(run.grad_scale, group.clip_value, group.l1, group.square_penalty());
  const size_t n = run.n;
  const T* param = static_cast<const T*>(run.param);
  const T* grad = static_cast<const T*>(run.grad);
  T* used = static_cast<T*>(out);
  EACH_ELEMENT used[i] = rule(grad[i], param[i]);
}

template <class T>
void average(double keep, const void* param_run, void* average_run, size_t n) {
  const auto rule = Averaging<T>::make(keep);
  const T* param = static_cast<const T*>(param_run);
  T* mean = static_cast<T*>(average_run);
  EACH_ELEMENT mean[i] = rule(mean[i], param[i]);
}

// Infinity and NaN, less themselves, are NaN; every other number is 0.
template <class T, class Term>
SquareSum sum_squares(Term term, size_t n) {
  T lanes[kLanes] = {}, poison[kLanes] = {};
  const auto add = [&](size_t row, size_t lane) {
    const T x = term(row);
    lanes[lane] += x * x;
    poison[lane] += x - x;
  };
  size_t row = 0;
  for (; row + kLanes <= n; row += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) add(row + lane, lane);
  for (int lane = 0; row < n; ++row, ++lane) add(row, lane);
  return {static_cast<double>(merge_lanes(lanes)), merge_lanes(poison) == 0};
}

template <class T>
SquareSum squares(const void* run, size_t n) {
  const T* x = static_cast<const T*>(run);
  return sum_squares<T>([=](size_t i) { return x[i]; }, n);
}

template <class T>
SquareSum difference_squares(const void* left, const void* right, size_t n) {
  const T *x = static_cast<const T*>(left), *y = static_cast<const T*>(right);
  return sum_squares<T>([=](size_t i) { return x[i] - y[i]; }, n);
}

template <class T>
bool scale(double by, double largest, void* run, size_t n) {
  const T factor = T(by), bound = opaque(T(largest)), below = opaque(-bound);
  T* x = static_cast<T*>(run);
  EACH_ELEMENT x[i] = math::at_most(bound, math::at_least(below, x[i] * factor));
  return squares<T>(x, n).finite;
}

template <class Rule, class T>
LayerSums measure(const void* coefficients, const UpdateRun& run) {
  const Rule rule = read<Rule, T>(coefficients);
  const T scale = T(run.grad_scale);
  const size_t n = run.n;
  const T* param = static_cast<const T*>(run.param);
  const T* grad = static_cast<const T*>(run.grad);
  T* state = static_cast<T*>(run.states[0]);
  T* second_state = static_cast<T*>(run.states[1]);
  T first[kChunkRows], second[kChunkRows];
  EACH_ELEMENT {
    T a = state[i];
    if constexpr (Rule::measure_moves_states) {
      T b = second_state[i];
      rule.measure(param[i], grad[i] * scale, a, b, first[i], second[i]);
      state[i] = a, second_state[i] = b;
    } else {
      rule.measure(param[i], grad[i] * scale, a, first[i], second[i]);
    }
  }
  return {squares<T>(first, n).sum, squares<T>(second, n).sum};
}

void float16_randomly(const float* from, const uint16_t* pieces, uint16_t* to, size_t n) {
  EACH_ELEMENT to[i] = to_float16(from[i], pieces[i]);
}
void bfloat16_randomly(const float* from, const uint16_t* pieces, uint16_t* to, size_t n) {
  EACH_ELEMENT to[i] = to_bfloat16(from[i], pieces[i]);
}
void to_double(const float* from, double* to, size_t n) { EACH_ELEMENT to[i] = static_cast<double>(from[i]); }
void to_float(const double* from, float* to, size_t n) { EACH_ELEMENT to[i] = static_cast<float>(from[i]); }

template <class T>
constexpr void register_type(UpdateKernels& table, int type) {
  Updates::for_each<T>([&]<class Rule>(int i) {
    table.update[i][type] = update<Rule, T>;
    if constexpr (is_layerwise<Rule> && !is_factored_rule<Rule>) table.measure[i][type] = measure<Rule, T>;
  });
  table.prepare[type] = prepare<T>;
  table.average[type] = average<T>;
  table.scale[type] = scale<T>;
  table.squares[type] = squares<T>;
  table.difference_squares[type] = difference_squares<T>;
}

constexpr UpdateKernels make_table() {
  UpdateKernels table{};
  register_type<float>(table, 0);
  register_type<double>(table, 1);
  table.narrow_randomly[static_cast<int>(DType::float16)] = float16_randomly;
  table.narrow_randomly[static_cast<int>(DType::bfloat16)] = bfloat16_randomly;
  table.to_double = to_double;
  table.to_float = to_float;
  return table;
}

}  // namespace

extern const UpdateKernels kUpdateKernels;
constinit const UpdateKernels kUpdateKernels = make_table();

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
