// SPDX-License-Identifier: BSD-3-Clause
// A chain's stages and its random numbers as loops over short contiguous runs. Compiled once per instruction set, as
// kernels.cpp is, and under the same rules.
#include "chain_kernels.h"

#include "../formulas/affine.h"
#include "../formulas/dropout.h"
#include "kernels.h"
#include "philox_lanes.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

// The runs of one call are equal or apart, never shifted, so iterations are independent.
#define EACH_ELEMENT _Pragma("GCC ivdep") for (size_t i = 0; i < n; ++i)

template <class T>
const T* in(const void* pointer) {
  return static_cast<const T*>(pointer);
}

// A coefficient: the same for the whole run, or each element's own.
template <bool uniform, class T>
struct Coefficient {
  const T* values;
  T first;
  Coefficient(const void* pointer, bool present) : values(in<T>(pointer)), first(uniform && present ? *values : T(0)) {}
  T operator[](size_t i) const { return uniform ? first : values[i]; }
};

template <int parts, bool uniform, class T>
void affine_run(const void* x_run, const void* center_run, const void* factor_run, const void* shift_run, void* y_run,
                size_t n) {
  constexpr bool has_center = parts & 1, has_factor = parts & 2, has_shift = parts & 4;
  const T* x = in<T>(x_run);
  T* y = static_cast<T*>(y_run);
  const Coefficient<uniform, T> center(center_run, has_center), factor(factor_run, has_factor),
      shift(shift_run, has_shift);
  EACH_ELEMENT y[i] = affine<has_center, has_factor, has_shift>(
      x[i], has_center ? center[i] : T(0), has_factor ? factor[i] : T(0), has_shift ? shift[i] : T(0));
}

template <bool uniform, class T>
void correct_run(const void* grad_run, const void* x_run, const void* center_run, const void* factor_run,
                 const void* slope_run, const void* base_run, void* dx_run, size_t n) {
  const T *grad = in<T>(grad_run), *x = in<T>(x_run);
  const Coefficient<uniform, T> center(center_run, true), factor(factor_run, true), slope(slope_run, true),
      base(base_run, true);
  T* dx = static_cast<T*>(dx_run);
  EACH_ELEMENT dx[i] = corrected_grad(grad[i], x[i], center[i], factor[i], slope[i], base[i]);
}

template <class T>
void add_run(const void* a_run, const void* b_run, void* y_run, size_t n) {
  const T *a = in<T>(a_run), *b = in<T>(b_run);
  T* y = static_cast<T*>(y_run);
  EACH_ELEMENT y[i] = a[i] + b[i];
}

template <class T>
void dropout_run(const Chain& chain, const void* value_run, const void* drawn, void* y_run, size_t n) {
  const T* value = in<T>(value_run);
  const uint16_t* pieces = in<uint16_t>(drawn);
  const uint32_t threshold = chain.keep_threshold;
  const T scale = T(chain.noise_scale);
  T* y = static_cast<T*>(y_run);
  if (chain.kept_shift == 0 && chain.dropped == 0) {
    EACH_ELEMENT y[i] = drop(value[i], pieces[i] < threshold, scale);
  } else {
    const T kept_shift = T(chain.kept_shift), dropped = T(chain.dropped);
    EACH_ELEMENT y[i] = drop_to(value[i], pieces[i] < threshold, scale, kept_shift, dropped);
  }
}

template <class T>
void dropout_backward_run(const Chain& chain, const void* value_run, const void* drawn, void* y_run, size_t n) {
  const T* value = in<T>(value_run);
  const uint16_t* pieces = in<uint16_t>(drawn);
  const uint32_t threshold = chain.keep_threshold;
  const T scale = T(chain.noise_scale);
  T* y = static_cast<T*>(y_run);
  EACH_ELEMENT y[i] = drop(value[i], pieces[i] < threshold, scale);
}

// Its own backward.
template <class T>
void multiply_noise_run(const Chain& chain, const void* value_run, const void* drawn, void* y_run, size_t n) {
  const T *value = in<T>(value_run), *normal = in<T>(drawn);
  const T deviation = T(chain.noise_scale);
  T* y = static_cast<T*>(y_run);
  EACH_ELEMENT y[i] = multiply_noise(value[i], normal[i], deviation);
}

template <class T>
void add_noise_run(const Chain& chain, const void* value_run, const void* drawn, void* y_run, size_t n) {
  const T *value = in<T>(value_run), *normal = in<T>(drawn);
  const T deviation = T(chain.noise_scale);
  T* y = static_cast<T*>(y_run);
  EACH_ELEMENT y[i] = add_noise(value[i], normal[i], deviation);
}

// Blocks are made whole lanes at a time, so up to kPhiloxLanes - 1 blocks more than asked for are written.
void draw_words(RandomKey key, uint64_t first_block, size_t blocks, uint32_t* words) {
  for (size_t i = 0; i < blocks; i += kPhiloxLanes) {
    const PhiloxLanes lanes = philox_lanes(key, first_block + i, 1);
    const Lanes low = (lanes.words[0] & 0xffffffffu) | lanes.words[1] << 32;
    const Lanes high = (lanes.words[2] & 0xffffffffu) | lanes.words[3] << 32;
    uint32_t* to = words + 4 * i;
#if defined(__AVX512F__)
    const Lanes first = {0, 8, 1, 9, 2, 10, 3, 11}, second = {4, 12, 5, 13, 6, 14, 7, 15};
#elif defined(__AVX2__)
    const Lanes first = {0, 4, 1, 5}, second = {2, 6, 3, 7};
#else
    const Lanes first = {0, 2}, second = {1, 3};
#endif
    const Lanes run[2] = {__builtin_shuffle(low, high, first), __builtin_shuffle(low, high, second)};
    __builtin_memcpy(to, run, sizeof run);
  }
}

void draw_columns(RandomKey key, uint64_t first_block, uint64_t stride, size_t n, uint16_t* rows, size_t row_length) {
  typedef uint16_t Pieces __attribute__((vector_size(2 * kPhiloxLanes)));
  for (size_t i = 0; i < n; i += kPhiloxLanes) {
    const PhiloxLanes lanes = philox_lanes(key, first_block + i * stride, stride);
    for (int k = 0; k < kPiecesPerBlock; ++k) {
      const Pieces pieces = __builtin_convertvector(lanes.words[k / 2] >> (16 * (k % 2)), Pieces);
      __builtin_memcpy(rows + k * row_length + i, &pieces, sizeof pieces);
    }
  }
}

void draw_pieces(RandomKey key, uint64_t first, int64_t stride, size_t n, uint16_t* pieces) {
  EACH_ELEMENT {
    const uint64_t index = first + i * uint64_t(stride);
    pieces[i] = uint16_t(piece_at(philox(key, index / kPiecesPerBlock), index));
  }
}

template <class T>
void uniform_run(const void* words, size_t n, void* to) {
  const Word<T>* word = in<Word<T>>(words);
  T* values = static_cast<T*>(to);
  EACH_ELEMENT values[i] = uniform(word[i]);
}

template <class T>
void normal_run(const void* words, size_t pairs, void* to) {
  const Word<T>* word = in<Word<T>>(words);
  T* values = static_cast<T*>(to);
  const size_t n = pairs;
  EACH_ELEMENT {
    const NormalPair<T> point = normal(word[2 * i], word[2 * i + 1]);
    values[2 * i] = point.even;
    values[2 * i + 1] = point.odd;
  }
}

// Strided indices share no block: a pair's other value is thrown away.
template <class T>
void uniform_each(RandomKey key, uint64_t first, int64_t stride, size_t n, void* to) {
  T* values = static_cast<T*>(to);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t index = first + i * uint64_t(stride);
    values[i] = uniform(word(philox(key, index / kValuesPerBlock<T>), int(index % kValuesPerBlock<T>), T()));
  }
}

template <class T>
void normal_each(RandomKey key, uint64_t first, int64_t stride, size_t n, void* to) {
  T* values = static_cast<T*>(to);
  for (size_t i = 0; i < n; ++i) values[i] = normal_at<T>(key, first + i * uint64_t(stride));
}

void compare(const uint16_t* pieces, uint32_t threshold, size_t n, uint8_t* kept) {
  EACH_ELEMENT kept[i] = pieces[i] < threshold;
}

template <class T, int parts>
constexpr void register_affine(ChainKernels& table, int type) {
  table.affine[parts][0][type] = affine_run<parts, false, T>;
  table.affine[parts][1][type] = affine_run<parts, true, T>;
  if constexpr (parts < 7) register_affine<T, parts + 1>(table, type);
}

template <class T>
constexpr void register_type(ChainKernels& table, int type) {
  register_affine<T, 1>(table, type);
  table.correct[0][type] = correct_run<false, T>;
  table.correct[1][type] = correct_run<true, T>;
  table.add[type] = add_run<T>;
  const auto set = [&](Noise noise, ChainKernels::NoiseKernel forward, ChainKernels::NoiseKernel backward) {
    table.noise[static_cast<int>(noise)][0][type] = forward;
    table.noise[static_cast<int>(noise)][1][type] = backward;
  };
  set(Noise::dropout, dropout_run<T>, dropout_backward_run<T>);
  set(Noise::multiply, multiply_noise_run<T>, multiply_noise_run<T>);
  set(Noise::add, add_noise_run<T>, nullptr);
  table.uniform[type] = uniform_run<T>;
  table.normal[type] = normal_run<T>;
  table.uniform_each[type] = uniform_each<T>;
  table.normal_each[type] = normal_each<T>;
}

constexpr ChainKernels make_table() {
  ChainKernels table{};
  register_type<float>(table, 0);
  register_type<double>(table, 1);
  table.draw_words = draw_words;
  table.draw_columns = draw_columns;
  table.draw_pieces = draw_pieces;
  table.compare = compare;
  return table;
}

}  // namespace

// Referenced from kernels.cpp's table.
extern const ChainKernels kChainKernels;
constinit const ChainKernels kChainKernels = make_table();

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
