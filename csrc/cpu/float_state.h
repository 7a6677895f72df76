// SPDX-License-Identifier: BSD-3-Clause
// Puts the floating-point control register into its IEEE state for a scope: some libraries switch a whole process to
// flush-to-zero, and results would depend on who was imported first.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace brazen::cpu {

class FloatState {
 public:
#if defined(__x86_64__)
  FloatState() : before_(_mm_getcsr()) {
    if (before_ != kStandard) _mm_setcsr(kStandard);
  }
  ~FloatState() {
    if ((before_ & kControl) != (kStandard & kControl)) _mm_setcsr(before_);
  }

 private:
  static constexpr uint32_t kStandard = 0x1f80;  // all exceptions masked, nearest even, no FTZ, no DAZ
  static constexpr uint32_t kControl = 0xffc0;   // everything but the sticky flags
  uint32_t before_;
#elif defined(__aarch64__)
  FloatState() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    if (before_ != 0) asm volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
  }
  ~FloatState() {
    if (before_ != 0) asm volatile("msr fpcr, %0" ::"r"(before_));
  }

 private:
  uint64_t before_;
#endif

  FloatState(const FloatState&) = delete;
  FloatState& operator=(const FloatState&) = delete;
};

}  // namespace brazen::cpu
