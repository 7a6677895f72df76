// SPDX-License-Identifier: BSD-3-Clause
// Chooses the loop for a call: vectors where all arrays are rows of them, single elements elsewhere. No kernel here.
#include "elementwise.h"

namespace brazen::cuda {
namespace {

struct ElementwiseCaller {
  const ElementwiseCall& call;
  const Launch& where;

  Family family() const { return kRegistry.operations[call.operation].family; }
  // The operand that may have any stride and dtype within a pass of vectors: prelu's alpha, the last input.
  int spread() const { return family() == Family::prelu ? call.input_count - 1 : -1; }

  // A part of the call's layout that one launch can number.
  cudaError_t run(const Layout& layout) const {
    const VectorKernel kernel = vector_kernel();
    const DType dtype = layout.operands[layout.operand_count - 1].dtype;
    if (!kernel || dtype == DType::float64 || !rows_of_vectors(layout)) return run_elements(layout);
    const int64_t per_vector = kVectorBytes / itemsize(dtype);
    const int64_t last = layout.ndim ? layout.shape[layout.ndim - 1] : 1;
    const int64_t rest = last % per_vector;
    if (rest == 0) return run_vectors(kernel, layout, per_vector);
    if (layout.ndim != 1 || layout.size < kWorthTwoLaunches) return run_elements(layout);
    Layout part = layout;
    narrow(part, 0, last - rest);
    const cudaError_t error = run_vectors(kernel, part, per_vector);
    if (error != cudaSuccess) return error;
    part = layout;
    narrow(part, last - rest, rest);
    return run_elements(part);
  }

 private:
  bool brief() const { return call.is_brief() && brief_kernel(call.operation); }

  VectorKernel vector_kernel() const {
    if (brief()) return brief_kernel(call.operation);
    if (family() == Family::activation) return activation_kernel(call.operation, call.direction);
    if (family() == Family::gate || family() == Family::prelu) return gate_kernel(call.operation, call.direction);
    return nullptr;
  }

  bool rows_of_vectors(const Layout& layout) const {
    const Operand& last = layout.operands[layout.operand_count - 1];
    for (int k = 0; k < layout.operand_count; ++k) {
      if (k == spread()) continue;
      const Operand& operand = layout.operands[k];
      uint64_t bits = reinterpret_cast<uintptr_t>(operand.data);
      if (operand.count > 1) bits |= static_cast<uint64_t>(operand.step);
      for (int d = 0; d + 1 < layout.ndim; ++d) bits |= static_cast<uint64_t>(operand.strides[d]);
      if (operand.dtype != last.dtype || bits % kVectorBytes) return false;
      if (layout.ndim && operand.strides[layout.ndim - 1] != itemsize(operand.dtype)) return false;
    }
    return true;
  }

  // Groups spread out, the last axis counted in units of `per_unit` elements. Returns the number of operands.
  int fill(Pass& pass, const Layout& layout, int64_t per_unit) const {
    pass.units = static_cast<uint32_t>(layout.size / per_unit);
    pass.ndim = layout.ndim ? layout.ndim : 1;
    for (int d = 1; d < layout.ndim; ++d)
      pass.extents[d].set(d == layout.ndim - 1 ? layout.shape[d] / per_unit : layout.shape[d]);
    for (int p = 0; p < kMaxParameters; ++p) pass.parameters[p] = static_cast<float>(call.parameters[p]);
    int count = 0;
    for (int k = 0; k < layout.operand_count; ++k) {
      const Operand& operand = layout.operands[k];
      const int pieces = family() == Family::maxout ? 1 : operand.count;
      for (int piece = 0; piece < pieces; ++piece, ++count) {
        pass.data[count] = static_cast<char*>(operand.data) + piece * operand.step;
        pass.dtypes[count] = operand.dtype;
        if (layout.ndim == 0) pass.strides[count][0] = 0;
        for (int d = 0; d < layout.ndim; ++d)
          pass.strides[count][d] = operand.strides[d] * (d == layout.ndim - 1 ? per_unit : 1);
      }
    }
    return count;
  }

  // An axis of one vector cannot be divided by: the layout loses it.
  cudaError_t run_vectors(VectorKernel kernel, const Layout& layout, int64_t per_vector) const {
    if (layout.ndim > 1 && layout.shape[layout.ndim - 1] == per_vector) return run_elements(layout);
    VectorPass pass{};
    const int count = fill(pass, layout, per_vector);
    pass.streaming = layout.size * itemsize(pass.dtypes[count - 1]) * count > kStreamingBytes;
    const int k = spread();
    pass.spread = k >= 0 && layout.ndim ? layout.operands[k].strides[layout.ndim - 1] : 0;
    constexpr int64_t per_block = kThreads * kSlots;
    return launch(kernel, (pass.units + per_block - 1) / per_block, kThreads, where.stream, pass);
  }

  cudaError_t run_elements(const Layout& layout) const {
    ElementPass pass{};
    const int count = fill(pass, layout, 1);
    pass.operation = call.operation;
    pass.direction = call.direction;
    pass.brief = brief();
    pass.pieces = call.pieces;
    int inputs = 0;
    for (int k = 0; k < layout.operand_count; ++k) {
      pass.steps[k] = layout.operands[k].step;
      if (k < call.input_count) inputs += family() == Family::maxout ? 1 : layout.operands[k].count;
    }
    pass.inputs = inputs;
    pass.outputs = count - inputs;
    for (int p = 0; p < kMaxParameters; ++p) pass.wide_parameters[p] = call.parameters[p];
    const int64_t per_block = kElementThreads * elements_per_thread(call.is_double());
    return launch(element_kernel(call.is_double()), (pass.units + per_block - 1) / per_block, kElementThreads,
                  where.stream, pass);
  }
};

}  // namespace
}  // namespace brazen::cuda

brazen::cuda::Status brazen_cuda_elementwise(const brazen::ElementwiseCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  const brazen::Layout& layout = call->layout;
  if (layout.size == 0) return Status::ok;
  if (call->operation < 0 || call->operation >= brazen::kOperations)
    return refuse(*where, "no such operation in this build");
  if (!aligned(layout)) return refuse(*where, kMisaligned);
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  const ElementwiseCaller caller{*call, *where};
  return explain(for_each_part(layout, [&](const brazen::Layout& part) { return caller.run(part); }), *where);
}
