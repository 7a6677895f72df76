// SPDX-License-Identifier: BSD-3-Clause
// Fills of arrays with what the generator draws: their kinds and dtypes.
#include "random.h"

#include "arguments.h"
#include "execute.h"

namespace brazen::bindings {
namespace {

py::object fill(const std::string& kind, const py::object& out_object, double scale, double shift, uint32_t threshold,
                const py::object& seed, const py::object& step, const py::object& site, const py::object& offset) {
  const Argument argument{"random", "out"};
  ArrayView out = read_output(out_object.ptr(), argument);
  FillCall call;
  if (kind == "bernoulli") {
    call.kind = FillCall::Kind::bernoulli;
    if (out.dtype != DType::boolean && out.dtype != DType::uint8)
      throw TypeMismatch(argument + "has dtype " + name(out.dtype) + "; expected bool or uint8");
  } else if (kind == "words") {
    call.kind = FillCall::Kind::words;
    require_dtype(out, DType::int64, argument, "the generator's words");
  } else {
    if (kind != "uniform" && kind != "normal")
      throw ValueMismatch("random: kind is '" + kind + "'; expected 'uniform', 'normal', 'bernoulli' or 'words'");
    call.kind = kind == "uniform" ? FillCall::Kind::uniform : FillCall::Kind::normal;
    require_compute_dtype(out, argument);
  }
  call.threshold = threshold;
  call.scale = scale, call.shift = shift;
  call.key.seed = read_unsigned(seed, {"random", "seed"}, ~uint64_t{0});
  call.key.step = static_cast<uint32_t>(read_unsigned(step, {"random", "step"}, 0xffffffffu));
  call.key.site = static_cast<uint32_t>(read_unsigned(site, {"random", "site"}, 0xffffffffu));
  call.first_index = static_cast<int64_t>(read_unsigned(offset, {"random", "offset"}, kMaxIndex));
  call.layout.set_shape(out.ndim, out.shape);
  call.layout.add(out.data, out.dtype, out.strides);
  call.layout.simplify(false, 0);
  execute(call, out, "random");
  return out_object;
}

}  // namespace

void add_random(py::module_& module) {
  using namespace py::literals;
  module.def("random_fill", fill, "kind"_a, "out"_a, "scale"_a, "shift"_a, "threshold"_a, "seed"_a, "step"_a, "site"_a,
             "offset"_a, "Fills `out` in C order of its shape.");
}

}  // namespace brazen::bindings
