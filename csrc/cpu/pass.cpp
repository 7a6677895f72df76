// SPDX-License-Identifier: BSD-3-Clause
// The tiles of one elementwise call.
#include "pass.h"

namespace brazen::cpu {

Pass::Pass(const ElementwiseCall& call) : layout_(call.layout) {
  kernel_ = table_.kernels[call.operation][static_cast<int>(call.direction)][call.is_double()];
  if (call.is_brief() && table_.brief[call.operation]) kernel_ = table_.brief[call.operation];
  compute_size_ = call.is_double() ? 8 : 4;
  parameters_ = call.parameters;
  cheap_ = call.cost_picoseconds() < kCheapPicoseconds * layout_.size;
  if (call.pieces) {
    group_parameters_[0] = call.pieces;
    parameters_ = group_parameters_;
  }
  row_ = layout_.ndim > 1 && layout_.shape[layout_.ndim - 1] >= kRowElements ? layout_.shape[layout_.ndim - 1] : 0;
  int total = 0;
  for (int k = 0; k < layout_.operand_count; ++k) total += layout_.operands[k].count;
  if (total > 8) {
    many_arrays_.resize(total);
    arrays_ = many_arrays_.data();
  }
  bool needs_rows = false;
  for (int k = 0; k < layout_.operand_count; ++k) {
    const Operand& operand = layout_.operands[k];
    const bool is_output = k >= call.input_count;
    for (int piece = 0; piece < operand.count; ++piece) {
      char* base = static_cast<char*>(operand.data) + piece * operand.step;
      Array array{&operand, base, itemsize(operand.dtype), access_of(operand, base), false};
      array.streamed = is_output && array.is_run() && layout_.size * array.size >= kStreamBytes && !aliases_input(base);
      direct_ = direct_ && array.access == Access::packed && !array.streamed && array.size == compute_size_;
      streams_ = streams_ || array.streamed;
      needs_rows = needs_rows || array.access == Access::rows;
      arrays_[count_++] = array;
    }
    if (!is_output) inputs_ = count_;
  }
  if (!needs_rows) row_ = 0;
}

Pass::Access Pass::access_of(const Operand& operand, const char* base) const {
  // A misaligned array is copied: the kernels' types promise their natural alignment.
  const bool aligned = naturally_aligned(base, operand);
  const int64_t size = itemsize(operand.dtype);
  const int last = layout_.ndim - 1;
  bool packed = true, uniform = true;
  int64_t expected = size;
  for (int d = last; d >= 0; --d) {
    packed = packed && operand.strides[d] == expected;
    uniform = uniform && operand.strides[d] == 0;
    expected *= layout_.shape[d];
  }
  if (packed && aligned) return Access::packed;
  if (uniform) return Access::uniform;
  bool rows = row_ > 0 && aligned && operand.strides[last] == size;
  for (int d = 0; d < last; ++d) rows = rows && operand.strides[d] % size == 0;
  return rows ? Access::rows : Access::strided;
}

bool Pass::aliases_input(const char* base) const {
  for (int k = 0; k < inputs_; ++k)
    if (arrays_[k].base == base) return true;
  return false;
}

void Pass::run_direct(int64_t begin, int64_t end) const {
  const void* in[kMaxArrays];
  void* out[kMaxArrays];
  for (int k = 0; k < count_; ++k) {
    char* at = arrays_[k].base + begin * compute_size_;
    if (k < inputs_)
      in[k] = at;
    else
      out[k - inputs_] = at;
  }
  kernel_(parameters_, in, out, end - begin);
}

void Pass::run_tiles(int64_t begin, int64_t end) const {
  const int64_t tile_bytes = kTileElements * compute_size_;
  unsigned char* scratch = thread_scratch((count_ + 1) * tile_bytes);
  unsigned char* narrow_tile = scratch + count_ * tile_bytes;
  const void* in[kMaxArrays];
  void* out[kMaxArrays];
  for (int k = 0; k < inputs_; ++k)
    if (arrays_[k].access == Access::uniform)
      in[k] = gather_run(table_, layout_, *arrays_[k].operand, arrays_[k].base, 0, begin,
                         std::min(kTileElements, end - begin), scratch + k * tile_bytes, narrow_tile);

  Place at = place(begin);
  while (at.index < end) {
    int64_t n = std::min(kTileElements, end - at.index);
    if (row_) n = std::min(n, row_ - at.column);
    for (int k = 0; k < inputs_; ++k) {
      const Array& array = arrays_[k];
      void* tile = scratch + k * tile_bytes;
      if (array.is_run())
        in[k] = use_run(table_, array.operand->dtype, address(array, at), n, tile);
      else if (array.access == Access::strided)
        in[k] = gather_run(table_, layout_, *array.operand, array.base, 0, at.index, n, tile, narrow_tile);
    }
    for (int k = inputs_; k < count_; ++k) {
      const Array& array = arrays_[k];
      const bool in_place = array.is_run() && !array.streamed && array.size == compute_size_;
      out[k - inputs_] = in_place ? address(array, at) : reinterpret_cast<char*>(scratch + k * tile_bytes);
    }
    const Place next = place(at.index + n);
    const char* ahead[kMaxArrays];
    // Rows are too short for the processor to foresee the next one by itself.
    int ahead_count = streams_ && (cheap_ || row_) && next.index + n <= end ? next_inputs(next, ahead) : 0;
    if (ahead_count > 1 && compute_size_ != arrays_[0].size) {
      // Several 16-bit inputs: the stores of one half-size output are too few to fetch beside (relu's gradient 0.58 of
      // a plain copy then, 0.67 so).
      for (int k = 0; k < ahead_count; ++k)
        for (int64_t byte = 0; byte < n * arrays_[0].size; byte += 64) __builtin_prefetch(ahead[k] + byte);
      ahead_count = 0;
    }
    kernel_(parameters_, in, out, n);
    for (int k = inputs_; k < count_; ++k)
      store(arrays_[k], at, n, out[k - inputs_], narrow_tile, ahead, k == count_ - 1 ? ahead_count : 0);
    at = next;
  }
}

Pass::Place Pass::place(int64_t index) const {
  return row_ ? Place{index, index / row_, index % row_} : Place{index, 0, 0};
}

char* Pass::address(const Array& array, const Place& at) const {
  if (array.access == Access::packed) return array.base + at.index * array.size;
  const int64_t* strides = array.operand->strides;
  int64_t offset = at.column * array.size, row = at.row;
  for (int d = layout_.ndim - 2; d > 0; --d) {
    offset += row % layout_.shape[d] * strides[d];
    row /= layout_.shape[d];
  }
  return array.base + offset + row * strides[0];
}

// Where the inputs of the next tile lie, for those that lie in one run.
int Pass::next_inputs(const Place& next, const char** ahead) const {
  int found = 0;
  for (int k = 0; k < inputs_; ++k)
    if (arrays_[k].is_run()) ahead[found++] = address(arrays_[k], next);
  return found;
}

void Pass::store(const Array& array, const Place& at, int64_t n, const void* tile, void* narrow_tile,
                 const char* const* ahead, int ahead_count) const {
  const DType dtype = array.operand->dtype;
  char* to = array.is_run() ? address(array, at) : nullptr;
  if (tile == to) return;
  if (is_16_bit(dtype)) {
    const bool straight = to && !array.streamed;
    uint16_t* narrowed = straight ? reinterpret_cast<uint16_t*>(to) : static_cast<uint16_t*>(narrow_tile);
    table_.narrow[static_cast<int>(dtype)](static_cast<const float*>(tile), narrowed, n);
    if (straight) return;
    tile = narrowed;
  }
  if (array.streamed)
    table_.stream(to, tile, n * array.size, ahead, ahead_count);
  else if (to)
    memcpy(to, tile, n * array.size);
  else
    scatter_run(layout_, *array.operand, array.base, at.index, n, tile);
}

}  // namespace brazen::cpu
