// SPDX-License-Identifier: BSD-3-Clause
// Memory of a thread for its tiles, kept between calls.
#pragma once

#include <cstdint>
#include <memory>

namespace brazen::cpu {

// 64-byte aligned; valid until the thread's next call with the same slot. A loop that calls another loop while it holds
// memory takes a slot of its own.
template <int slot = 0>
inline unsigned char* thread_scratch(size_t bytes) {
  static thread_local std::unique_ptr<unsigned char[]> memory;
  static thread_local size_t size = 0;
  if (bytes + 64 > size) {
    size = bytes + 64;
    memory.reset(new unsigned char[size]);
  }
  return reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) & ~uintptr_t{63});
}

}  // namespace brazen::cpu
