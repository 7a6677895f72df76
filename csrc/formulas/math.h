// SPDX-License-Identifier: BSD-3-Clause
// Elementary functions in float and double that give the same bits on every target; no activation and no loop belongs
// here.
#pragma once

#include "formula.h"
#include "math_angle.h"
#include "math_double.h"
#include "math_float.h"
