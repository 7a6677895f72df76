// SPDX-License-Identifier: BSD-3-Clause
// Chooses the loop for a chain: vectors where the arrays allow them, single elements elsewhere. No kernel here.
#include "chain.h"
#include "vector.h"

namespace brazen::cuda {
namespace {

constexpr int64_t kElementsOfQuad = 4;

class ChainCaller {
 public:
  ChainCaller(const ChainCall& call, const Roles& roles, const Launch& where)
      : call_(call), roles_(roles), where_(where) {}

  // A part of the call's layout that one launch can number.
  cudaError_t run(const Layout& layout) const {
    ChainVectorPass pass{};
    fill(pass, layout);
    const int64_t covered = plan_vectors(pass, layout);
    if (covered > 0) {
      const bool wide = pass.dtype == DType::float32;
      const int64_t per_block = int64_t{kChainThreads} * chain_slots(call_.direction, wide);
      const cudaError_t error = launch(chain_vector_kernel(call_.direction), blocks_of(pass.vectors, per_block),
                                       kChainThreads, where_.stream, pass);
      if (error != cudaSuccess || covered == layout.size) return error;
    }
    ChainPass rest = pass;
    rest.first = static_cast<uint32_t>(covered);
    return launch(chain_element_kernel(is_double()), blocks_of(layout.size - covered, kChainThreads), kChainThreads,
                  where_.stream, rest);
  }

 private:
  bool is_double() const { return call_.compute_dtype == DType::float64; }

  void fill(ChainPass& pass, const Layout& layout) const {
    roles_.fill(pass, call_, layout);
    pass.first = 0, pass.end = static_cast<uint32_t>(layout.size);
    pass.ndim = layout.ndim ? layout.ndim : 1;
    pass.reversed = call_.reversed;
    for (int d = 1; d < layout.ndim; ++d) pass.extents[d].set(layout.shape[d]);
    for (int role = 0; role < kRoles; ++role)
      for (int d = 0; d < pass.ndim; ++d) pass.strides[role][d] = 0;
    for (int k = 0; k < roles_.count(); ++k)
      for (int d = 0; d < layout.ndim; ++d) pass.strides[roles_[k]][d] = layout.operands[k].strides[d];
  }

  // How many elements, from the first on, vectors can take.
  int64_t plan_vectors(ChainVectorPass& pass, const Layout& layout) const {
    if (is_double()) return 0;
    const int64_t per_vector = kVectorBytes / itemsize(pass.dtype);
    const int64_t covered = layout.size / per_vector * per_vector;
    if (covered == 0 || (covered != layout.size && layout.size < kWorthTwoLaunches)) return 0;
    if (!plan_arrays(pass, layout, per_vector) || !plan_coefficients(pass, layout, per_vector)) return 0;
    plan_index(pass, layout);
    const bool normals =
        pass.noise == Noise::multiply || (pass.noise == Noise::add && pass.direction == Direction::forward);
    if (normals && pass.index_runs == IndexRuns::none) return 0;
    pass.vectors = static_cast<uint32_t>(covered / per_vector);
    return covered;
  }

  // Vectors lie in each array's memory at multiples of 16 bytes: in one run of it, or in rows of whole vectors.
  bool plan_arrays(ChainVectorPass& pass, const Layout& layout, int64_t per_vector) const {
    const int64_t item = itemsize(pass.dtype);
    uint64_t starts = 0, strides = 0;
    int64_t bytes = 0;
    bool rows = layout.ndim > 0 && layout.shape[layout.ndim - 1] % per_vector == 0;
    pass.dense = true;
    for (int k = 0; k < roles_.count(); ++k) {
      if (roles_[k] >= kArrays) continue;
      const Operand& operand = layout.operands[k];
      bytes += layout.size * item;
      starts |= reinterpret_cast<uintptr_t>(operand.data);
      for (int d = 0; d + 1 < layout.ndim; ++d) strides |= static_cast<uint64_t>(operand.strides[d]);
      rows = rows && operand.strides[layout.ndim - 1] == item;
      pass.dense = pass.dense && layout.consecutive(operand, item);
    }
    pass.streaming = bytes > kStreamingBytes;
    return starts % kVectorBytes == 0 && (pass.dense || (rows && strides % kVectorBytes == 0));
  }

  // Finds the one axis that the coefficients have.
  bool plan_coefficients(ChainVectorPass& pass, const Layout& layout, int64_t per_vector) const {
    int axis = -1;
    bool vectors = true;
    for (int c = 0; c < kCoefficients; ++c) pass.channel_strides[c] = 0;
    for (int k = 0; k < roles_.count(); ++k) {
      if (roles_[k] < kCenter || roles_[k] == kIndex) continue;
      const Operand& operand = layout.operands[k];
      int64_t stride = 0;
      for (int d = 0; d < layout.ndim; ++d) {
        if (operand.strides[d] == 0) continue;
        if (axis >= 0 && axis != d) return false;
        axis = d, stride = operand.strides[d];
      }
      pass.channel_strides[roles_[k] - kCenter] = stride;
      vectors = vectors && stride == itemsize(DType::float32) &&
                reinterpret_cast<uintptr_t>(operand.data) % kVectorBytes == 0;
    }
    pass.spread = Spread::uniform;
    pass.has_inner = pass.wraps = false;
    if (axis < 0) return true;
    int64_t inner = 1;
    for (int d = axis + 1; d < layout.ndim; ++d) inner *= layout.shape[d];
    pass.has_inner = inner > 1, pass.wraps = axis > 0;
    if (pass.has_inner) pass.inner.set(inner);
    if (pass.wraps) pass.channels.set(layout.shape[axis]);
    vectors = vectors && inner == 1 && layout.shape[axis] % kElementsOfQuad == 0;
    if (inner % per_vector != 0) pass.spread = vectors ? Spread::vectors : Spread::each;
    return true;
  }

  void plan_index(ChainVectorPass& pass, const Layout& layout) const {
    pass.dense_index = false;
    pass.index_runs = IndexRuns::none;
    for (int k = 0; k < roles_.count(); ++k) {
      if (roles_[k] != kIndex) continue;
      const Operand& index = layout.operands[k];
      pass.dense_index = layout.consecutive(index, 1);
      const int last = layout.ndim - 1;
      uint64_t starts = pass.first_index;
      if (!pass.dense_index) {
        if (index.strides[last] != 1) return;
        starts |= static_cast<uint64_t>(layout.shape[last]);
        for (int d = 0; d < last; ++d) starts |= static_cast<uint64_t>(index.strides[d]);
      }
      pass.index_runs = starts % kPiecesPerBlock == 0   ? IndexRuns::blocks
                        : starts % kElementsOfQuad == 0 ? IndexRuns::quads
                                                        : IndexRuns::none;
    }
  }

  const ChainCall& call_;
  const Roles& roles_;
  const Launch& where_;
};

}  // namespace

Roles::Roles(const ChainCall& call) {
  const Chain& chain = call.chain;
  const bool backward = call.direction == Direction::backward;
  const auto take = [&](bool present, Role role) {
    if (present && count_ < kMaxOperands) roles_[count_++] = role;
  };
  take(backward, kOther);
  take(!backward || chain.has_x, kValue);
  take(chain.center, kCenter);
  take(chain.factor, kFactor);
  take(chain.shift, kShift);
  take(chain.add, kAdd);
  take(chain.add_after && !backward, kOther);
  take(chain.correction && backward, kSlope);
  take(chain.correction && backward, kBase);
  take(chain.noise != Noise::none, kIndex);
  take(!backward || chain.has_dadd, kFirstOut);
  take(backward && chain.has_dx, kSecondOut);
}

bool Roles::fit(const ChainCall& call) const {
  const Chain& chain = call.chain;
  if (count_ != call.layout.operand_count || chain.activation >= kFirstActivation + Activations::size) return false;
  const bool backward = call.direction == Direction::backward;
  if (backward && (chain.activation >= 0 || chain.correction) && !chain.has_x) return false;
  if (backward && chain.correction && !(chain.center && chain.factor)) return false;
  const DType coefficient = call.compute_dtype == DType::float64 ? DType::float64 : DType::float32;
  for (int k = 0; k < count_; ++k) {
    if (roles_[k] == kIndex) continue;
    if (call.layout.operands[k].dtype != (roles_[k] < kArrays ? call.compute_dtype : coefficient)) return false;
  }
  return is_compute(call.compute_dtype);
}

void Roles::fill(ChainStages& stages, const ChainCall& call, const Layout& layout) const {
  const Chain& chain = call.chain;
  for (char*& data : stages.data) data = nullptr;
  stages.first_index = 0;
  for (int k = 0; k < count_; ++k) {
    const Operand& operand = layout.operands[k];
    if (roles_[k] == kIndex)
      stages.first_index = reinterpret_cast<uintptr_t>(operand.data);
    else
      stages.data[roles_[k]] = static_cast<char*>(operand.data);
  }
  stages.dtype = call.compute_dtype;
  stages.direction = call.direction;
  stages.activation = chain.activation;
  stages.noise = chain.noise;
  stages.moves = call.direction == Direction::forward && (chain.kept_shift != 0 || chain.dropped != 0);
  stages.keep_threshold = chain.keep_threshold;
  stages.key = chain.key;
  for (int p = 0; p < kMaxParameters; ++p) stages.wide_numbers[kParameters + p] = chain.activation_parameters[p];
  stages.wide_numbers[kNoiseScale] = chain.noise_scale;
  stages.wide_numbers[kKeptShift] = chain.kept_shift;
  stages.wide_numbers[kDropped] = chain.dropped;
  for (int n = 0; n < kNumbers; ++n) stages.numbers[n] = static_cast<float>(stages.wide_numbers[n]);
}

const char* why_refused(const ChainCall& call) {
  if (!Roles(call).fit(call)) return "its arrays are not those of its chain";
  return aligned(call.layout) ? nullptr : kMisaligned;
}

cudaError_t run(const ChainCall& call, const Launch& where) {
  if (call.layout.size == 0) return cudaSuccess;
  const Roles roles(call);
  const ChainCaller caller(call, roles, where);
  return for_each_part(call.layout, [&](const Layout& part) { return caller.run(part); }, call.reversed);
}

}  // namespace brazen::cuda

brazen::cuda::Status brazen_cuda_chain(const brazen::ChainCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  if (call->layout.size == 0) return Status::ok;
  if (const char* reason = why_refused(*call)) return refuse(*where, reason);
  const DeviceScope scope(where->device);
  return explain(scope.error() == cudaSuccess ? run(*call, *where) : scope.error(), *where);
}
