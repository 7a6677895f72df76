// SPDX-License-Identifier: BSD-3-Clause
// The loops of an optimizer's step that one instruction set offers, over short contiguous runs of the compute type.
#pragma once

#include <cstddef>

#include "../core/registry.h"
#include "../core/update.h"

namespace brazen::cpu {

// One run of one tensor. The gradient is multiplied by `grad_scale`, the parameter by `decay`, before the rule.
struct UpdateRun {
  void* param;
  const void* grad;
  void* states[kMaxStates];
  size_t n;
  double grad_scale, decay;
  double factor;  // of a layerwise rule
};

// Of up to 1,024 elements, in the order of formulas/reduction.h.
struct LayerSums {
  double first, second;
};

struct SquareSum {
  double sum;
  bool finite;  // every element is; the sum may overflow all the same
};

struct UpdateKernels {
  // Indexed by compute type last: float, double.
  void (*update[kUpdates][kComputeTypes])(const void* coefficients, const UpdateRun& run);
  // The first pass of a layerwise rule; null for the others.
  LayerSums (*measure[kUpdates][kComputeTypes])(const void* coefficients, const UpdateRun& run);
  // Bounds and penalties, which need the parameter: `out` is the gradient the rule sees.
  void (*prepare[kComputeTypes])(const GroupStep& group, const UpdateRun& run, void* out);
  void (*average[kComputeTypes])(double keep, const void* param, void* average, size_t n);
  // Up to 1,024 elements, in the order of formulas/reduction.h.
  SquareSum (*squares[kComputeTypes])(const void* x, size_t n);
  SquareSum (*difference_squares[kComputeTypes])(const void* x, const void* y, size_t n);
  // In place: times `factor`, then held to [-bound, bound]. False where an element is then not finite.
  bool (*scale[kComputeTypes])(double factor, double bound, void* x, size_t n);
  // Stochastic rounding to float16, bfloat16: one piece an element.
  void (*narrow_randomly[2])(const float* from, const uint16_t* pieces, uint16_t* to, size_t n);
  void (*to_double)(const float* from, double* to, size_t n);
  void (*to_float)(const double* from, float* to, size_t n);
};

}  // namespace brazen::cpu
