// SPDX-License-Identifier: BSD-3-Clause
// Runs one elementwise call, or the fixed-shape sum of one, on the CPU. No formula and no instruction set here.
#pragma once

#include "../core/call.h"

namespace brazen::cpu {

// The layout must already be simplified.
void run(const ElementwiseCall& call);

void run(const ReductionCall& call);

// Both, reading the arrays once where their order allows it. `gradient` has the inputs of `call` as its first, and may
// be written over them.
void run(const ReductionCall& call, const ElementwiseCall& gradient);

// The whole of a pass, by as many threads as its work is worth.
class Pass;
void run_pass(const Pass& pass, const Layout& layout, bool fresh, int64_t picoseconds);

// B of the benchmarks: a copy by all threads with stores past the caches.
void stream_copy(void* to, const void* from, int64_t bytes);

}  // namespace brazen::cpu
