// SPDX-License-Identifier: BSD-3-Clause
// The directions of the factored rules, a tensor at a time.
#pragma once

#include <vector>

#include "tensor_step.h"

namespace brazen::cpu {

inline bool is_factored(int rule) {
  bool found = false;
  Updates::for_each<float>([&]<class Rule>(int number) {
    if constexpr (is_factored_rule<Rule>) found = found || number == rule;
  });
  return found;
}

// Writes every tensor's direction, and returns the size of each one's step along it.
std::vector<double> factored_directions(const UpdateCall& call, const Step& step);

}  // namespace brazen::cpu
