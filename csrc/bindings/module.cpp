// SPDX-License-Identifier: BSD-3-Clause
// The extension module: registers every binding, the errors, and what the doctor asks.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../cpu/elementwise.h"
#include "../cpu/isa.h"
#include "../cpu/threads.h"
#include "arrays.h"
#include "batch_norm.h"
#include "chain.h"
#include "chain_sums.h"
#include "convert.h"
#include "execute.h"
#include "gates.h"
#include "images.h"
#include "indexed_rows.h"
#include "kernel.h"
#include "losses.h"
#include "optim.h"
#include "random.h"
#include "rows.h"
#include "tensor_functions.h"

namespace brazen::bindings {
namespace {

const char* family_name(Family family) {
  constexpr const char* names[] = {"activation", "gate", "prelu", "maxout", "function"};
  return names[static_cast<int>(family)];
}

py::list operations() {
  py::list list;
  for (int i = 0; i < kOperations; ++i) {
    if (i == kPreluAlpha) continue;  // not public
    const Operation& operation = kRegistry.operations[i];
    py::dict parameters, entry;
    for (int p = 0; p < operation.info.parameter_count(); ++p) {
      const Parameter& parameter = operation.info.parameters[p];
      parameters[parameter.name] = parameter.standard == parameter.standard ? py::object(py::float_(parameter.standard))
                                                                            : py::object(py::none());
    }
    entry["name"] = operation_name(i);
    entry["family"] = family_name(operation.family);
    entry["parameters"] = parameters;
    list.append(entry);
  }
  return list;
}

void stream_copy(const py::object& to_object, const py::object& from_object) {
  const ArrayView from = read_array(from_object.ptr(), {"stream_copy", "source"});
  const ArrayView to = read_output(to_object.ptr(), {"stream_copy", "target"});
  if (from.device != kHost || to.device != kHost || !from.c_contiguous || !to.c_contiguous ||
      from.size() * itemsize(from.dtype) != to.size() * itemsize(to.dtype))
    throw ValueMismatch("stream_copy: target and source must be contiguous host arrays of equally many bytes");
  require_no_partial_overlap(to, {"stream_copy", "target"}, from, "source");
  const py::gil_scoped_release release;
  cpu::stream_copy(to.data, from.data, from.size() * itemsize(from.dtype));
}

}  // namespace
}  // namespace brazen::bindings

PYBIND11_MODULE(_core, module) {
  namespace py = pybind11;
  using namespace brazen;
  using namespace brazen::bindings;
  using namespace py::literals;

  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const TypeMismatch& error) {
      py::set_error(PyExc_TypeError, error.what());
    } catch (const ValueMismatch& error) {
      py::set_error(PyExc_ValueError, error.what());
    }
  });

  module.doc() = "The compiled part of brazen; everything public about it is re-exported by the package.";
  add_kernel_type(module);
  add_convert(module);
  add_gates(module);
  add_images(module);
  add_indexed_rows(module);
  add_batch_norm(module);
  add_chain(module);
  add_chain_sums(module);
  add_random(module);
  add_optim(module);
  add_losses(module);
  add_tensor_functions(module);
  add_rows(module);
  module.def("operations", operations, "The registry: name, family and parameters of every operation.");
  module.def("isa", [] { return std::string(cpu::kernels().isa); }, "The instruction set in use.");
  module.def("isas", cpu::runnable_isas, "The instruction sets this build and machine can run, best first.");
  module.def("set_isa", cpu::set_isa, "name"_a, "Test-only: switches the kernels; '' returns to the best.");
  module.def("num_threads", cpu::thread_count);
  module.def("set_num_threads", cpu::set_thread_count, "threads"_a);
  module.def("region_count", cpu::region_count, "Test-only: parallel regions begun so far.");
  module.def("available_cpus", cpu::available_cpus);
  module.def("cuda_info", cuda_info);
  module.def("load_cuda_library", load_cuda_library, "path"_a, "Test-only: opens another library behind the CUDA ABI.");
  module.def("stream_copy", stream_copy, "target"_a, "source"_a,
             "A copy by all threads past the caches: the benchmarks' unit.");
}
