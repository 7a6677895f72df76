// SPDX-License-Identifier: BSD-3-Clause
// Makes the arrays that results are written into, each by the library of the input, and hands them back.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "array_sources.h"
#include "dlpack.h"

namespace brazen::bindings {

using py::detail::npy_api;

namespace {

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
  // Broadcast axes stay where they are: comparing their stride of 0 would make them innermost.
  std::vector<int> moving;
  for (int d = 0; d < x.ndim; ++d)
    if (x.strides[d] != 0) moving.push_back(d);
  std::vector<int> sorted = moving;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](int a, int b) { return std::abs(x.strides[a]) > std::abs(x.strides[b]); });
  for (size_t i = 0; i < moving.size(); ++i) axes[moving[i]] = sorted[i];
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
    case DType::bfloat16: return py::handle(known_bfloat16()).inc_ref().ptr();
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

// CuPy allocates on its current device, which need not be the array's.
class OnDevice {
 public:
  explicit OnDevice(py::object device) : device_(std::move(device)) { device_.attr("__enter__")(); }
  ~OnDevice() {
    try {
      device_.attr("__exit__")(py::none(), py::none(), py::none());
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("brazen: leaving a CUDA device");
    }
  }
  OnDevice(const OnDevice&) = delete;

 private:
  py::object device_;
};

ArrayView new_foreign(const ArrayView& x, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                      DType dtype) {
  ArrayView view;
  if (x.library == Library::cupy) {
    const py::module_ cupy = py::reinterpret_borrow<py::module_>(loaded_module("cupy"));
    const py::object device = cupy.attr("cuda").attr("Device");
    std::optional<OnDevice> scope;
    if (device().attr("id").cast<int>() != x.device) scope.emplace(device(x.device));
    const py::object shape_tuple = py::tuple(py::cast(shape));
    if (strides == c_order(shape, itemsize(dtype))) {
      const py::object made = cupy.attr("ndarray")(shape_tuple, library_dtype(x, dtype));
      view = read_cupy(made.ptr(), {"brazen", "out"});
      view.keep = made;
      return view;
    }
    // Any other order: a flat allocation under strides of its own.
    py::object flat = cupy.attr("empty")(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()),
                                         py::arg("dtype") = library_dtype(x, dtype));
    py::object made =
        cupy.attr("ndarray")(shape_tuple, py::arg("dtype") = flat.attr("dtype"), py::arg("memptr") = flat.attr("data"),
                             py::arg("strides") = py::tuple(py::cast(strides)));
    view = read_cupy(made.ptr(), {"brazen", "out"});
    view.keep = made;
  } else if (x.library == Library::torch) {
    const py::module_ torch = py::reinterpret_borrow<py::module_>(loaded_module("torch"));
    if (dtype == x.dtype && x.c_contiguous && static_cast<int>(shape.size()) == x.ndim &&
        std::equal(shape.begin(), shape.end(), x.shape)) {
      static PyObject* const empty_like = PyUnicode_InternFromString("empty_like");
      PyObject* made = PyObject_CallMethodOneArg(torch.ptr(), empty_like, x.object);
      if (!made) throw py::error_already_set();
      const py::object owned = py::reinterpret_steal<py::object>(made);
      view = read_dlpack(made, {"brazen", "out"});
      view.keep = py::make_tuple(owned, view.keep);
      return view;
    }
    std::vector<int64_t> elements(strides);
    for (int64_t& stride : elements) stride /= itemsize(dtype);
    py::object made =
        torch.attr("empty_strided")(py::cast(shape), py::cast(elements), py::arg("dtype") = library_dtype(x, dtype),
                                    py::arg("device") = py::handle(x.object).attr("device"));
    view = read_dlpack(made.ptr(), {"brazen", "out"});
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

}  // namespace brazen::bindings
