// SPDX-License-Identifier: BSD-3-Clause
// What reading and making arrays share: each library's arrays as views. For arrays.cpp and new_arrays.cpp alone.
#pragma once

#include "arrays.h"

namespace brazen::bindings {

inline constexpr const char* kComputeNames = "float16, bfloat16, float32, float64";

std::string type_name(PyObject* object);

// ml_dtypes' bfloat16 once an array of it has been read, else null: ml_dtypes assigns its number at run time.
PyObject* known_bfloat16();

// A module that is already imported, or null: looking must not import.
PyObject* loaded_module(const char* name);

// The first part of the name of the module that defines the object's type.
std::string root_module(PyObject* object);

// Gives the view extents of its own; strides in bytes.
void set_extents(ArrayView& view, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides);

ArrayView read_numpy(PyObject* object, Argument argument);
ArrayView read_cupy(PyObject* object, Argument argument);
ArrayView read_dlpack(PyObject* object, Argument argument);

}  // namespace brazen::bindings
