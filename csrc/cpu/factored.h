// SPDX-License-Identifier: BSD-3-Clause
// The directions of the factored rules, a tensor at a time.
#pragma once

#include <vector>

#include "tensor_step.h"

namespace brazen::cpu {

// Writes every tensor's direction, and returns the size of each one's step along it.
std::vector<double> factored_directions(const UpdateCall& call, const Step& step);

}  // namespace brazen::cpu
