// SPDX-License-Identifier: BSD-3-Clause
// Sends a described call to the CPU loops or to the CUDA library. It looks at no array.
#pragma once

#include "../core/batch_norm.h"
#include "../core/call.h"
#include "../core/chain.h"
#include "../core/images.h"
#include "../core/indexed_rows.h"
#include "../core/rows.h"
#include "../core/update.h"
#include "arrays.h"

namespace brazen::bindings {

// `x` tells where: its device and stream.
void execute(const ElementwiseCall& call, const ArrayView& x);
void execute(const ReductionCall& call, const ArrayView& x);
// The sum is complete before a gradient that shares its inputs is written over them.
void execute(const ReductionCall& call, const ElementwiseCall& gradient, const ArrayView& x);
// `operation` names the call in messages.
void execute(const ChainCall& call, const ArrayView& x, const char* operation);
void execute(const FillCall& call, const ArrayView& out, const char* operation);
void execute(const StatisticsCall& call, const ArrayView& x);
void execute(const MergeCall& call, const ArrayView& x);
void execute(const ChannelSumsCall& call, const ArrayView& x);
void execute(const BatchNormCall& call, const ArrayView& x);
void execute(const BatchNormBackwardCall& call, const ArrayView& x);
// Returns the first row whose label is out of range, or -1.
int64_t execute(const RowLossCall& call, const ArrayView& x);
// On a GPU they are only noticed there: whether one is known by now that was not taken yet. It does not wait.
bool take_label_error(int device, LabelError& error);
void execute(const ElementLossCall& call, const ArrayView& x);
void execute(const RowMapCall& call, const ArrayView& x);
void execute(const RowNormCall& call, const ArrayView& x, const char* operation);
void execute(const RowLengthsCall& call, const ArrayView& x);
void execute(const ImageCall& call, const ArrayView& x, const char* operation);
void execute(const IndexedRowsCall& call, const ArrayView& x);

// Lists of tensors on a GPU: how much memory one takes there, a step, a function. `where` tells device and stream.
void list_bytes(const UpdateCall& call, int64_t& bytes, int64_t& shadow_bytes);
void execute(const UpdateCall& call, const DeviceStep& device, DeviceSpace& space, const ArrayView& where);
void execute(const ListCall& call, DeviceSpace& space, const ArrayView& where, const char* operation);

// What the doctor says about the CUDA library: {"library", "archs", "runtime", "driver", "devices", "why_not"}.
py::dict cuda_info();

// Test-only: opens another library behind the same ABI; '' returns to the installed one.
void load_cuda_library(const std::string& path);

}  // namespace brazen::bindings
