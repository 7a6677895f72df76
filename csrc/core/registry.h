// SPDX-License-Identifier: BSD-3-Clause
// The formulas of every family as one numbered list: its numbers cross every border (Python, kernel tables, C ABI).
#pragma once

#include "../formulas/functions.h"
#include "../formulas/gates.h"

namespace brazen {

enum class Direction : int32_t { forward, backward };
inline constexpr int kDirections = 2;
inline constexpr int kComputeTypes = 2;  // float, double

// A family shares its arrays: what goes in, what comes out.
enum class Family : int32_t { activation, gate, prelu, maxout, function };

inline constexpr int kFirstActivation = 0;
inline constexpr int kFirstGate = kFirstActivation + Activations::size;
inline constexpr int kPrelu = kFirstGate + Gates::size;
inline constexpr int kPreluAlpha = kPrelu + 1;  // the terms of alpha's gradient, forward only, not public
inline constexpr int kMaxout = kPreluAlpha + 1;
inline constexpr int kFirstFunction = kMaxout + 1;
inline constexpr int kOperations = kFirstFunction + Functions::size;

struct Operation {
  OperationInfo info;
  Family family;
  bool unit_slope;  // everywhere, of NaN too
};

template <class Op>
inline constexpr bool has_unit_slope = requires { Op::unit_slope; };

struct Registry {
  Operation operations[kOperations];

  constexpr Registry() : operations{} {
    Activations::for_each<float>([&]<class Op>(int i) {
      operations[kFirstActivation + i] = {Op::info, Family::activation, has_unit_slope<Op>};
    });
    Gates::for_each<float>([&]<class Op>(int i) { operations[kFirstGate + i] = {Op::info, Family::gate, false}; });
    operations[kPrelu] = {Prelu<float>::info, Family::prelu, false};
    operations[kPreluAlpha] = {PreluAlpha<float>::info, Family::prelu, false};
    operations[kMaxout] = {Maxout<float>::info, Family::maxout, false};
    Functions::for_each<float>(
        [&]<class Op>(int i) { operations[kFirstFunction + i] = {Op::info, Family::function, false}; });
  }
};

inline constexpr Registry kRegistry;

}  // namespace brazen
