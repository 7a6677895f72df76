// SPDX-License-Identifier: BSD-3-Clause
// Batch norm on the CPU: statistics, both passes, merging of what was measured apart.
#pragma once

#include "../core/batch_norm.h"

namespace brazen::cpu {

void run(const StatisticsCall& call);
void run(const MergeCall& call);
void run(const ChannelSumsCall& call);
void run(const BatchNormCall& call);
void run(const BatchNormBackwardCall& call);

}  // namespace brazen::cpu
