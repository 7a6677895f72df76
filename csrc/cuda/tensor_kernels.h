// SPDX-License-Identifier: BSD-3-Clause
// The parameters of the kernels of tensor_kernels.cu, and the kernels as tensors.cu launches them.
#pragma once

#include "tensors.h"

namespace brazen::cuda::tensors {

// Up to a kernel's 4 KB of parameters, so that nothing of the host's is read after the call.
constexpr int kParcelBytes = 3968, kParcelWords = kParcelBytes / 8;
struct Parcel {
  uint64_t* to;
  int32_t words;
  uint64_t data[kParcelWords];
};

struct ClearPass {
  uint64_t* to;
  int64_t words;
};

struct MergePass {
  List list;
  const double* sources[2];
  int64_t span, blocks;
  bool at_end, drops_unclipped;
};

struct BeginPass {
  MergePass merge;
  DeviceStep device;
  double grad_scale, clip_norm, sign, norm;
  int32_t skip_given;
  bool measures, norm_given, wants_norms, skip_nonfinite;
};

struct EndPass {
  MergePass merge;
  double* report;
};

struct FactorPass {
  List list;
  double* tensor_memory;
};

struct ScalePass {
  List list;
  double factor, bound;
  bool by_norm;  // by what `settle` found
};

struct SettlePass {
  MergePass merge;
  double max_norm;
  double* norm;  // null where not wanted
  bool* finite;
  bool measures;
};

struct AveragePass {
  List list;
  double keep;
};

struct TensorKernels {
  void (*send)(Parcel);
  void (*clear)(ClearPass);
  void (*grad_squares)(StepPass);
  void (*merge)(MergePass);
  void (*begin)(BeginPass);
  void (*end)(EndPass);
  void (*tensor_factors)(FactorPass);
  void (*finish)(StepPass);
  void (*scale)(ScalePass);
  void (*settle)(SettlePass);
  void (*average)(AveragePass);
};
const TensorKernels& tensor_kernels();

}  // namespace brazen::cuda::tensors
