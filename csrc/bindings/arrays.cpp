// SPDX-License-Identifier: BSD-3-Clause
// Reads NumPy arrays by their struct, CuPy arrays by their attributes, everything else through DLPack.
#include "arrays.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <string_view>

#include "dlpack.h"

namespace brazen::bindings {

using py::detail::npy_api;

namespace {

constexpr const char* kComputeNames = "float16, bfloat16, float32, float64";

std::string type_name(PyObject* object) { return Py_TYPE(object)->tp_name; }

// ml_dtypes assigns bfloat16's number at run time, so it is known by its dtype object, learned from its name once.
PyObject* known_bfloat16 = nullptr;

bool is_bfloat16(PyObject* descr) {
  if (descr == known_bfloat16) return true;
  if (known_bfloat16 || py::detail::array_descriptor_proxy(descr)->kind == 'f') return false;
  if (std::string(py::str(py::handle(descr))) != "bfloat16") return false;
  known_bfloat16 = py::handle(descr).inc_ref().ptr();
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
                     kComputeNames);
}

// A module that is already imported, or null: looking must not import.
PyObject* loaded_module(const char* name) {
  PyObject* modules = PyImport_GetModuleDict();
  return PyDict_GetItemString(modules, name);
}

py::object loaded_attribute(const char* module, const char* attribute) {
  PyObject* found = loaded_module(module);
  return found ? py::getattr(found, attribute, py::none()) : py::object(py::none());
}

bool is_instance_of(PyObject* object, const char* module, const char* type) {
  const py::object wanted = loaded_attribute(module, type);
  return !wanted.is_none() && PyObject_IsInstance(object, wanted.ptr()) == 1;
}

std::string root_module(PyObject* object) {
  const std::string module = py::str(py::handle(reinterpret_cast<PyObject*>(Py_TYPE(object))).attr("__module__"));
  return module.substr(0, module.find('.'));
}

bool same_c_order(int ndim, const int64_t* shape, const int64_t* strides, int64_t item) {
  int64_t expected = item;
  for (int d = ndim - 1; d >= 0; --d) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
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
  const py::handle array(object);
  ArrayView view;
  view.library = Library::cupy;
  view.object = object;
  view.dtype = read_descr(array.attr("dtype").ptr(), argument);
  view.data = reinterpret_cast<char*>(array.attr("data").attr("ptr").cast<uintptr_t>());
  view.device = array.attr("device").attr("id").cast<int>();
  view.writable = true;
  set_extents(view, array.attr("shape").cast<std::vector<int64_t>>(),
              array.attr("strides").cast<std::vector<int64_t>>());
  const py::object stream = py::handle(loaded_module("cupy")).attr("cuda").attr("get_current_stream")();
  view.stream = reinterpret_cast<void*>(stream.attr("ptr").cast<uintptr_t>());
  return view;
}

DType read_type(dlpack::Type type, Argument argument) {
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
  const std::string kind = type.code < 7 ? kinds[type.code] : "unknown ";
  throw TypeMismatch(argument + "has dtype " + kind + std::to_string(type.bits) + "; expected one of " + kComputeNames);
}

void* torch_stream(int device) {
  const py::object stream = py::handle(loaded_module("torch")).attr("cuda").attr("current_stream")(device);
  return reinterpret_cast<void*>(stream.attr("cuda_stream").cast<uintptr_t>());
}

// The capsule is kept, unconsumed, for as long as the view: its own destructor then releases the memory.
py::object export_capsule(py::handle array, Argument argument) {
  const auto call = [&](const py::dict& keywords) { return array.attr("__dlpack__")(**keywords); };
  py::dict versioned;
  versioned["max_version"] = py::make_tuple(1, 0);
  try {
    return call(versioned);
  } catch (py::error_already_set& error) {
    if (error.matches(PyExc_TypeError)) return call(py::dict());
    if (error.matches(PyExc_BufferError))
      throw TypeMismatch(argument + "cannot be exported (" + std::string(py::str(error.value())) + "); pass " +
                         argument.name + ".detach() or a copy");
    throw;
  }
}

ArrayView read_dlpack(PyObject* object, Argument argument) {
  ArrayView view;
  view.object = object;
  view.library = root_module(object) == "torch" ? Library::torch : Library::other;
  view.keep = export_capsule(object, argument);

  const dlpack::Tensor* tensor;
  view.writable = true;
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

  view.dtype = read_type(tensor->dtype, argument);
  view.data = static_cast<char*>(tensor->data) + tensor->byte_offset;
  if (tensor->ndim < 0 || tensor->ndim > kMaxDims)
    throw ValueMismatch(argument + "has " + std::to_string(tensor->ndim) + " dimensions; 0 to 64 are supported");
  for (int d = 0; d < tensor->ndim; ++d)
    if (tensor->shape[d] < 0)
      throw ValueMismatch(argument + "has " + std::to_string(tensor->shape[d]) + " entries along axis " +
                          std::to_string(d));
  std::vector<int64_t> shape(tensor->shape, tensor->shape + tensor->ndim), strides(tensor->ndim);
  int64_t packed = itemsize(view.dtype);
  for (int d = tensor->ndim - 1; d >= 0; --d) {
    strides[d] = tensor->strides ? tensor->strides[d] * itemsize(view.dtype) : packed;
    packed *= shape[d];
  }
  set_extents(view, shape, strides);

  if (tensor->device.type == dlpack::kCuda || tensor->device.type == dlpack::kCudaManaged) {
    view.device = tensor->device.id;
    view.stream = view.library == Library::torch ? torch_stream(view.device) : nullptr;
  } else if (tensor->device.type != dlpack::kCpu && tensor->device.type != dlpack::kCudaHost) {
    throw TypeMismatch(argument + "lives on DLPack device type " + std::to_string(tensor->device.type) +
                       "; expected the CPU or a CUDA device");
  }
  return view;
}

// Memory that brazen owns and a library without an allocator of its own (JAX) takes over through DLPack.
struct OwnedBuffer {
  dlpack::Managed managed;
  std::vector<int64_t> extents;
  void* memory;
};

void release(dlpack::Managed* managed) {
  auto* buffer = static_cast<OwnedBuffer*>(managed->context);
  std::free(buffer->memory);
  delete buffer;
}

dlpack::Type dlpack_type(DType dtype) {
  switch (dtype) {
    case DType::float16: return {dlpack::kFloat, 16, 1};
    case DType::bfloat16: return {dlpack::kBfloat, 16, 1};
    case DType::float32: return {dlpack::kFloat, 32, 1};
    case DType::float64: return {dlpack::kFloat, 64, 1};
    case DType::uint8: return {dlpack::kUint, 8, 1};
    case DType::boolean: return {dlpack::kBool, 8, 1};
    case DType::int32: return {dlpack::kInt, 32, 1};
    default: return {dlpack::kInt, 64, 1};
  }
}

void destroy_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // renamed: somebody took the memory over
  auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor"));
  managed->deleter(managed);
}

void make_owned(ArrayView& view, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  const int64_t item = itemsize(view.dtype);
  const int64_t bytes = std::max<int64_t>(1, std::accumulate(shape.begin(), shape.end(), item, std::multiplies<>()));
  auto buffer = std::make_unique<OwnedBuffer>();
  buffer->memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!buffer->memory) throw std::bad_alloc();
  view.data = static_cast<char*>(buffer->memory);
  set_extents(view, shape, strides);
  buffer->extents = shape;
  for (int64_t stride : strides) buffer->extents.push_back(stride / item);
  dlpack::Tensor& tensor = buffer->managed.tensor;
  tensor = {buffer->memory,
            {dlpack::kCpu, 0},
            view.ndim,
            dlpack_type(view.dtype),
            buffer->extents.data(),
            buffer->extents.data() + view.ndim,
            0};
  buffer->managed.context = buffer.get();
  buffer->managed.deleter = release;
  view.keep = py::reinterpret_steal<py::object>(PyCapsule_New(&buffer->managed, "dltensor", destroy_capsule));
  buffer.release();
}

// Packed strides in the memory order of x: a transposed x gives an equally transposed result, a broadcast one C order.
std::vector<int64_t> keep_order(const ArrayView& x, int64_t item) {
  std::vector<int> axes(x.ndim);
  std::iota(axes.begin(), axes.end(), 0);
  std::stable_sort(axes.begin(), axes.end(), [&](int a, int b) {
    if (x.strides[a] == 0 || x.strides[b] == 0) return false;
    return std::abs(x.strides[a]) > std::abs(x.strides[b]);
  });
  std::vector<int64_t> strides(x.ndim);
  int64_t packed = item;
  for (int d = x.ndim - 1; d >= 0; --d) {
    strides[axes[d]] = packed;
    packed *= x.shape[axes[d]];
  }
  return strides;
}

std::vector<int64_t> c_order(const std::vector<int64_t>& shape, int64_t item) {
  std::vector<int64_t> strides(shape.size());
  int64_t packed = item;
  for (int d = static_cast<int>(shape.size()) - 1; d >= 0; --d) {
    strides[d] = packed;
    packed *= shape[d];
  }
  return strides;
}

PyObject* descr_of(DType dtype) {
  const auto& api = npy_api::get();
  switch (dtype) {
    case DType::float16: return api.PyArray_DescrFromType_(23);
    case DType::float32: return api.PyArray_DescrFromType_(npy_api::NPY_FLOAT_);
    case DType::float64: return api.PyArray_DescrFromType_(npy_api::NPY_DOUBLE_);
    case DType::bfloat16: return py::handle(known_bfloat16).inc_ref().ptr();
    case DType::uint8: return api.PyArray_DescrFromType_(npy_api::NPY_UBYTE_);
    case DType::boolean: return api.PyArray_DescrFromType_(npy_api::NPY_BOOL_);
    case DType::int32: return api.PyArray_DescrFromType_(npy_api::NPY_INT_);
    default: return api.PyArray_DescrFromType_(npy_api::NPY_LONG_);
  }
}

ArrayView new_numpy(DType dtype, int ndim, const int64_t* shape, const int64_t* strides) {
  const auto& api = npy_api::get();
  PyObject* made = api.PyArray_NewFromDescr_(reinterpret_cast<PyTypeObject*>(api.PyArray_Type_), descr_of(dtype), ndim,
                                             reinterpret_cast<const Py_intptr_t*>(shape),
                                             reinterpret_cast<const Py_intptr_t*>(strides), nullptr, 0, nullptr);
  if (!made) throw py::error_already_set();
  ArrayView view = read_numpy(made, {"brazen", "out"});
  view.keep = py::reinterpret_steal<py::object>(made);
  return view;
}

py::object library_dtype(const ArrayView& x, DType dtype) {
  if (x.library == Library::torch) return py::handle(loaded_module("torch")).attr(name(dtype));
  return py::reinterpret_steal<py::object>(descr_of(dtype));
}

ArrayView new_foreign(const ArrayView& x, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                      DType dtype) {
  ArrayView view;
  if (x.library == Library::cupy) {
    const py::module_ cupy = py::reinterpret_borrow<py::module_>(loaded_module("cupy"));
    py::object flat = cupy.attr("empty")(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()),
                                         py::arg("dtype") = library_dtype(x, dtype));
    py::object made =
        cupy.attr("ndarray")(py::tuple(py::cast(shape)), py::arg("dtype") = flat.attr("dtype"),
                             py::arg("memptr") = flat.attr("data"), py::arg("strides") = py::tuple(py::cast(strides)));
    view = read_cupy(made.ptr(), {"brazen", "out"});
    view.keep = made;
  } else if (x.library == Library::torch) {
    const py::module_ torch = py::reinterpret_borrow<py::module_>(loaded_module("torch"));
    std::vector<int64_t> elements(strides);
    for (int64_t& stride : elements) stride /= itemsize(dtype);
    py::object made =
        torch.attr("empty_strided")(py::cast(shape), py::cast(elements), py::arg("dtype") = library_dtype(x, dtype),
                                    py::arg("device") = py::handle(x.object).attr("device"));
    view = read_dlpack(made.ptr(), {"brazen", "out"});
    view.own_extents.reserve(0);
    const py::object capsule = view.keep;
    view.keep = py::make_tuple(made, capsule);
  } else {
    if (x.device != kHost)
      throw TypeMismatch("brazen: cannot allocate for " + type_name(x.object) +
                         " on a CUDA device; pass CuPy arrays or PyTorch tensors");
    view.dtype = dtype;
    view.library = Library::other;
    view.object = x.object;
    make_owned(view, shape, strides);
  }
  view.device = x.device;
  view.stream = x.stream;
  return view;
}

}  // namespace

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

ArrayView new_like(const ArrayView& x) {
  if (x.library == Library::numpy && x.c_contiguous) return new_numpy(x.dtype, x.ndim, x.shape, nullptr);
  const std::vector<int64_t> strides = keep_order(x, itemsize(x.dtype));
  if (x.library == Library::numpy) return new_numpy(x.dtype, x.ndim, x.shape, strides.data());
  return new_foreign(x, std::vector<int64_t>(x.shape, x.shape + x.ndim), strides, x.dtype);
}

ArrayView new_like(const ArrayView& x, const std::vector<int64_t>& shape, DType dtype) {
  const std::vector<int64_t> strides = c_order(shape, itemsize(dtype));
  if (x.library == Library::numpy) return new_numpy(dtype, static_cast<int>(shape.size()), shape.data(), nullptr);
  return new_foreign(x, shape, strides, dtype);
}

py::object finish(ArrayView& made) {
  if (made.library == Library::torch) return made.keep.cast<py::tuple>()[0];
  if (made.library != Library::other) return std::move(made.keep);
  // The producer's own from_dlpack: NumPy's could not carry bfloat16, and the caller asked for an array of its library.
  const py::handle producer(made.object);
  py::object space = py::hasattr(producer, "__array_namespace__")
                         ? producer.attr("__array_namespace__")()
                         : py::module_::import(root_module(made.object).c_str());
  if (!py::hasattr(space, "from_dlpack"))
    throw TypeMismatch("brazen: " + type_name(made.object) +
                       " has no from_dlpack to return the result through; pass a NumPy or CuPy array");
  const py::object carrier = py::module_::import("brazen._carrier").attr("Carrier")(made.keep);
  return space.attr("from_dlpack")(carrier);
}

void require_compute_dtype(const ArrayView& array, Argument argument) {
  if (!is_compute(array.dtype))
    throw TypeMismatch(argument + "has dtype " + name(array.dtype) + "; expected one of " + kComputeNames);
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

int normalize_axis(int axis, int ndim, const char* operation) {
  if (axis < -ndim || axis >= ndim)
    throw ValueMismatch(std::string(operation) + ": axis is " + std::to_string(axis) + "; x has " +
                        std::to_string(ndim) + " dimensions");
  return axis < 0 ? axis + ndim : axis;
}

std::string shape_text(int ndim, const int64_t* shape) {
  std::string text = "(";
  for (int d = 0; d < ndim; ++d) text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + (ndim == 1 ? ",)" : ")");
}

}  // namespace brazen::bindings
