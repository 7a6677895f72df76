// SPDX-License-Identifier: BSD-3-Clause
// Reads NumPy arrays by their struct, CuPy arrays by their attributes, everything else through DLPack.
#include "arrays.h"

#include <algorithm>

#include "array_sources.h"
#include "dlpack.h"
#include "exchange.h"

namespace brazen::bindings {

using py::detail::npy_api;

namespace {

// ml_dtypes assigns bfloat16's number at run time: its dtype object is learned from its name once.
PyObject* learned_bfloat16 = nullptr;

bool is_bfloat16(PyObject* descr) {
  if (descr == learned_bfloat16) return true;
  const int number = py::detail::array_descriptor_proxy(descr)->type_num;
  // A copy of the dtype, with metadata say, has the number but not the identity.
  if (learned_bfloat16) return number == py::detail::array_descriptor_proxy(learned_bfloat16)->type_num;
  if (std::string(py::str(py::handle(descr))) != "bfloat16") return false;
  learned_bfloat16 = py::handle(descr).inc_ref().ptr();
  return true;
}

DType read_descr(PyObject* descr, Argument argument) {
  const auto* proxy = py::detail::array_descriptor_proxy(descr);
  if (proxy->byteorder == '>')
    throw TypeMismatch(argument + "has big-endian dtype " + std::string(py::str(py::handle(descr))) +
                       "; convert it with " + argument.name + ".astype(" + argument.name + ".dtype.newbyteorder('='))");
  switch (proxy->type_num) {
    case npy_api::NPY_FLOAT_: return DType::float32;
    case npy_api::NPY_DOUBLE_: return DType::float64;
    case 23: return DType::float16;
    case npy_api::NPY_UBYTE_: return DType::uint8;
    case npy_api::NPY_BOOL_: return DType::boolean;
    case npy_api::NPY_INT_: return DType::int32;
    case npy_api::NPY_LONG_:
    case npy_api::NPY_LONGLONG_: return DType::int64;
    default: break;
  }
  if (is_bfloat16(descr)) return DType::bfloat16;
  throw TypeMismatch(argument + "has dtype " + std::string(py::str(py::handle(descr))) + "; expected one of " +
                     kComputeNames + ": " + argument.name + ".astype('float32') converts");
}

py::object loaded_attribute(const char* module, const char* attribute) {
  PyObject* found = loaded_module(module);
  return found ? py::getattr(found, attribute, py::none()) : py::object(py::none());
}

bool is_instance_of(PyObject* object, const char* module, const char* type) {
  const py::object wanted = loaded_attribute(module, type);
  return !wanted.is_none() && PyObject_IsInstance(object, wanted.ptr()) == 1;
}

bool same_c_order(int ndim, const int64_t* shape, const int64_t* strides, int64_t item) {
  int64_t expected = item;
  for (int d = ndim - 1; d >= 0; --d) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

// Attribute names made once: an attribute read costs about 50 ns, a name made for it as much again.
struct Names {
  PyObject *dtype, *data, *ptr, *device, *id, *shape, *strides, *cuda, *get_current_stream;

  Names() {
    const auto intern = [](const char* name) { return PyUnicode_InternFromString(name); };
    dtype = intern("dtype"), data = intern("data"), ptr = intern("ptr"), device = intern("device"), id = intern("id");
    shape = intern("shape"), strides = intern("strides"), cuda = intern("cuda");
    get_current_stream = intern("get_current_stream");
  }
};

const Names& names() {
  static const Names made;
  return made;
}

py::object attribute(py::handle object, PyObject* name) {
  PyObject* value = PyObject_GetAttr(object.ptr(), name);
  if (!value) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(value);
}

std::vector<int64_t> integers(const py::object& sequence) {
  const py::tuple tuple(sequence);
  std::vector<int64_t> values(tuple.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple.ptr(), i));
  if (PyErr_Occurred()) throw py::error_already_set();
  return values;
}

void* pointer(const py::object& number) {
  void* value = PyLong_AsVoidPtr(number.ptr());
  if (!value && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

DType read_type(dlpack::Type type, py::handle array, Argument argument) {
  const auto is = [&](dlpack::TypeCode code, int bits) {
    return type.code == code && type.bits == bits && type.lanes == 1;
  };
  if (is(dlpack::kFloat, 16)) return DType::float16;
  if (is(dlpack::kBfloat, 16)) return DType::bfloat16;
  if (is(dlpack::kFloat, 32)) return DType::float32;
  if (is(dlpack::kFloat, 64)) return DType::float64;
  if (is(dlpack::kUint, 8)) return DType::uint8;
  if (is(dlpack::kBool, 8)) return DType::boolean;
  if (is(dlpack::kInt, 32)) return DType::int32;
  if (is(dlpack::kInt, 64)) return DType::int64;
  static constexpr const char* kinds[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  // The producer's own name for it, where it has one: DLPack numbers more kinds every year.
  const py::object own = py::getattr(array, "dtype", py::none());
  const std::string text = !own.is_none()  ? std::string(py::str(own))
                           : type.code < 7 ? kinds[type.code] + std::to_string(type.bits)
                                           : "of DLPack code " + std::to_string(type.code);
  const std::string conversion = py::hasattr(array, "astype") ? ".astype('float32')"
                                 : py::hasattr(array, "to")   ? ".to(dtype=torch.float32)"
                                                              : "";
  throw TypeMismatch(argument + "has dtype " + text + "; expected one of " + kComputeNames +
                     (conversion.empty() ? "" : ": " + std::string(argument.name) + conversion + " converts"));
}

void* torch_stream(int device) {
  const py::object stream = py::handle(loaded_module("torch")).attr("cuda").attr("current_stream")(device);
  return reinterpret_cast<void*>(stream.attr("cuda_stream").cast<uintptr_t>());
}

// What to pass instead of a tensor that PyTorch will not export.
std::string exportable(py::handle array, const char* argument_name) {
  const auto is = [&](const char* attribute) {
    const py::object value = py::getattr(array, attribute, py::none());
    return PyBool_Check(value.ptr()) && value.ptr() == Py_True;
  };
  const std::string name = argument_name;
  if (is("requires_grad")) return name + ".detach(), or call its counterpart in brazen.torch, which keeps the graph";
  if (is("is_meta")) return "a tensor that holds data: this one is on the device meta";
  if (py::hasattr(array, "layout") && std::string(py::str(array.attr("layout"))) != "torch.strided")
    return name + ".to_dense()";
  return "a dense tensor of real numbers, or a copy";
}

// The capsule is kept, unconsumed, for as long as the view: its own destructor then releases the memory.
py::object export_capsule(py::handle array, Argument argument) {
  const auto call = [&](const py::dict& keywords) { return array.attr("__dlpack__")(**keywords); };
  py::dict versioned;
  versioned["max_version"] = py::make_tuple(1, 0);
  // -1: no waiting between streams. The kernel is launched on PyTorch's current stream.
  if (py::hasattr(array, "is_cuda") && array.attr("is_cuda").cast<bool>()) versioned["stream"] = -1;
  try {
    return call(versioned);
  } catch (py::error_already_set& error) {
    if (error.matches(PyExc_TypeError)) return call(py::dict());
    if (error.matches(PyExc_BufferError))
      throw TypeMismatch(argument + "cannot be exported (" + std::string(py::str(error.value())) + "); pass " +
                         exportable(array, argument.name));
    throw;
  }
}

}  // namespace

std::string type_name(PyObject* object) { return Py_TYPE(object)->tp_name; }

PyObject* known_bfloat16() { return learned_bfloat16; }

PyObject* loaded_module(const char* name) {
  PyObject* modules = PyImport_GetModuleDict();
  return PyDict_GetItemString(modules, name);
}

std::string root_module(PyObject* object) {
  const std::string module = py::str(py::handle(reinterpret_cast<PyObject*>(Py_TYPE(object))).attr("__module__"));
  return module.substr(0, module.find('.'));
}

void set_extents(ArrayView& view, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  view.ndim = static_cast<int>(shape.size());
  view.own_extents = shape;
  view.own_extents.insert(view.own_extents.end(), strides.begin(), strides.end());
  view.shape = view.own_extents.data();
  view.strides = view.shape + view.ndim;
  view.c_contiguous = view.size() == 0 || same_c_order(view.ndim, view.shape, view.strides, itemsize(view.dtype));
}

ArrayView read_numpy(PyObject* object, Argument argument) {
  const auto* array = py::detail::array_proxy(object);
  ArrayView view;
  view.data = array->data;
  view.dtype = read_descr(array->descr, argument);
  view.ndim = array->nd;
  static_assert(sizeof(ssize_t) == sizeof(int64_t));
  view.shape = reinterpret_cast<const int64_t*>(array->dimensions);
  view.strides = reinterpret_cast<const int64_t*>(array->strides);
  view.writable = array->flags & npy_api::NPY_ARRAY_WRITEABLE_;
  view.c_contiguous = array->flags & npy_api::NPY_ARRAY_C_CONTIGUOUS_;
  view.object = object;
  return view;
}

ArrayView read_cupy(PyObject* object, Argument argument) {
  const Names& name = names();
  ArrayView view;
  view.library = Library::cupy;
  view.object = object;
  view.dtype = read_descr(attribute(object, name.dtype).ptr(), argument);
  view.data = static_cast<char*>(pointer(attribute(attribute(object, name.data), name.ptr)));
  view.device = static_cast<int>(PyLong_AsLong(attribute(attribute(object, name.device), name.id).ptr()));
  view.writable = true;
  set_extents(view, integers(attribute(object, name.shape)), integers(attribute(object, name.strides)));
  const py::object current = attribute(attribute(loaded_module("cupy"), name.cuda), name.get_current_stream);
  view.stream = pointer(attribute(current(view.device), name.ptr));
  return view;
}

namespace {

// What DLPack says of memory, dtype, extents and device.
void describe(ArrayView& view, const dlpack::Tensor& tensor, Argument argument) {
  view.dtype = read_type(tensor.dtype, view.object, argument);
  view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  if (tensor.ndim < 0 || tensor.ndim > kMaxDims)
    throw ValueMismatch(argument + "has " + std::to_string(tensor.ndim) + " dimensions; 0 to 64 are supported");
  for (int d = 0; d < tensor.ndim; ++d)
    if (tensor.shape[d] < 0)
      throw ValueMismatch(argument + "has " + std::to_string(tensor.shape[d]) + " entries along axis " +
                          std::to_string(d));
  std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.ndim), strides(tensor.ndim);
  int64_t packed = itemsize(view.dtype);
  for (int d = tensor.ndim - 1; d >= 0; --d) {
    strides[d] = tensor.strides ? tensor.strides[d] * itemsize(view.dtype) : packed;
    packed *= shape[d];
  }
  set_extents(view, shape, strides);

  if (tensor.device.type == dlpack::kCuda || tensor.device.type == dlpack::kCudaManaged) {
    view.device = tensor.device.id;
    view.stream = view.library == Library::torch ? torch_stream(view.device) : nullptr;
  } else if (tensor.device.type != dlpack::kCpu && tensor.device.type != dlpack::kCudaHost) {
    throw TypeMismatch(argument + "lives on DLPack device type " + std::to_string(tensor.device.type) +
                       "; expected the CPU or a CUDA device");
  }
}

}  // namespace

ArrayView read_dlpack(PyObject* object, Argument argument) {
  ArrayView view;
  view.object = object;
  view.writable = true;
  if (dlpack::Tensor lent; read_exchanged(object, lent)) {
    view.library = Library::torch;
    view.keep = py::reinterpret_borrow<py::object>(object);
    describe(view, lent, argument);
    return view;
  }
  view.library = root_module(object) == "torch" ? Library::torch : Library::other;
  // DLPack does not carry PyTorch's lazy negation: the memory holds the opposite of what the tensor says.
  if (view.library == Library::torch && py::handle(object).attr("is_neg")().cast<bool>())
    throw TypeMismatch(argument + "is a negated view, which DLPack cannot describe; pass " + argument.name +
                       ".resolve_neg()");
  view.keep = export_capsule(object, argument);

  const dlpack::Tensor* tensor;
  if (PyCapsule_IsValid(view.keep.ptr(), "dltensor_versioned")) {
    const auto* managed =
        static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(view.keep.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1)
      throw TypeMismatch(argument + "speaks DLPack " + std::to_string(managed->version.major) + "; expected 1");
    view.writable = !(managed->flags & dlpack::kReadOnly);
    tensor = &managed->tensor;
  } else if (PyCapsule_IsValid(view.keep.ptr(), "dltensor")) {
    tensor = &static_cast<dlpack::Managed*>(PyCapsule_GetPointer(view.keep.ptr(), "dltensor"))->tensor;
  } else {
    throw TypeMismatch(argument + "returned something that is not a DLPack capsule from __dlpack__");
  }

  describe(view, *tensor, argument);
  return view;
}

void* current_stream(Library library, int device) {
  if (device == kHost) return nullptr;
  if (library == Library::torch) return torch_stream(device);
  const Names& name = names();
  const py::object current = attribute(attribute(loaded_module("cupy"), name.cuda), name.get_current_stream);
  return pointer(attribute(current(device), name.ptr));
}

ArrayView read_array(PyObject* object, Argument argument) {
  const auto& api = npy_api::get();
  PyTypeObject* ndarray = reinterpret_cast<PyTypeObject*>(api.PyArray_Type_);
  if (Py_TYPE(object) == ndarray) return read_numpy(object, argument);
  if (PyObject_TypeCheck(object, ndarray)) {
    if (is_instance_of(object, "numpy.ma", "MaskedArray"))
      throw TypeMismatch(argument + "is a masked array, whose mask would be ignored; pass " + argument.name +
                         ".filled(value) or " + argument.name + ".data");
    return read_numpy(object, argument);
  }
  if (loaded_module("cupy") && is_instance_of(object, "cupy", "ndarray")) return read_cupy(object, argument);
  // NumPy's scalars have neither memory of their own nor an identity to write into.
  if (PyObject_HasAttrString(object, "__dlpack__")) return read_dlpack(object, argument);
  throw TypeMismatch(argument + "is " + type_name(object) +
                     "; expected a NumPy or CuPy array or an object with __dlpack__, such as numpy.asarray(" +
                     argument.name + ", dtype='float32')");
}

ArrayView read_output(PyObject* object, Argument argument) {
  ArrayView view = read_array(object, argument);
  if (view.library == Library::other)
    throw TypeMismatch(argument + "is " + type_name(object) +
                       ", whose arrays are immutable or of unknown mutability; leave " + argument.name + " away");
  if (!view.writable) throw ValueMismatch(argument + "is read-only; pass a writable array, or leave it away");
  // Sorted by stride, each axis must step over everything inside it, or two elements share memory.
  std::vector<std::pair<int64_t, int64_t>> axes;
  for (int d = 0; d < view.ndim; ++d)
    if (view.shape[d] > 1) axes.emplace_back(std::abs(view.strides[d]), view.shape[d]);
  std::sort(axes.begin(), axes.end());
  int64_t span = itemsize(view.dtype);
  for (const auto& [stride, extent] : axes) {
    if (stride < span && view.size() > 0)
      throw ValueMismatch(argument +
                          "has elements that share memory (a broadcast view); pass an array of its own, or a copy");
    span += stride * (extent - 1);
  }
  return view;
}

}  // namespace brazen::bindings
