// SPDX-License-Identifier: BSD-3-Clause
// Python arrays of any library as plain views, and new arrays of the same library. No operation here.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "../core/dtype.h"
#include "../core/error.h"
#include "../core/layout.h"

namespace brazen::bindings {

namespace py = pybind11;

enum class Library { numpy, cupy, torch, other };

inline constexpr int kHost = -1;

// Names the argument in every message: "gelu: x has dtype int32; ...".
struct Argument {
  const char* operation;
  const char* name;

  std::string operator+(const std::string& text) const { return std::string(operation) + ": " + name + " " + text; }
};

struct ArrayView {
  char* data = nullptr;
  DType dtype = DType::float32;
  int ndim = 0;
  const int64_t* shape = nullptr;    // NumPy's own, or `own_extents`
  const int64_t* strides = nullptr;  // bytes
  bool writable = false;
  bool c_contiguous = false;
  Library library = Library::numpy;
  int device = kHost;
  void* stream = nullptr;
  PyObject* object = nullptr;  // borrowed from the caller, or owned by `keep`
  py::object keep;             // a DLPack capsule, or the new array itself
  std::vector<int64_t> own_extents;

  ArrayView() = default;
  ArrayView(ArrayView&&) = default;
  ArrayView& operator=(ArrayView&&) = default;

  int64_t size() const {
    int64_t product = 1;
    for (int d = 0; d < ndim; ++d) product *= shape[d];
    return product;
  }
};

// Throws TypeMismatch for what is not an array, a foreign byte order, or a dtype that no call knows.
ArrayView read_array(PyObject* object, Argument argument);

// The same for an array to be written: read-only, self-overlapping and immutable ones are refused.
ArrayView read_output(PyObject* object, Argument argument);

// The stream that work on such arrays belongs on now; null for arrays of the CPU.
void* current_stream(Library library, int device);

// Uninitialised, of x's library, device and dtype; in x's memory order where the shape is x's, else in C order.
ArrayView new_like(const ArrayView& x);
ArrayView new_like(const ArrayView& x, const std::vector<int64_t>& shape, DType dtype);

// The Python object to hand back for an array made by new_like.
py::object finish(ArrayView& made);

void require_compute_dtype(const ArrayView& array, Argument argument);
void require_dtype(const ArrayView& array, DType dtype, Argument argument, const char* because);
// `array` must live where `x` lives; 'x' is named `x_name` in the message.
void require_same_place(const ArrayView& array, Argument argument, const ArrayView& x, const char* x_name);
void require_shape(const ArrayView& array, Argument argument, int ndim, const int64_t* shape, const char* because);
// `out` may be `input` itself, element for element, or apart from it.
void require_no_partial_overlap(const ArrayView& out, Argument argument, const ArrayView& input,
                                const char* input_name);
// `out` must not share memory with `input`, nor be it.
void require_apart(const ArrayView& out, Argument argument, const ArrayView& input, const char* input_name);

int normalize_axis(int64_t axis, int ndim, const char* operation);

std::string shape_text(int ndim, const int64_t* shape);

}  // namespace brazen::bindings
