// SPDX-License-Identifier: BSD-3-Clause
// Sums of rows by index on the CPU.
#pragma once

#include "../core/indexed_rows.h"

namespace brazen::cpu {

void run(const IndexedRowsCall& call);

}  // namespace brazen::cpu
