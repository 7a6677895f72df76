// SPDX-License-Identifier: BSD-3-Clause
// The optimizer driver of the CPU: one parallel region over the pieces of all tensors.
#pragma once

#include "../core/update.h"

namespace brazen::cpu {

// Advances the groups' memory, unless the step is skipped. `groups` has one report a group, or is null.
UpdateReport run(const UpdateCall& call, GroupReport* groups);

// The sum of squares of role kGrad over all tensors, and whether every element is finite. `partials` takes one sum per
// chunk of the list, not merged.
bool sum_squares(const UpdateCall& call, double* partials);

// Role kGrad in place: times `factor`, held to [-bound, bound]. Whether every element is then finite.
bool scale(const UpdateCall& call, double factor, double bound);

// Role kAverage takes its share of role kParam.
void average(const UpdateCall& call, double keep);

}  // namespace brazen::cpu
