// SPDX-License-Identifier: BSD-3-Clause
// Every optimizer's rule over the chunks of all tensors. The rules' formulas are csrc/formulas/updates.h's.
#include "tensors.h"

namespace brazen::cuda::tensors {

// The coefficients that `begin` left: in registers, but where those of double would fill them.
template <class Rule, class T>
struct Held {
  using type = const Rule;
};
template <class Rule>
struct Held<Rule, double> {
  using type = const Rule&;
};

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

// Element by element loads of one array; `direct`: it holds the compute type.
template <bool direct, class T>
__device__ __forceinline__ T get(const TensorEntry& tensor, int role, int64_t index) {
  if constexpr (direct) return reinterpret_cast<const T*>(tensor.data[role])[index];
  return read<T>(tensor.data[role], tensor.dtype(role), index);
}

template <bool direct, class T>
__device__ __forceinline__ void put(const StepPass& pass, const Place& place, const TensorEntry& tensor, int role,
                                    int64_t index, T value) {
  if constexpr (direct) {
    reinterpret_cast<T*>(tensor.data[role])[index] = value;
  } else if constexpr (sizeof(T) == 4) {
    if (pass.rounds_randomly)
      write_randomly(tensor.data[role], tensor.dtype(role), index, value,
                     rounding_key(pass.seed, pass.list.groups[tensor.group], place.tensor, role));
    else
      write(tensor.data[role], tensor.dtype(role), index, value);
  } else {
    write(tensor.data[role], tensor.dtype(role), index, value);
  }
}

template <bool direct, class Rule, class T>
__device__ __forceinline__ void update_chunk(const StepPass& pass, const Place& place, T* weights, T* updates) {
  constexpr int states = Rule::info.state_count();
  // Loads a thread has under way: enough of them hide the memory, too many leave no room for other warps.
  constexpr int unrolled = !direct || sizeof(T) == 8 ? 1 : states > 2 ? 2 : 4;
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
  const GroupStep& group = pass.list.groups[tensor.group];
  typename Held<Rule, T>::type rule = rule_of<Rule, T>(group);
  const Gradients<T> gradients(pass, place.tensor);
  const T decay = T(group.decay), factor = pass.layered ? T(pass.list.factors[place.tensor]) : T(1);
#pragma unroll 1
  for (int row = place.lane; row < place.n; row += unrolled * kLanes) {
    T param[unrolled], grad[unrolled], own[unrolled][states > 0 ? states : 1];
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      if (row + i * kLanes >= place.n) continue;
      const int64_t index = place.begin + row + i * kLanes;
      param[i] = get<direct, T>(tensor, kParam, index);
      grad[i] =
          direct ? reinterpret_cast<const T*>(gradients.data)[index] : read<T>(gradients.data, gradients.dtype, index);
#pragma unroll
      for (int k = 0; k < states; ++k) own[i][k] = get<direct, T>(tensor, kFirstState + k, index);
    }
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      if (row + i * kLanes >= place.n) continue;
      const int64_t index = place.begin + row + i * kLanes;
      T w = param[i] * decay;
      apply(rule, w, gradients.prepared(pass, place.tensor, grad[i], param[i], index), factor, own[i]);
      put<direct>(pass, place, tensor, kParam, index, w);
#pragma unroll
      for (int k = 0; k < states; ++k) put<direct>(pass, place, tensor, kFirstState + k, index, own[i][k]);
      if constexpr (!direct) {
        // What follows sees the parameter as it is stored.
        if (is_16_bit(tensor.dtype(kParam))) w = get<direct, T>(tensor, kParam, index);
        if (!pass.limits_units) {
          if (tensor.data[kAverage]) {
            const T mean = get<direct, T>(tensor, kAverage, index);
            put<direct>(pass, place, tensor, kAverage, index, Averaging<T>::make(group.average_keep)(mean, w));
          }
          if (tensor.data[kCopy]) write(tensor.data[kCopy], tensor.dtype(kCopy), index, w);
          if (pass.zero_grads) write(const_cast<char*>(gradients.data), gradients.dtype, index, T(0));
        }
        const T moved = w - param[i];
        *weights += param[i] * param[i];
        *updates += moved * moved;
      }
    }
  }
}

template <class T>
__device__ __forceinline__ bool is_direct(const StepPass& pass, const TensorEntry& tensor, int states) {
  constexpr uint8_t own = static_cast<uint8_t>(sizeof(T) == 8 ? DType::float64 : DType::float32);
  bool same = !tensor.data[kAverage] && !tensor.data[kCopy] && !pass.zero_grads && !pass.wants_norms;
  same = same && tensor.dtypes[kParam] == own && tensor.dtypes[kGrad] == own;
#pragma unroll
  for (int k = 0; k < kMaxStates; ++k) same = same && (k >= states || tensor.dtypes[kFirstState + k] == own);
  return same;
}

template <class Rule, class T>
__global__ void __launch_bounds__(kThreads, 3) update(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
  if (tensor.is_double() != (sizeof(T) == 8)) return;
  T weights = 0, updates = 0;
  if (is_direct<T>(pass, tensor, Rule::info.state_count()))
    update_chunk<true, Rule, T>(pass, place, &weights, &updates);
  else
    update_chunk<false, Rule, T>(pass, place, &weights, &updates);
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
  typename Held<Rule, T>::type rule = rule_of<Rule, T>(pass.list.groups[tensor.group]);
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
    for (int k = 0; k < states; ++k) own[k] = get<false, T>(tensor, kFirstState + k, index);
    if constexpr (Rule::measure_moves_states) {
      rule.measure(param, grad, own[0], own[1], first, second);
#pragma unroll
      for (int k = 0; k < states; ++k) put<false>(pass, place, tensor, kFirstState + k, index, own[k]);
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

struct RuleKernels {
  UpdateKernel update[kUpdates][2], measure[kUpdates][2];

  template <class T>
  constexpr void add(int type) {
    Updates::for_each<T>([&]<class Rule>(int i) {
      update[i][type] = tensors::update<Rule, T>;
      if constexpr (is_layerwise<Rule> && !is_factored_rule<Rule>) measure[i][type] = tensors::measure<Rule, T>;
    });
  }
  RuleKernels() : update{}, measure{} { add<float>(0), add<double>(1); }
};

const RuleKernels& kernels() {
  static const RuleKernels made;
  return made;
}

}  // namespace

UpdateKernel update_kernel(int rule, bool is_double) { return kernels().update[rule][is_double]; }
UpdateKernel measure_kernel(int rule, bool is_double) { return kernels().measure[rule][is_double]; }

}  // namespace brazen::cuda::tensors
