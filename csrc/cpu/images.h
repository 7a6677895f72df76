// SPDX-License-Identifier: BSD-3-Clause
// Windows of images on the CPU: columns for a matrix product and back, largest and average, and their gradients.
#pragma once

#include "../core/images.h"

namespace brazen::cpu {

void run(const ImageCall& call);

}  // namespace brazen::cpu
