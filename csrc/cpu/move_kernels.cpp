// SPDX-License-Identifier: BSD-3-Clause
// The loops of move_kernels.h. Compiled once per instruction set, as kernels.cpp: nothing of std:: may be instantiated.
#include "move_kernels.h"

#include <cstdint>

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

template <class Unit>
void repeat(const void* value, void* to, size_t n) {
  const Unit unit = *static_cast<const Unit*>(value);
  Unit* tile = static_cast<Unit*>(to);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) tile[i] = unit;
}

template <class Unit>
void every_second(const void* from, void* to, size_t n) {
  const Unit* pairs = static_cast<const Unit*>(from);
  Unit* tile = static_cast<Unit*>(to);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) tile[i] = pairs[2 * i];
}

template <class Unit>
void merge(const void* first, const void* second, void* to, size_t n) {
  const Unit *even = static_cast<const Unit*>(first), *odd = static_cast<const Unit*>(second);
  Unit* pairs = static_cast<Unit*>(to);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) {
    pairs[2 * i] = even[i];
    pairs[2 * i + 1] = odd[i];
  }
}

}  // namespace

// Referenced by name from kernels.cpp.
extern const MoveKernels kMoveKernels;
constinit const MoveKernels kMoveKernels = {
    {repeat<uint16_t>, repeat<uint32_t>, repeat<uint64_t>},
    {every_second<uint16_t>, every_second<uint32_t>, every_second<uint64_t>},
    {merge<uint16_t>, merge<uint32_t>, merge<uint64_t>},
};

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
