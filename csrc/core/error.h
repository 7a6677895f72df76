// SPDX-License-Identifier: BSD-3-Clause
// The two ways a call can be wrong, as C++ exceptions; bindings/ turns them into Python's TypeError and ValueError.
#pragma once

#include <stdexcept>
#include <string>

namespace brazen {

// The argument is of a kind no call accepts: dtype, library, device.
struct TypeMismatch : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// The argument is of the right kind with a wrong value: shape, overlap, range.
struct ValueMismatch : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace brazen
