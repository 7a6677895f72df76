// SPDX-License-Identifier: BSD-3-Clause
// When work is worth a second thread.
#pragma once

#include <cstdint>

namespace brazen::cpu {

// From this much work on, a second thread helps: about 1 us for a worker that spins, and a caller that never waits for
// one that sleeps.
inline constexpr int64_t kParallelPicoseconds = 8'000'000;

}  // namespace brazen::cpu
