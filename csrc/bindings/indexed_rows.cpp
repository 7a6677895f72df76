// SPDX-License-Identifier: BSD-3-Clause
// Sums of rows by index: views of the arrays, and that they agree.
#include "indexed_rows.h"

#include "arguments.h"
#include "execute.h"

namespace brazen::bindings {
namespace {

void require_contiguous(const ArrayView& view, Argument argument) {
  if (!view.c_contiguous) throw ValueMismatch(argument + "is not contiguous; pass ascontiguousarray of it");
  if (reinterpret_cast<uintptr_t>(view.data) % itemsize(view.dtype))
    throw ValueMismatch(argument + "does not lie at a multiple of its elements' size; pass a copy of it");
}

// out (rows, columns), of the compute type of x (positions, columns); indices has any shape of that many positions.
py::object sum_rows(const py::object& x_object, const py::object& indices_object, const py::object& out_object) {
  const Argument x_argument{"sum_rows", "x"}, indices_argument{"sum_rows", "indices"}, out_argument{"sum_rows", "out"};
  const ArrayView x = read_x(x_object, x_argument);
  const ArrayView indices = read_array(indices_object.ptr(), indices_argument);
  const ArrayView out = read_output(out_object.ptr(), out_argument);
  if (indices.dtype < DType::uint8 || indices.dtype == DType::boolean)
    throw TypeMismatch(indices_argument + "has dtype " + name(indices.dtype) + "; expected int32, int64 or uint8");
  require_dtype(out, x.dtype == DType::float64 ? DType::float64 : DType::float32, out_argument,
                "the type that sums of x are computed in");
  if (out.ndim != 2)
    throw ValueMismatch(out_argument + "has shape " + shape_text(out.ndim, out.shape) + "; expected (rows, columns)");
  const int64_t expected[] = {indices.size(), out.shape[1]};
  require_shape(x, x_argument, 2, expected, "one row for each index, as long as those of out");
  require_same_place(indices, indices_argument, x, "x");
  require_same_place(out, out_argument, x, "x");
  require_contiguous(x, x_argument);
  require_contiguous(indices, indices_argument);
  require_contiguous(out, out_argument);
  require_apart(out, out_argument, x, "x");
  require_apart(out, out_argument, indices, "indices");
  const IndexedRowsCall call{indices.size(), out.shape[0], out.shape[1], indices.dtype, x.dtype,
                             out.dtype,      indices.data, x.data,       out.data};
  execute(call, x);
  return out_object;
}

}  // namespace

void add_indexed_rows(py::module_& module) {
  using namespace py::literals;
  module.def("sum_rows", sum_rows, "x"_a, "indices"_a, "out"_a);
}

}  // namespace brazen::bindings
