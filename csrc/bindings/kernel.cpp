// SPDX-License-Identifier: BSD-3-Clause
// Kernel: forward or backward of one registered activation, called as f(x, *parameters, out) or f(dy, x, *parameters,
// out). Written against the C API, because a call of 1,000 elements lasts about half a microsecond.
#include "kernel.h"

#include <structmember.h>

#include <string_view>

#include "arguments.h"
#include "execute.h"

namespace brazen::bindings {
namespace {

constexpr int kMaxSlots = 2 + kMaxParameters + 1;

struct Kernel {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  int operation;
  Direction direction;
  int array_count;
  int parameter_count;
  double parameters[kMaxParameters];
  const char* name;
  PyObject* slot_names[kMaxSlots];  // interned: arrays, parameters, "out"
  PyObject* aliases;                // dict of str -> str, or null

  int slot_count() const { return array_count + parameter_count + 1; }
};

// A text for messages; a str may hold what UTF-8 cannot.
std::string text_of(PyObject* string) {
  if (const char* text = PyUnicode_AsUTF8(string)) return text;
  PyErr_Clear();
  return "(not UTF-8)";
}

int find_own_slot(const Kernel& kernel, PyObject* keyword) {
  for (int slot = 0; slot < kernel.slot_count(); ++slot)
    if (kernel.slot_names[slot] == keyword) return slot;
  for (int slot = 0; slot < kernel.slot_count(); ++slot)
    if (PyUnicode_Compare(kernel.slot_names[slot], keyword) == 0) return slot;
  return -1;
}

// An alias means one of the kernel's own names, never another alias: the dict is the caller's and may say anything.
int find_slot(const Kernel& kernel, PyObject* keyword) {
  const int slot = find_own_slot(kernel, keyword);
  if (slot >= 0 || !kernel.aliases) return slot;
  PyObject* meant = PyDict_GetItem(kernel.aliases, keyword);
  return meant && PyUnicode_Check(meant) ? find_own_slot(kernel, meant) : -1;
}

std::string signature(const Kernel& kernel) {
  std::string text = std::string(kernel.name) + (kernel.direction == Direction::backward ? ".backward(" : "(");
  for (int slot = 0; slot < kernel.slot_count(); ++slot) text += (slot ? ", " : "") + text_of(kernel.slot_names[slot]);
  return text + ")";
}

double read_parameter(const char* operation, const std::string& name, PyObject* value) {
  const double number = PyFloat_AsDouble(value);
  if (number != -1.0 || !PyErr_Occurred()) return number;
  PyErr_Clear();
  throw TypeMismatch(std::string(operation) + ": " + name + " is " + Py_TYPE(value)->tp_name +
                     "; expected a real number that float64 can hold");
}

py::object run(const Kernel& kernel, PyObject* const* slots) {
  const bool backward = kernel.direction == Direction::backward;
  ElementwiseCall call;
  call.operation = kernel.operation;
  call.direction = kernel.direction;
  call.input_count = kernel.array_count;
  call.pieces = 0;
  PyObject* given = slots[kernel.slot_count() - 1];
  if (given == Py_None) given = nullptr;
  call.fresh = !given;
  for (int p = 0; p < kernel.parameter_count; ++p) {
    const int slot = kernel.array_count + p;
    call.parameters[p] =
        slots[slot] ? read_parameter(kernel.name, text_of(kernel.slot_names[slot]), slots[slot]) : kernel.parameters[p];
    if (!slots[slot] && call.parameters[p] != call.parameters[p])
      throw TypeMismatch(std::string(kernel.name) + ": " + text_of(kernel.slot_names[slot]) + " is missing; call " +
                         signature(kernel));
  }

  const Argument x_argument{kernel.name, "x"}, dy_argument{kernel.name, "dy"}, out_argument{kernel.name, "out"};
  const ArrayView x = read_array(slots[backward ? 1 : 0], x_argument);
  require_compute_dtype(x, x_argument);
  for (int p = 0; p < kernel.parameter_count; ++p)
    require_domain(kernel.name, kRegistry.operations[kernel.operation].info.parameters[p], call.parameters[p], x.dtype);
  ArrayView dy;
  if (backward) {
    dy = read_array(slots[0], dy_argument);
    require_dtype(dy, x.dtype, dy_argument, "the dtype of x");
    require_same_place(dy, dy_argument, x, "x");
    require_shape(dy, dy_argument, x.ndim, x.shape, "the shape of x");
  }

  ArrayView out;
  if (given) {
    out = read_output(given, out_argument);
    require_dtype(out, x.dtype, out_argument, "the dtype of x");
    require_same_place(out, out_argument, x, "x");
    require_shape(out, out_argument, x.ndim, x.shape, "the shape of x");
    require_no_partial_overlap(out, out_argument, x, "x");
    if (backward) require_no_partial_overlap(out, out_argument, dy, "dy");
  } else {
    out = new_like(x);
  }

  // Of a slope of 1 the gradient is the value of dy.
  const bool reads_x = !backward || !kRegistry.operations[kernel.operation].unit_slope;
  if (!reads_x) call.direction = Direction::forward, call.input_count = 1;
  Layout& layout = call.layout;
  if (x.c_contiguous && out.c_contiguous && (!backward || dy.c_contiguous)) {
    const int64_t size = x.size(), stride = itemsize(x.dtype);
    layout.set_shape(1, &size);
    if (backward) layout.add(dy.data, x.dtype, &stride);
    if (reads_x) layout.add(x.data, x.dtype, &stride);
    layout.add(out.data, x.dtype, &stride);
  } else {
    layout.set_shape(x.ndim, x.shape);
    if (backward) layout.add(dy.data, x.dtype, dy.strides);
    if (reads_x) layout.add(x.data, x.dtype, x.strides);
    layout.add(out.data, x.dtype, out.strides);
    layout.simplify(true, layout.operand_count - 1);
  }
  execute(call, x);
  return given ? py::reinterpret_borrow<py::object>(given) : finish(out);
}

PyObject* raise(PyObject* type, const std::exception& error) {
  PyErr_SetString(type, error.what());
  return nullptr;
}

PyObject* call_kernel(PyObject* self, PyObject* const* arguments, size_t flagged_count, PyObject* keywords) {
  const Kernel& kernel = *reinterpret_cast<Kernel*>(self);
  try {
    const int positional = static_cast<int>(PyVectorcall_NARGS(flagged_count));
    PyObject* slots[kMaxSlots] = {};
    if (positional > kernel.slot_count())
      throw TypeMismatch(std::string(kernel.name) + ": " + std::to_string(positional) + " arguments given; call " +
                         signature(kernel));
    for (int i = 0; i < positional; ++i) slots[i] = arguments[i];
    const Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < named; ++i) {
      PyObject* keyword = PyTuple_GET_ITEM(keywords, i);
      const int slot = find_slot(kernel, keyword);
      if (slot < 0)
        throw TypeMismatch(std::string(kernel.name) + ": unknown argument " + text_of(keyword) + "; call " +
                           signature(kernel));
      if (slots[slot])
        throw TypeMismatch(std::string(kernel.name) + ": " + text_of(kernel.slot_names[slot]) + " is given twice");
      slots[slot] = arguments[positional + i];
    }
    for (int i = 0; i < kernel.array_count; ++i)
      if (!slots[i])
        throw TypeMismatch(std::string(kernel.name) + ": " + text_of(kernel.slot_names[i]) + " is missing; call " +
                           signature(kernel));
    return run(kernel, slots).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  } catch (const TypeMismatch& error) {
    return raise(PyExc_TypeError, error);
  } catch (const ValueMismatch& error) {
    return raise(PyExc_ValueError, error);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (const std::exception& error) {
    return raise(PyExc_RuntimeError, error);
  }
}

// Kernel(name, direction="forward", parameters=(), aliases=None): parameters replace the registered defaults.
int initialize(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"name", "direction", "parameters", "aliases", nullptr};
  const char *name, *direction = "forward";
  PyObject *parameters = nullptr, *aliases = nullptr;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "s|sO!O", const_cast<char**>(names), &name, &direction,
                                   &PyTuple_Type, &parameters, &aliases))
    return -1;
  try {
    Kernel& kernel = *reinterpret_cast<Kernel*>(self);
    const int number = find_operation(name);
    const Operation& operation = kRegistry.operations[number];
    if ((operation.family != Family::activation && operation.family != Family::function) || number == kPreluAlpha)
      throw ValueMismatch(std::string("Kernel: ") + name + " takes more than one array");
    const bool backward = std::string(direction) == "backward";
    if (!backward && std::string(direction) != "forward")
      throw ValueMismatch(std::string("Kernel: direction is '") + direction + "'; expected 'forward' or 'backward'");
    if (backward && operation.family == Family::function)
      throw ValueMismatch(std::string("Kernel: ") + name + " has no backward");
    if (aliases && aliases != Py_None && !PyDict_Check(aliases)) throw TypeMismatch("Kernel: aliases must be a dict");
    const int count = operation.info.parameter_count();
    const Py_ssize_t given = parameters ? PyTuple_GET_SIZE(parameters) : 0;
    if (given != 0 && given != count)
      throw ValueMismatch("Kernel: " + std::to_string(given) + " parameters given; " + name + " has " +
                          std::to_string(count));
    double values[kMaxParameters];
    for (int p = 0; p < count; ++p) {
      const Parameter& parameter = operation.info.parameters[p];
      values[p] = given ? read_parameter(name, parameter.name, PyTuple_GET_ITEM(parameters, p)) : parameter.standard;
      // NaN stays in place of what every call must give.
      if (values[p] == values[p] || parameter.standard == parameter.standard)
        require_domain(name, parameter, values[p], DType::float64);
    }

    // Nothing is changed before the checks: __init__ may be called again on a kernel in use.
    kernel.operation = number;
    kernel.direction = backward ? Direction::backward : Direction::forward;
    kernel.name = operation.info.name;
    kernel.vectorcall = call_kernel;
    kernel.array_count = backward ? 2 : 1;
    kernel.parameter_count = count;
    for (PyObject*& slot_name : kernel.slot_names) Py_CLEAR(slot_name);
    int slot = 0;
    if (backward) kernel.slot_names[slot++] = PyUnicode_InternFromString("dy");
    kernel.slot_names[slot++] = PyUnicode_InternFromString("x");
    for (int p = 0; p < count; ++p) {
      kernel.parameters[p] = values[p];
      kernel.slot_names[slot++] = PyUnicode_InternFromString(operation.info.parameters[p].name);
    }
    kernel.slot_names[slot] = PyUnicode_InternFromString("out");
    PyObject* kept = aliases == Py_None ? nullptr : aliases;
    Py_XINCREF(kept);
    Py_XSETREF(kernel.aliases, kept);
    return 0;
  } catch (const TypeMismatch& error) {
    raise(PyExc_TypeError, error);
  } catch (const std::exception& error) {
    raise(PyExc_ValueError, error);
  }
  return -1;
}

void deallocate(PyObject* self) {
  Kernel& kernel = *reinterpret_cast<Kernel*>(self);
  for (PyObject* name : kernel.slot_names) Py_XDECREF(name);
  Py_XDECREF(kernel.aliases);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// A subclass instance that was never initialised must not jump through a null pointer.
PyObject* uninitialized(PyObject*, PyObject* const*, size_t, PyObject*) {
  PyErr_SetString(PyExc_TypeError, "Kernel: __init__ was not called");
  return nullptr;
}

PyObject* allocate(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self) reinterpret_cast<Kernel*>(self)->vectorcall = uninitialized;
  return self;
}

PyObject* get_parameters(PyObject* self, void*) {
  const Kernel& kernel = *reinterpret_cast<Kernel*>(self);
  PyObject* values = PyTuple_New(kernel.parameter_count);
  for (int p = 0; values && p < kernel.parameter_count; ++p)
    PyTuple_SET_ITEM(values, p, PyFloat_FromDouble(kernel.parameters[p]));
  return values;
}

PyTypeObject* kernel_type = nullptr;  // owned for the process

PyObject* get_operation(PyObject* self, void*) { return PyLong_FromLong(reinterpret_cast<Kernel*>(self)->operation); }

}  // namespace

void add_kernel_type(py::module_& module) {
  static PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(Kernel, vectorcall), READONLY, nullptr},
                                  {}};
  static PyGetSetDef properties[] = {
      {"parameters", get_parameters, nullptr, "The values used where a call gives none.", nullptr},
      {"operation", get_operation, nullptr, "The number in the registry.", nullptr},
      {}};
  static PyType_Slot slots[] = {{Py_tp_init, reinterpret_cast<void*>(initialize)},
                                {Py_tp_new, reinterpret_cast<void*>(allocate)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
                                {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_members, members},
                                {Py_tp_getset, properties},
                                {Py_tp_doc, const_cast<char*>("One direction of a registered activation.")},
                                {0, nullptr}};
  static PyType_Spec spec = {"brazen._core.Kernel", sizeof(Kernel), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  kernel_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  module.add_object("Kernel", py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(kernel_type)));
}

bool is_kernel(PyObject* object) { return PyObject_TypeCheck(object, kernel_type); }

KernelView view_kernel(PyObject* object) {
  const Kernel& kernel = *reinterpret_cast<Kernel*>(object);
  if (!kernel.name) throw TypeMismatch("Kernel: __init__ was not called");
  KernelView view{kernel.operation, {}};
  for (int p = 0; p < kernel.parameter_count; ++p) view.parameters[p] = kernel.parameters[p];
  return view;
}

std::string operation_name(int operation) {
  const Operation& entry = kRegistry.operations[operation];
  return (entry.family == Family::function ? "math." : "") + std::string(entry.info.name);
}

int find_operation(const std::string& name) {
  const bool function = name.starts_with("math.");
  const std::string_view bare = std::string_view(name).substr(function ? 5 : 0);
  for (int i = 0; i < kOperations; ++i)
    if (bare == kRegistry.operations[i].info.name && i != kPreluAlpha &&
        function == (kRegistry.operations[i].family == Family::function))
      return i;
  std::string known;
  for (int i = 0; i < kOperations; ++i)
    if (i != kPreluAlpha) known += (i ? ", " : "") + operation_name(i);
  throw ValueMismatch("unknown operation '" + name + "'; registered are " + known);
}

}  // namespace brazen::bindings
