// SPDX-License-Identifier: BSD-3-Clause
// The optimizers' bindings: the list of rules, and the list of tensors they are applied to.
#include "optim.h"

#include <pybind11/stl.h>

#include "tensor_list.h"

namespace brazen::bindings {
namespace {

py::list updates() {
  py::list list;
  Updates::for_each<float>([&]<class Rule>(int number) {
    py::dict entry, hyper;
    py::list states;
    for (int i = 0; i < Rule::info.hyper_count(); ++i) hyper[Rule::info.hyper[i].name] = Rule::info.hyper[i].standard;
    for (int i = 0; i < Rule::info.state_count(); ++i) states.append(Rule::info.states[i]);
    entry["name"] = Rule::info.name;
    entry["number"] = number;
    entry["hyper"] = hyper;
    entry["states"] = states;
    entry["layerwise"] = is_layerwise<Rule>;
    entry["factored"] = is_factored_rule<Rule>;
    list.append(entry);
  });
  return list;
}

}  // namespace

void add_optim(py::module_& module) {
  using namespace py::literals;
  module.def("updates", updates, "Every optimizer's rule: name, number, hyper-parameters with defaults, states.");
  module.attr("max_hyper") = kMaxHyper;
  module.attr("group_settings") = kGroupSettings;
  module.attr("first_state") = static_cast<int>(kFirstState);
  module.attr("average_role") = static_cast<int>(kAverage);
  module.attr("copy_role") = static_cast<int>(kCopy);
  py::class_<TensorList>(module, "TensorList")
      .def(py::init<const py::list&, const py::list&, const std::vector<std::string>&, const std::vector<int>&>(),
           "containers"_a, "keys"_a, "names"_a, "groups"_a)
      .def("set", &TensorList::set, "role"_a, "arrays"_a)
      .def("set_units", &TensorList::set_units, "max_norm"_a, "agc"_a)
      .def("set_axes", &TensorList::set_axes, "arrays"_a)
      .def("bind", &TensorList::bind, "grads"_a)
      .def("may_clear", &TensorList::may_clear, "grads"_a)
      .def("let_clear", &TensorList::let_clear, "grads"_a)
      .def("step", &TensorList::step, "rule"_a, "grads"_a, "settings"_a, "options"_a, "rounding"_a = py::none(),
           "scalars"_a = py::list())
      .def("set_device_memory", &TensorList::set_device_memory, "memory"_a, "tensor_memory"_a)
      .def_property_readonly("on_device", &TensorList::on_device)
      .def_property_readonly("captured", &TensorList::captured)
      .def("param", &TensorList::param, "index"_a)
      .def("__len__", &TensorList::size)
      .def_property("memory", &TensorList::memory, &TensorList::set_memory)
      .def_property("tensor_memory", &TensorList::tensor_memory, &TensorList::set_tensor_memory);
}

}  // namespace brazen::bindings
