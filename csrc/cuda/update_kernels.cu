// SPDX-License-Identifier: BSD-3-Clause
// Every optimizer's rule over the chunks of all tensors. The rules' formulas are csrc/formulas/updates.h's.
#include "tensors.h"

namespace brazen::cuda::tensors {

// The coefficients that `begin` left.
template <class Rule, class T>
__device__ __forceinline__ const Rule& rule_of(const GroupStep& group) {
  return *reinterpret_cast<const Rule*>(group.coefficients[sizeof(T) == 8]);
}

// One element through a rule of any number of states.
template <class Rule, class T>
__device__ __forceinline__ void apply(const Rule& rule, T& param, T grad, T factor, T* states) {
  constexpr int count = Rule::info.state_count();
  if constexpr (is_layerwise<Rule>) {
    if constexpr (count == 1)
      rule(param, grad, factor, states[0]);
    else
      rule(param, grad, factor, states[0], states[1]);
  } else if constexpr (count == 0) {
    rule(param, grad);
  } else if constexpr (count == 1) {
    rule(param, grad, states[0]);
  } else if constexpr (count == 2) {
    rule(param, grad, states[0], states[1]);
  } else if constexpr (count == 3) {
    rule(param, grad, states[0], states[1], states[2]);
  } else {
    rule(param, grad, states[0], states[1], states[2], states[3]);
  }
}

template <class T>
__device__ __forceinline__ T get(const TensorEntry& tensor, int role, int64_t index) {
  return read<T>(tensor.data[role], tensor.dtype(role), index);
}

template <class T>
__device__ __forceinline__ void put(const StepPass& pass, const Place& place, const TensorEntry& tensor, int role,
                                    int64_t index, T value) {
  if constexpr (sizeof(T) == 4) {
    if (pass.rounds_randomly)
      return write_randomly(tensor.data[role], tensor.dtype(role), index, value,
                            rounding_key(pass.seed, pass.list.groups[tensor.group], place.tensor, role));
  }
  write(tensor.data[role], tensor.dtype(role), index, value);
}

// Calls body<Rule>() for the rule of that number. All threads of a grid have the same.
template <class T, int states, class Body>
__device__ __forceinline__ void with_rule(int32_t number, Body&& body) {
  Updates::for_each<T>([&]<class Rule>(int i) {
    if constexpr (Rule::info.state_count() == states)
      if (i == number) body.template operator()<Rule>();
  });
}

// Tensors that are float32 throughout, with nothing asked for but the step: a kernel for each rule, loads far ahead.
template <class Rule>
__global__ void __launch_bounds__(kThreads, 3) update_direct(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
  constexpr int states = Rule::info.state_count();
  if (!is_direct(pass, tensor, states)) return;
  // Loads a thread has under way: enough of them hide the memory, too many leave no room for other warps.
  constexpr int unrolled = states > 2 ? 2 : 4;
  const GroupStep& group = pass.list.groups[tensor.group];
  const Rule rule = rule_of<Rule, float>(group);
  const Gradients<float> gradients(pass, place.tensor);
  const float decay = static_cast<float>(group.decay);
  const float factor = pass.layered ? static_cast<float>(pass.list.factors[place.tensor]) : 1.0f;
  const auto at = [&](int role, int64_t index) { return reinterpret_cast<float*>(tensor.data[role]) + index; };
#pragma unroll 1
  for (int row = place.lane; row < place.n; row += unrolled * kLanes) {
    float param[unrolled], grad[unrolled], own[unrolled][states > 0 ? states : 1];
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      if (row + i * kLanes >= place.n) continue;
      const int64_t index = place.begin + row + i * kLanes;
      param[i] = *at(kParam, index);
      grad[i] = reinterpret_cast<const float*>(gradients.data)[index];
#pragma unroll
      for (int k = 0; k < states; ++k) own[i][k] = *at(kFirstState + k, index);
    }
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      if (row + i * kLanes >= place.n) continue;
      const int64_t index = place.begin + row + i * kLanes;
      float w = param[i] * decay;
      apply(rule, w, gradients.plainly_prepared(grad[i], param[i]), factor, own[i]);
      *at(kParam, index) = w;
#pragma unroll
      for (int k = 0; k < states; ++k) *at(kFirstState + k, index) = own[i][k];
    }
  }
}

// All other tensors: any storage, averages, copies, units, norms. A kernel for all rules of as many states, an element
// at a time: what is around a rule takes ten times its code.
template <int states, class T>
__global__ void __launch_bounds__(kThreads, 3) update_any(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
  if (tensor.is_double() != (sizeof(T) == 8) || is_direct(pass, tensor, states)) return;
  const GroupStep& group = pass.list.groups[tensor.group];
  const Gradients<T> gradients(pass, place.tensor);
  const T decay = T(group.decay), factor = pass.layered ? T(pass.list.factors[place.tensor]) : T(1);
  // Loads a thread has under way.
  constexpr int unrolled = sizeof(T) == sizeof(float) ? 2 : 1;
  T weights = 0, updates = 0;
#pragma unroll 1
  for (int row = place.lane; row < place.n; row += unrolled * kLanes) {
    T param[unrolled], grad[unrolled], own[unrolled][states > 0 ? states : 1];
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      if (row + i * kLanes >= place.n) continue;
      const int64_t index = place.begin + row + i * kLanes;
      param[i] = get<T>(tensor, kParam, index);
      grad[i] = read<T>(gradients.data, gradients.dtype, index);
#pragma unroll
      for (int k = 0; k < states; ++k) own[i][k] = get<T>(tensor, kFirstState + k, index);
    }
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      if (row + i * kLanes >= place.n) continue;
      const int64_t index = place.begin + row + i * kLanes;
      T w = param[i] * decay;
      const T prepared = gradients.prepared(pass, place.tensor, grad[i], param[i], index);
      with_rule<T, states>(pass.rule,
                           [&]<class Rule>() { apply(rule_of<Rule, T>(group), w, prepared, factor, own[i]); });
      put(pass, place, tensor, kParam, index, w);
#pragma unroll
      for (int k = 0; k < states; ++k) put(pass, place, tensor, kFirstState + k, index, own[i][k]);
      // What follows sees the parameter as it is stored.
      if (is_16_bit(tensor.dtype(kParam))) w = get<T>(tensor, kParam, index);
      if (!pass.limits_units) {
        if (tensor.data[kAverage]) {
          const T mean = get<T>(tensor, kAverage, index);
          put(pass, place, tensor, kAverage, index, Averaging<T>::make(group.average_keep)(mean, w));
        }
        if (tensor.data[kCopy]) write(tensor.data[kCopy], tensor.dtype(kCopy), index, w);
        if (pass.zero_grads) write(const_cast<char*>(gradients.data), gradients.dtype, index, T(0));
      }
      const T moved = w - param[i];
      weights += param[i] * param[i];
      updates += moved * moved;
    }
  }
  if (!pass.wants_norms) return;
  weights = add_lanes(weights), updates = add_lanes(updates);
  if (place.lane != 0) return;
  pass.list.partials[kWeightPartials][place.chunk] = static_cast<double>(weights);
  pass.list.partials[kUpdatePartials][place.chunk] = static_cast<double>(updates);
}

// The first pass of a layerwise rule.
template <class Rule, class T>
__global__ void __launch_bounds__(kThreads, 3) measure(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
  if (tensor.is_double() != (sizeof(T) == 8)) return;
  const Rule& rule = rule_of<Rule, T>(pass.list.groups[tensor.group]);
  const Gradients<T> gradients(pass, place.tensor);
  constexpr int states = Rule::info.state_count();
  T sums[2] = {0, 0};
#pragma unroll 1
  for (int row = place.lane; row < place.n; row += kLanes) {
    const int64_t index = place.begin + row;
    const T param = read<T>(tensor.data[kParam], tensor.dtype(kParam), index);
    const T grad = gradients.prepared(pass, place.tensor, gradients.load(index), param, index);
    T own[states], first, second;
#pragma unroll
    for (int k = 0; k < states; ++k) own[k] = get<T>(tensor, kFirstState + k, index);
    if constexpr (Rule::measure_moves_states) {
      rule.measure(param, grad, own[0], own[1], first, second);
#pragma unroll
      for (int k = 0; k < states; ++k) put(pass, place, tensor, kFirstState + k, index, own[k]);
    } else {
      rule.measure(param, grad, own[0], first, second);
    }
    sums[0] += first * first, sums[1] += second * second;
  }
  sums[0] = add_lanes(sums[0]), sums[1] = add_lanes(sums[1]);
  if (place.lane != 0) return;
  pass.list.partials[kFirstPartials][place.chunk] = static_cast<double>(sums[0]);
  pass.list.partials[kSecondPartials][place.chunk] = static_cast<double>(sums[1]);
}

namespace {

template <class T>
constexpr UpdateKernel any_kernel(int states) {
  constexpr UpdateKernel kernels[kMaxStates + 1] = {update_any<0, T>, update_any<1, T>, update_any<2, T>,
                                                    update_any<3, T>, update_any<4, T>};
  return kernels[states];
}

struct Table {
  RuleKernels of[kUpdates] = {};

  template <class T>
  void add(int type) {
    Updates::for_each<T>([&]<class Rule>(int i) {
      if constexpr (sizeof(T) == 4) of[i].direct = update_direct<Rule>;
      of[i].any[type] = any_kernel<T>(Rule::info.state_count());
      if constexpr (is_layerwise<Rule> && !is_factored_rule<Rule>) of[i].measure[type] = measure<Rule, T>;
      of[i].states = Rule::info.state_count();
    });
  }
  Table() { add<float>(0), add<double>(1); }
};

}  // namespace

const RuleKernels& rule_kernels(int rule) {
  static const Table made;
  return made.of[rule];
}

}  // namespace brazen::cuda::tensors
