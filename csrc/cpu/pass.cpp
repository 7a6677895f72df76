// SPDX-License-Identifier: BSD-3-Clause
// The tiles of one elementwise call.
#include "pass.h"

namespace brazen::cpu {

namespace {

int64_t row_of(const Layout& layout) {
  const int64_t last = layout.ndim > 1 ? layout.shape[layout.ndim - 1] : 0;
  return last >= kRowElements ? last : 0;
}

}  // namespace

Pass::Pass(const ElementwiseCall& call) : layout_(call.layout), row_(row_of(call.layout)) {
  kernel_ = table_.kernels[call.operation][static_cast<int>(call.direction)][call.is_double()];
  if (call.is_brief() && table_.brief[call.operation]) kernel_ = table_.brief[call.operation];
  compute_size_ = call.is_double() ? 8 : 4;
  parameters_ = call.parameters;
  cheap_ = call.cost_picoseconds() < kCheapPicoseconds * layout_.size;
  if (call.pieces) {
    group_parameters_[0] = call.pieces;
    parameters_ = group_parameters_;
  }
  int total = 0;
  for (int k = 0; k < layout_.operand_count; ++k) total += layout_.operands[k].count;
  if (total > kFewArrays) {
    many_arrays_.resize(total);
    arrays_ = many_arrays_.data();
  }
  for (int k = 0; k < layout_.operand_count; ++k) add_arrays(layout_.operands[k], k >= call.input_count);
  finish();
}

Pass::Pass(const ChainCall& call)
    : layout_(call.layout), program_(std::in_place, call, table_), row_(row_of(call.layout)), direct_(false) {
  compute_size_ = program_->is_double() ? 8 : 4;
  // Between a chain's short loops the processor does not look ahead by itself (dropout takes 3.5 times a plain copy
  // without fetching the next tile, 1.7 with).
  cheap_ = true;
  for (int k = 0; k < layout_.operand_count; ++k) add_arrays(layout_.operands[k], k >= call.input_count);
  if (program_->noise_input() >= 0) arrays_[program_->noise_input()].access = Access::noise;
  // One value for the tile: all tiles keep to rows along which no coefficient changes, or nothing changes anywhere.
  const uint32_t coefficients = program_->coefficients();
  single_ = coefficients != 0;
  for (int k = 0; k < inputs_; ++k) {
    if (!(coefficients >> k & 1)) continue;
    const Array& array = arrays_[k];
    const bool along_row = row_ && array.operand->strides[layout_.ndim - 1] == 0 &&
                           naturally_aligned(array.base, *array.operand) && array.size == compute_size_;
    single_ = single_ && (along_row || array.access == Access::uniform);
  }
  for (int k = 0; k < inputs_; ++k)
    if (single_ && coefficients >> k & 1 && arrays_[k].access != Access::uniform) arrays_[k].access = Access::single;
  finish();
}

void Pass::add_arrays(const Operand& operand, bool is_output) {
  const bool pair = is_output && is_pair(operand);
  for (int piece = 0; piece < operand.count; ++piece) {
    char* base = static_cast<char*>(operand.data) + piece * operand.step;
    Array array{&operand, base, itemsize(operand.dtype), pair ? Access::paired : access_of(operand, base), false};
    array.streamed = is_output && (array.is_run() || pair) &&
                     layout_.size * array.size * (pair ? 2 : 1) >= kStreamBytes && !aliases_input(base);
    arrays_[count_++] = array;
  }
  if (!is_output) inputs_ = count_;
}

void Pass::finish() {
  bool needs_rows = false;
  for (int k = 0; k < count_; ++k) {
    const Array& array = arrays_[k];
    direct_ = direct_ && array.access == Access::packed && !array.streamed && array.size == compute_size_;
    streams_ = streams_ || array.streamed;
    needs_rows =
        needs_rows || array.access == Access::rows || array.access == Access::single || array.access == Access::along;
  }
  if (!needs_rows) row_ = 0;
  if (row_) return;
  for (int k = 0; k < inputs_; ++k)
    if (arrays_[k].access == Access::strided) period_ = std::max(period_, period_of(*arrays_[k].operand));
  if (!period_) return;
  for (int k = 0; k < inputs_; ++k) {
    if (arrays_[k].access != Access::strided) continue;
    const int64_t own = period_of(*arrays_[k].operand);
    if (own && period_ % own == 0) arrays_[k].access = Access::periodic;
  }
  tile_ = kTileElements / period_ * period_;
}

// After how many elements an operand repeats itself: the axes behind those it is broadcast along. 0 where it does not,
// or not within a tile.
int64_t Pass::period_of(const Operand& operand) const {
  int64_t period = layout_.size;
  for (int d = 0; d < layout_.ndim && operand.strides[d] == 0; ++d) period /= layout_.shape[d];
  return period < layout_.size && period <= kTileElements ? period : 0;
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
  if (row_ >= kTileElements && operand.strides[last] == 0) return Access::along;
  bool rows = row_ > 0 && aligned && operand.strides[last] == size;
  for (int d = 0; d < last; ++d) rows = rows && operand.strides[d] % size == 0;
  return rows ? Access::rows : Access::strided;
}

bool Pass::is_pair(const Operand& operand) const {
  const int64_t size = itemsize(operand.dtype);
  return operand.count == 2 && operand.step == size && layout_.ndim == 1 && operand.strides[0] == 2 * size &&
         naturally_aligned(static_cast<const char*>(operand.data), operand);
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

void Pass::begin(Tiles& tiles) const {
  tiles.scratch = thread_scratch(scratch_bytes());
  for (int k = 0; k < inputs_; ++k) tiles.phases[k] = -1;
}

// Fills the rest of a tile with what it begins with.
void Pass::repeat(unsigned char* tile, int64_t filled, int64_t wanted) {
  while (filled < wanted) {
    const int64_t bytes = std::min(filled, wanted - filled);
    memcpy(tile + filled, tile, bytes);
    filled += bytes;
  }
}

void Pass::load(Tiles& tiles, const Place& at, int64_t n) const {
  unsigned char *scratch = tiles.scratch, *narrow_tile = scratch + count_ * tile_bytes();
  const void** in = tiles.in;
  int64_t* phases = tiles.phases;
  for (int k = 0; k < inputs_; ++k) {
    const Array& array = arrays_[k];
    unsigned char* tile = scratch + k * tile_bytes();
    switch (array.access) {
      case Access::packed:
      case Access::rows: in[k] = use_run(table_, array.operand->dtype, address(array, at), n, tile); break;
      case Access::single: in[k] = address(array, {at.index, at.row, 0}); break;
      case Access::noise: in[k] = draw_noise(array, at, n, tile, narrow_tile); break;
      case Access::uniform:
        if (phases[k] == 0) break;
        phases[k] = 0;
        in[k] = gather_run(table_, layout_, *array.operand, array.base, 0, 0, std::min(kTileElements, layout_.size),
                           tile, narrow_tile);
        break;
      case Access::along:
        if (phases[k] == at.row) break;
        phases[k] = at.row;
        in[k] = gather_run(table_, layout_, *array.operand, array.base, 0, at.index - at.column, kTileElements, tile,
                           narrow_tile);
        break;
      case Access::periodic:
        if (phases[k] == at.index % period_) break;
        phases[k] = at.index % period_;
        in[k] = gather_run(table_, layout_, *array.operand, array.base, 0, at.index, period_, tile, narrow_tile);
        repeat(tile, period_ * compute_size_, std::min(tile_, layout_.size) * compute_size_);
        break;
      case Access::paired:
      case Access::strided:
        in[k] = gather_run(table_, layout_, *array.operand, array.base, 0, at.index, n, tile, narrow_tile);
    }
  }
}

void Pass::apply(const void* const* in, void* const* out, int64_t n, unsigned char* scratch) const {
  if (program_)
    (*program_)(in, out, n, single_, scratch + (count_ + 1) * tile_bytes(), tile_bytes());
  else
    kernel_(parameters_, in, out, n);
}

void Pass::run_tiles(int64_t begin, int64_t end, int64_t beyond) const {
  Tiles tiles;
  this->begin(tiles);
  unsigned char *scratch = tiles.scratch, *narrow_tile = scratch + count_ * tile_bytes();
  void* out[kMaxArrays];

  Place at = place(begin);
  while (at.index < end) {
    int64_t n = std::min(tile_, end - at.index);
    if (row_) n = std::min(n, row_ - at.column);
    load(tiles, at, n);
    for (int k = inputs_; k < count_; ++k) {
      const Array& array = arrays_[k];
      const bool in_place = array.is_run() && !array.streamed && array.size == compute_size_;
      out[k - inputs_] = in_place ? address(array, at) : reinterpret_cast<char*>(scratch + k * tile_bytes());
    }
    const Place next = place(at.index + n);
    const char* ahead[kMaxArrays];
    int ahead_count = wanted_next(at, n, end, beyond, ahead);
    if (ahead_count > 1 && compute_size_ != arrays_[0].size) {
      // Several 16-bit inputs: the stores of one half-size output are too few to fetch beside (relu's gradient 0.58 of
      // a plain copy then, 0.67 so).
      for (int k = 0; k < ahead_count; ++k)
        for (int64_t byte = 0; byte < n * arrays_[0].size; byte += 64) __builtin_prefetch(ahead[k] + byte);
      ahead_count = 0;
    }
    apply(tiles.in, out, n, scratch);
    for (int k = inputs_; k < count_; ++k) {
      const int fetched = k == count_ - 1 ? ahead_count : 0;
      if (arrays_[k].access != Access::paired)
        store(arrays_[k], at, n, out[k - inputs_], narrow_tile, ahead, fetched);
      else if (k == count_ - 1)
        store_pair(arrays_[k - 1], at.index, n, out, narrow_tile, ahead, fetched);
    }
    at = next;
  }
}

void Pass::compute(Tiles& tiles, int64_t begin, int64_t n, void* const* out) const {
  if (!tiles.scratch) this->begin(tiles);
  for (Place at = place(begin); at.index < begin + n;) {
    int64_t length = std::min(tile_, begin + n - at.index);
    if (row_) length = std::min(length, row_ - at.column);
    load(tiles, at, length);
    void* to[2];
    for (int k = 0; k < count_ - inputs_; ++k) to[k] = static_cast<char*>(out[k]) + (at.index - begin) * compute_size_;
    apply(tiles.in, to, length, tiles.scratch);
    at = place(at.index + length);
  }
}

void Pass::fetch(int64_t begin, int64_t n) const {
  const Place at = place(begin);
  for (int k = 0; k < inputs_; ++k) {
    if (!arrays_[k].is_run()) continue;
    const char* from = address(arrays_[k], at);
    for (int64_t byte = 0; byte < n * arrays_[k].size; byte += 64) __builtin_prefetch(from + byte);
  }
}

const void* Pass::draw_noise(const Array& array, const Place& at, int64_t n, unsigned char* tile,
                             unsigned char* spare) const {
  const Operand& operand = *array.operand;
  const int64_t first = reinterpret_cast<int64_t>(array.base);
  const bool pieces = program_->chain().noise == Noise::dropout;
  const int64_t item = pieces ? 2 : compute_size_;
  const void* drawn = tile;
  int64_t done = 0;
  Cursor(layout_, operand, 0, at.index).runs(n, [&](int64_t offset, int64_t length, int64_t stride) {
    if (length == n) {
      drawn = draw(table_, program_->chain(), program_->is_double(), first + offset, stride, n, tile);
      return;
    }
    const void* part = draw(table_, program_->chain(), program_->is_double(), first + offset, stride, length, spare);
    memcpy(tile + done * item, part, length * item);
    done += length;
  });
  return drawn;
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

// What memory is asked for while a tile is stored: the inputs of one further on, and of another thread's.
int Pass::wanted_next(const Place& at, int64_t n, int64_t end, int64_t beyond, const char** ahead) const {
  if (!streams_) return 0;
  // A tile of 16 bits is half as many bytes: the second next is as far off.
  const int64_t next = at.index + (!row_ && arrays_[0].size == 2 ? 2 * n : n), other = at.index + beyond;
  int count = 0;
  // Rows are too short for the processor to foresee the next one by itself.
  if ((cheap_ || row_) && next + n <= end) count = inputs_at(next, ahead);
  if (beyond && other + n <= layout_.size) count += inputs_at(other, ahead + count);
  return count;
}

// Where the inputs of a tile lie, for those that lie in one run.
int Pass::inputs_at(int64_t index, const char** ahead) const {
  const Place at = place(index);
  int found = 0;
  for (int k = 0; k < inputs_; ++k)
    if (arrays_[k].is_run() && !repeats(*arrays_[k].operand)) ahead[found++] = address(arrays_[k], at);
  return found;
}

void Pass::store(const Array& array, const Place& at, int64_t n, const void* tile, void* narrow_tile,
                 const char* const* ahead, int ahead_count) const {
  const DType dtype = array.operand->dtype;
  char* to = array.is_run() ? address(array, at) : nullptr;
  if (tile == to) return;
  if (is_16_bit(dtype)) {
    const float* wide = static_cast<const float*>(tile);
    const int format = static_cast<int>(dtype);
    if (array.streamed) return table_.stream_narrow[format](to, wide, n, ahead, ahead_count);
    uint16_t* narrowed = static_cast<uint16_t*>(to ? static_cast<void*>(to) : narrow_tile);
    table_.narrow[format](wide, narrowed, n);
    if (to) return;
    tile = narrowed;
  }
  if (array.streamed)
    table_.stream(to, tile, n * array.size, ahead, ahead_count);
  else if (to)
    memcpy(to, tile, n * array.size);
  else
    scatter_run(layout_, *array.operand, array.base, at.index, n, tile);
}

void Pass::store_pair(const Array& first, int64_t index, int64_t n, const void* const* tiles, unsigned char* spare,
                      const char* const* ahead, int ahead_count) const {
  const DType dtype = first.operand->dtype;
  const void *even = tiles[0], *odd = tiles[1];
  if (is_16_bit(dtype)) {
    uint16_t* narrowed = reinterpret_cast<uint16_t*>(spare);
    for (int piece = 0; piece < 2; ++piece)
      table_.narrow[static_cast<int>(dtype)](static_cast<const float*>(tiles[piece]), narrowed + piece * n, n);
    even = narrowed, odd = narrowed + n;
  }
  char* to = first.base + 2 * index * first.size;
  const auto merge = table_.moves->merge[move_index(first.size)];
  if (!first.streamed) return merge(even, odd, to, n);
  void* pairs = spare + tile_bytes();
  merge(even, odd, pairs, n);
  table_.stream(to, pairs, 2 * n * first.size, ahead, ahead_count);
}

}  // namespace brazen::cpu
