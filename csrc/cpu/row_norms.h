// SPDX-License-Identifier: BSD-3-Clause
// What the two directions of the norms share.
#pragma once

#include "../core/rows.h"

namespace brazen::cpu {

inline constexpr int64_t kNormPicoseconds = 150;

void run_norm_backward(const RowNormCall& call);

}  // namespace brazen::cpu
