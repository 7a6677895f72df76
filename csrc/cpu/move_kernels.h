// SPDX-License-Identifier: BSD-3-Clause
// Elements from places that are not one run, and back. Indexed by the binary logarithm of an element's bytes less one.
#pragma once

#include <cstddef>

namespace brazen::cpu {

struct MoveKernels {
  void (*repeat[3])(const void* value, void* to, size_t n);
  void (*every_second[3])(const void* from, void* to, size_t n);
  // The other way round for a pair of tiles: first, second, first, second ...
  void (*merge[3])(const void* first, const void* second, void* to, size_t n);
};

// The index of elements of 2, 4 or 8 bytes.
constexpr int move_index(size_t bytes) { return bytes == 2 ? 0 : bytes == 4 ? 1 : 2; }

}  // namespace brazen::cpu
