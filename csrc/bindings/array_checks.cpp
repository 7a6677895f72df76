// SPDX-License-Identifier: BSD-3-Clause
// What a call may ask of its arrays, and the messages when they do not comply.
#include <pybind11/stl.h>

#include <algorithm>

#include "array_sources.h"

namespace brazen::bindings {

void require_compute_dtype(const ArrayView& array, Argument argument) {
  if (!is_compute(array.dtype))
    throw TypeMismatch(
        argument + "has dtype " + name(array.dtype) + "; expected one of " + kComputeNames + ": " + argument.name +
        (array.library == Library::torch ? ".to(dtype=torch.float32)" : ".astype('float32')") + " converts");
}

void require_dtype(const ArrayView& array, DType dtype, Argument argument, const char* because) {
  if (array.dtype != dtype)
    throw TypeMismatch(argument + "has dtype " + name(array.dtype) + "; expected " + name(dtype) + ", " + because);
}

void require_same_place(const ArrayView& array, Argument argument, const ArrayView& x, const char* x_name) {
  const auto place = [](const ArrayView& view) {
    return view.device == kHost ? std::string("the CPU") : "CUDA device " + std::to_string(view.device);
  };
  if (array.device != x.device)
    throw ValueMismatch(argument + "is on " + place(array) + ", " + x_name + " on " + place(x) + "; move one of them");
  if (array.library != x.library)
    throw TypeMismatch(argument + "is " + type_name(array.object) + ", " + x_name + " is " + type_name(x.object) +
                       "; pass arrays of one library");
}

void require_shape(const ArrayView& array, Argument argument, int ndim, const int64_t* shape, const char* because) {
  if (array.ndim != ndim || !std::equal(shape, shape + ndim, array.shape))
    throw ValueMismatch(argument + "has shape " + shape_text(array.ndim, array.shape) + "; expected " +
                        shape_text(ndim, shape) + ", " + because);
}

namespace {

struct Extent {
  const char *low, *high;
};

Extent extent(const ArrayView& array) {
  Extent result{array.data, array.data + itemsize(array.dtype)};
  for (int d = 0; d < array.ndim; ++d) {
    const int64_t reach = (array.shape[d] - 1) * array.strides[d];
    (reach < 0 ? result.low : result.high) += reach;
  }
  return result;
}

// Asks NumPy's bounded solver about two memory shapes; it computes with addresses and touches nothing.
bool share_memory(const ArrayView& a, const ArrayView& b) {
  const auto shadow = [](const ArrayView& view) {
    py::dict interface;
    interface["version"] = 3;
    interface["shape"] = py::tuple(py::cast(std::vector<int64_t>(view.shape, view.shape + view.ndim)));
    interface["strides"] = py::tuple(py::cast(std::vector<int64_t>(view.strides, view.strides + view.ndim)));
    interface["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(view.data), true);
    interface["typestr"] = "|V" + std::to_string(itemsize(view.dtype));
    py::object holder =
        py::module_::import("types").attr("SimpleNamespace")(py::arg("__array_interface__") = interface);
    return py::module_::import("numpy").attr("asarray")(holder);
  };
  const py::module_ numpy = py::module_::import("numpy");
  try {
    return numpy.attr("shares_memory")(shadow(a), shadow(b), py::arg("max_work") = 100000).cast<bool>();
  } catch (py::error_already_set&) {
    return true;  // too hard to tell: refused like an overlap
  }
}

}  // namespace

void require_apart(const ArrayView& out, Argument argument, const ArrayView& input, const char* input_name) {
  if (out.size() == 0 || input.size() == 0) return;
  const Extent a = extent(out), b = extent(input);
  if (a.high <= b.low || b.high <= a.low || !share_memory(out, input)) return;
  throw ValueMismatch(argument + "overlaps " + input_name + " in memory; pass an array apart");
}

void require_no_partial_overlap(const ArrayView& out, Argument argument, const ArrayView& input,
                                const char* input_name) {
  if (out.size() == 0 || input.size() == 0) return;
  const Extent a = extent(out), b = extent(input);
  if (a.high <= b.low || b.high <= a.low) return;
  bool same = out.data == input.data && out.ndim == input.ndim && out.dtype == input.dtype;
  for (int d = 0; d < out.ndim && same; ++d)
    same = out.shape[d] == input.shape[d] && (out.shape[d] == 1 || out.strides[d] == input.strides[d]);
  if (same || !share_memory(out, input)) return;
  throw ValueMismatch(argument + "overlaps " + input_name + " in memory without being it; pass an array apart, or " +
                      input_name + " itself");
}

int normalize_axis(int64_t axis, int ndim, const char* operation) {
  if (axis < -ndim || axis >= ndim)
    throw ValueMismatch(std::string(operation) + ": axis is " + std::to_string(axis) + "; x has " +
                        std::to_string(ndim) + " dimensions");
  return static_cast<int>(axis < 0 ? axis + ndim : axis);
}

std::string shape_text(int ndim, const int64_t* shape) {
  std::string text = "(";
  for (int d = 0; d < ndim; ++d) text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + (ndim == 1 ? ",)" : ")");
}

}  // namespace brazen::bindings
