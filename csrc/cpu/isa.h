// SPDX-License-Identifier: BSD-3-Clause
// Which instruction sets this build holds, which this machine runs, and which is in use.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace brazen::cpu {

const KernelTable& kernels();

// Best first; only those this machine can run.
std::vector<std::string> runnable_isas();

// Throws ValueMismatch for a name that is unknown or that this machine cannot run.
void set_isa(const std::string& name);

}  // namespace brazen::cpu
