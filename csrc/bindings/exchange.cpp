// SPDX-License-Identifier: BSD-3-Clause
// Finds the table of a type once, and asks it. PyTorch's tensors and parameters; no subclass, which may hold no memory.
#include "exchange.h"

#include "array_sources.h"

namespace brazen::bindings {

namespace {

struct ExchangeHeader {
  dlpack::Version version;
  ExchangeHeader* older;
};

struct Exchange {
  ExchangeHeader header;
  void* allocate;
  void* export_owned;
  void* import_owned;
  int (*lend)(void* object, dlpack::Tensor* out);  // may be null; 0, or -1 with a Python exception
  void* current_stream;
};

// Types are few and live on: the reference keeps their address from being another type's.
struct Known {
  PyTypeObject* type = nullptr;
  const Exchange* exchange = nullptr;
};

const Exchange* look_up(PyTypeObject* type) {
  const py::object capsule = py::getattr(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__", py::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  const auto* found = static_cast<const Exchange*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  return found->header.version.major == 1 && found->lend ? found : nullptr;
}

bool is_plain(PyTypeObject* type) {
  PyObject* torch = loaded_module("torch");
  if (!torch) return false;
  const py::object tensor = py::getattr(torch, "Tensor", py::none());
  const py::object parameter = py::getattr(py::getattr(torch, "nn", py::none()), "Parameter", py::none());
  PyObject* object = reinterpret_cast<PyObject*>(type);
  return object == tensor.ptr() || object == parameter.ptr();
}

const Exchange* exchange_of(PyTypeObject* type) {
  static Known known[2];
  for (const Known& entry : known)
    if (entry.type == type) return entry.exchange;
  if (!is_plain(type)) return nullptr;
  for (Known& entry : known)
    if (!entry.type) {
      Py_INCREF(type);
      entry = {type, look_up(type)};
      return entry.exchange;
    }
  return nullptr;
}

bool is_false(PyObject* value) {
  Py_XDECREF(value);
  PyErr_Clear();
  return value == Py_False;
}

}  // namespace

bool read_exchanged(PyObject* object, dlpack::Tensor& tensor) {
  const Exchange* exchange = exchange_of(Py_TYPE(object));
  if (!exchange) return false;
  static PyObject* const requires_grad = PyUnicode_InternFromString("requires_grad");
  static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
  if (!is_false(PyObject_GetAttr(object, requires_grad)) || !is_false(PyObject_CallMethodNoArgs(object, is_neg)))
    return false;
  if (exchange->lend(object, &tensor) == 0) return tensor.dtype.code != dlpack::kComplex;
  PyErr_Clear();
  return false;
}

}  // namespace brazen::bindings
