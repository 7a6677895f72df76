// SPDX-License-Identifier: BSD-3-Clause
// Windows of images: views of their arrays, checks of shapes and of the window's numbers.
#include "images.h"

#include "arguments.h"
#include "execute.h"

namespace brazen::bindings {
namespace {

void read_pair(const py::object& object, Argument argument, int64_t least, int64_t (&pair)[2]) {
  const py::tuple values = py::tuple(object);
  if (values.size() != 2)
    throw ValueMismatch(argument + "has " + std::to_string(values.size()) + " numbers; expected 2");
  for (int d = 0; d < 2; ++d) {
    pair[d] = read_integer(values[d], argument);
    if (pair[d] < least || pair[d] > (int64_t{1} << 31))
      throw ValueMismatch(argument + "is " + std::to_string(pair[d]) + "; expected at least " + std::to_string(least));
  }
}

// An image array (batch and three axes), contiguous.
ArrayView read_images(const py::object& object, Argument argument, bool written) {
  ArrayView view = written ? read_output(object.ptr(), argument) : read_array(object.ptr(), argument);
  require_compute_dtype(view, argument);
  if (view.ndim != 4)
    throw ValueMismatch(argument + "has shape " + shape_text(view.ndim, view.shape) +
                        "; expected (batch, channels, height, width), or the channels last");
  if (!view.c_contiguous) throw ValueMismatch(argument + "is not contiguous; pass ascontiguousarray of it");
  return view;
}

struct Windows {
  py::object kernel, stride, padding, dilation;
};

ImageCall describe(ImagePass pass, const char* name, const ArrayView& images, bool channels_last,
                   const Windows& windows) {
  ImageCall call{};
  call.pass = pass;
  call.dtype = images.dtype;
  call.channels_last = channels_last;
  call.batch = images.shape[0], call.channels = images.shape[channels_last ? 3 : 1];
  call.height = images.shape[channels_last ? 1 : 2], call.width = images.shape[channels_last ? 2 : 3];
  call.groups = 1;
  read_pair(windows.kernel, {name, "kernel"}, 1, call.kernel);
  read_pair(windows.stride, {name, "stride"}, 1, call.stride);
  read_pair(windows.padding, {name, "padding"}, 0, call.padding);
  read_pair(windows.dilation, {name, "dilation"}, 1, call.dilation);
  for (int d = 0; d < 2; ++d) {
    const int64_t extent = (d ? call.width : call.height) + 2 * call.padding[d];
    const int64_t reach = call.dilation[d] * (call.kernel[d] - 1) + 1;
    if (extent < reach)
      throw ValueMismatch(std::string(name) + ": a window of " + std::to_string(reach) + " pixels does not fit into " +
                          std::to_string(extent));
    call.windows[d] = (extent - reach) / call.stride[d] + 1;
  }
  return call;
}

// Columns may have any shape of the right size: the caller's products want it theirs.
ArrayView read_columns(const py::object& object, const char* operation, const ImageCall& call, bool written) {
  const Argument argument{operation, "columns"};
  ArrayView view = written ? read_output(object.ptr(), argument) : read_array(object.ptr(), argument);
  require_dtype(view, is_16_bit(call.dtype) ? DType::float32 : call.dtype, argument, "the compute type of the images");
  const int64_t wanted = call.batch * call.channels * call.taps() * call.window_count();
  if (view.size() != wanted || !view.c_contiguous)
    throw ValueMismatch(argument + "has shape " + shape_text(view.ndim, view.shape) + "; expected " +
                        std::to_string(wanted) + " numbers, contiguous");
  return view;
}

void set_groups(ImageCall& call, int64_t groups, const char* operation) {
  if (groups < 1 || call.channels % groups)
    throw ValueMismatch(std::string(operation) + ": groups is " + std::to_string(groups) + "; expected a divisor of " +
                        std::to_string(call.channels) + " channels");
  call.groups = groups;
}

py::object to_columns(const py::object& x_object, const py::object& columns_object, bool channels_last, int64_t groups,
                      const py::object& kernel, const py::object& stride, const py::object& padding,
                      const py::object& dilation) {
  constexpr const char* name = "image_columns";
  const ArrayView x = read_images(x_object, {name, "x"}, false);
  ImageCall call = describe(ImagePass::to_columns, name, x, channels_last, {kernel, stride, padding, dilation});
  set_groups(call, groups, name);
  const ArrayView columns = read_columns(columns_object, name, call, true);
  require_same_place(columns, {name, "columns"}, x, "x");
  require_apart(columns, {name, "columns"}, x, "x");
  call.x = x.data, call.out = columns.data;
  execute(call, x, name);
  return columns_object;
}

py::object from_columns(const py::object& columns_object, const py::object& out_object, bool channels_last,
                        int64_t groups, const py::object& kernel, const py::object& stride, const py::object& padding,
                        const py::object& dilation) {
  constexpr const char* name = "image_from_columns";
  const ArrayView out = read_images(out_object, {name, "out"}, true);
  ImageCall call = describe(ImagePass::from_columns, name, out, channels_last, {kernel, stride, padding, dilation});
  set_groups(call, groups, name);
  const ArrayView columns = read_columns(columns_object, name, call, false);
  require_same_place(out, {name, "out"}, columns, "columns");
  require_apart(out, {name, "out"}, columns, "columns");
  call.x = columns.data, call.out = out.data;
  execute(call, out, name);
  return out_object;
}

// kind: "max" or "average".
bool is_max(const std::string& kind) {
  if (kind != "max" && kind != "average")
    throw ValueMismatch("pool: kind is '" + kind + "'; expected 'max' or 'average'");
  return kind == "max";
}

void require_windows(const ArrayView& view, Argument argument, const ImageCall& call) {
  const int64_t last[] = {call.batch, call.windows[0], call.windows[1], call.channels};
  const int64_t first[] = {call.batch, call.channels, call.windows[0], call.windows[1]};
  require_shape(view, argument, 4, call.channels_last ? last : first, "one number for each window and channel");
}

// A window that holds padding alone has no largest element.
void require_pixels(const ImageCall& call) {
  for (int d = 0; d < 2; ++d)
    if (call.padding[d] > (call.dilation[d] * (call.kernel[d] - 1) + 1) / 2)
      throw ValueMismatch("pool: padding is " + std::to_string(call.padding[d]) +
                          "; expected at most half the window, so that each holds a pixel");
}

py::object pool_forward(const std::string& kind, const py::object& x_object, bool channels_last,
                        const py::object& kernel, const py::object& stride, const py::object& padding,
                        const py::object& dilation, bool count_padding, const py::object& out_object) {
  const bool largest = is_max(kind);
  const ArrayView x = read_images(x_object, {"pool", "x"}, false);
  ImageCall call = describe(largest ? ImagePass::max : ImagePass::average, "pool", x, channels_last,
                            {kernel, stride, padding, dilation});
  require_pixels(call);
  const ArrayView out = read_images(out_object, {"pool", "out"}, true);
  require_dtype(out, x.dtype, {"pool", "out"}, "the dtype of x");
  require_same_place(out, {"pool", "out"}, x, "x");
  require_windows(out, {"pool", "out"}, call);
  require_apart(out, {"pool", "out"}, x, "x");
  call.count_padding = count_padding;
  call.x = x.data, call.out = out.data;
  execute(call, x, "pool");
  return out_object;
}

py::object pool_backward(const std::string& kind, const py::object& dy_object, const py::object& x_object,
                         bool channels_last, const py::object& kernel, const py::object& stride,
                         const py::object& padding, const py::object& dilation, bool count_padding,
                         const py::object& dx_object) {
  const bool largest = is_max(kind);
  const ArrayView dx = read_images(dx_object, {"pool", "dx"}, true);
  ImageCall call = describe(largest ? ImagePass::max_gradient : ImagePass::average_gradient, "pool", dx, channels_last,
                            {kernel, stride, padding, dilation});
  require_pixels(call);
  const ArrayView dy = read_images(dy_object, {"pool", "dy"}, false);
  require_dtype(dy, dx.dtype, {"pool", "dy"}, "the dtype of dx");
  require_same_place(dy, {"pool", "dy"}, dx, "dx");
  require_windows(dy, {"pool", "dy"}, call);
  require_apart(dx, {"pool", "dx"}, dy, "dy");
  ArrayView x;
  if (largest) {
    x = read_images(x_object, {"pool", "x"}, false);
    require_dtype(x, dx.dtype, {"pool", "x"}, "the dtype of dx");
    require_same_place(x, {"pool", "x"}, dx, "dx");
    require_shape(x, {"pool", "x"}, 4, dx.shape, "the shape of dx");
    require_apart(dx, {"pool", "dx"}, x, "x");
  }
  call.count_padding = count_padding;
  call.x = x.data, call.dy = dy.data, call.out = dx.data;
  execute(call, dx, "pool");
  return dx_object;
}

}  // namespace

void add_images(py::module_& module) {
  using namespace py::literals;
  module.def("image_columns", to_columns, "x"_a, "columns"_a, "channels_last"_a, "groups"_a, "kernel"_a, "stride"_a,
             "padding"_a, "dilation"_a);
  module.def("image_from_columns", from_columns, "columns"_a, "out"_a, "channels_last"_a, "groups"_a, "kernel"_a,
             "stride"_a, "padding"_a, "dilation"_a);
  module.def("pool_forward", pool_forward, "kind"_a, "x"_a, "channels_last"_a, "kernel"_a, "stride"_a, "padding"_a,
             "dilation"_a, "count_padding"_a, "out"_a);
  module.def("pool_backward", pool_backward, "kind"_a, "dy"_a, "x"_a, "channels_last"_a, "kernel"_a, "stride"_a,
             "padding"_a, "dilation"_a, "count_padding"_a, "dx"_a);
}

}  // namespace brazen::bindings
