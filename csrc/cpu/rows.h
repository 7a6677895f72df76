// SPDX-License-Identifier: BSD-3-Clause
// The drivers of the operations on rows.
#pragma once

#include "../core/rows.h"

namespace brazen::cpu {

// Returns the first row whose label is out of range, before anything is written, or -1.
int64_t run(const RowLossCall& call);
void run(const ElementLossCall& call);
void run(const RowMapCall& call);
void run(const RowNormCall& call);
void run(const RowLengthsCall& call);

}  // namespace brazen::cpu
