// SPDX-License-Identifier: BSD-3-Clause
// Reads and re-reads the arrays of an optimizer. No step.
#include "tensor_list.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace brazen::bindings {
namespace {

constexpr const char* kOperation = "optim";

py::detail::PyArray_Proxy* numpy_array(PyObject* object) {
  static PyTypeObject* const ndarray = reinterpret_cast<PyTypeObject*>(py::detail::npy_api::get().PyArray_Type_);
  return Py_TYPE(object) == ndarray ? py::detail::array_proxy(object) : nullptr;
}

bool plain(const py::detail::PyArray_Proxy* array) {
  constexpr int wanted = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return (array->flags & wanted) == wanted;
}

bool overlaps(const char* a, int64_t a_bytes, const char* b, int64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
}

void* torch_pointer(PyObject* tensor) {
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  const auto address = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(tensor, data_ptr));
  if (!address) throw py::error_already_set();
  return PyLong_AsVoidPtr(address.ptr());
}

bool aligned(const ArrayView& view) { return reinterpret_cast<uintptr_t>(view.data) % itemsize(view.dtype) == 0; }

}  // namespace

TensorList::TensorList(const py::list& containers, const py::list& keys, const std::vector<std::string>& names,
                       const std::vector<int>& groups)
    : slots_(names.size()), entries_(names.size()), tensor_memory_(names.size()) {
  if (containers.size() != names.size() || keys.size() != names.size() || groups.size() != names.size())
    throw ValueMismatch("optim: containers, keys, names and groups differ in length");
  int group_count = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    Slot& slot = slots_[i];
    slot.container = containers[i], slot.key = keys[i], slot.name = names[i];
    if (py::isinstance<py::list>(slot.container)) {
      slot.list_item_of = slot.container.ptr();
      slot.position = slot.key.cast<int64_t>();
    }
    entries_[i].group = groups[i];
    group_count = std::max(group_count, groups[i] + 1);
    describe_param(i, current(slot));
  }
  groups_.resize(group_count);
  for (GroupStep& group : groups_) group.memory = {0, 1};
  require_params_apart();
  cut_ = std::make_unique<Cut>(entries_);
}

py::object TensorList::current(const Slot& slot) const {
  if (slot.list_item_of && slot.position < PyList_GET_SIZE(slot.list_item_of))
    return py::reinterpret_borrow<py::object>(PyList_GET_ITEM(slot.list_item_of, slot.position));
  PyObject* item = PyObject_GetItem(slot.container.ptr(), slot.key.ptr());
  if (!item) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(item);
}

void TensorList::describe_param(int64_t index, const py::object& object) {
  Slot& slot = slots_[index];
  const Argument argument{kOperation, slot.name.c_str()};
  const ArrayView view = read_output(object.ptr(), argument);
  require_compute_dtype(view, argument);
  if (!view.c_contiguous || !aligned(view))
    throw ValueMismatch(argument + "is not contiguous; parameters are updated in place, pass ascontiguousarray(" +
                        slot.name + ")");
  TensorEntry& entry = entries_[index];
  if (!slot.param) {
    if (index == 0) device_ = view.device, library_ = view.library;
    slot.shape.assign(view.shape, view.shape + view.ndim);
    entry.size = view.size();
  } else {
    require_dtype(view, entry.dtype(kParam), argument, "the dtype it had when it was bound");
    require_shape(view, argument, static_cast<int>(slot.shape.size()), slot.shape.data(),
                  "the shape it had when it was bound");
  }
  if (view.device != device_ || view.library != library_)
    throw ValueMismatch(argument +
                        "lives elsewhere than the first parameter; an optimizer's arrays share device and library");
  entry.data[kParam] = view.data;
  entry.dtypes[kParam] = static_cast<uint8_t>(view.dtype);
  slot.param = object;
}

void TensorList::describe(int64_t index, int role, const py::object& object) {
  Slot& slot = slots_[index];
  TensorEntry& entry = entries_[index];
  slot.keep[role] = object;
  if (object.is_none()) {
    entry.data[role] = nullptr;
    return;
  }
  const Argument argument{kOperation, slot.name.c_str()};
  const ArrayView view = read_output(object.ptr(), argument);
  require_compute_dtype(view, argument);
  require_shape(view, argument, static_cast<int>(slot.shape.size()), slot.shape.data(), "the parameter's shape");
  if (!view.c_contiguous || !aligned(view))
    throw ValueMismatch(argument + "has a state, average or copy that is not contiguous; pass one that is");
  if (view.device != device_) throw ValueMismatch(argument + "has a state, average or copy on another device");
  if (overlaps(entry.data[kParam], entry.size * itemsize(entry.dtype(kParam)), view.data,
               entry.size * itemsize(view.dtype)))
    throw ValueMismatch(argument + "shares memory with one of its own states, average or copy; pass an array apart");
  entry.data[role] = view.data;
  entry.dtypes[role] = static_cast<uint8_t>(view.dtype);
}

void TensorList::set(int role, const py::list& arrays) {
  const Busy busy(*this);
  if (role < kFirstState || role >= kRoles || static_cast<int64_t>(arrays.size()) != size())
    throw ValueMismatch("optim: role " + std::to_string(role) + " with " + std::to_string(arrays.size()) +
                        " arrays; expected one array for each of " + std::to_string(size()) + " parameters");
  cleared_.clear();
  for (int64_t i = 0; i < size(); ++i) describe(i, role, arrays[i]);
}

void TensorList::set_units(const std::vector<std::pair<int64_t, int64_t>>& max_norm,
                           const std::vector<std::pair<int64_t, int64_t>>& agc) {
  const Busy busy(*this);
  const auto read = [&](const std::vector<std::pair<int64_t, int64_t>>& given) {
    std::vector<UnitView> views;
    if (!given.empty() && static_cast<int64_t>(given.size()) != size())
      throw ValueMismatch("optim: units of another number of tensors");
    for (size_t i = 0; i < given.size(); ++i) {
      const auto [units, inner] = given[i];
      if (units < 0 || inner < 0 || (units > 0 && entries_[i].size > 0 && entries_[i].size % (units * inner) != 0))
        throw ValueMismatch("optim: " + slots_[i].name + " does not divide into these units");
      views.push_back({units, inner});
    }
    return views;
  };
  max_norm_units_ = read(max_norm);
  agc_units_ = read(agc);
}

void TensorList::set_axes(const py::list& arrays) {
  const Busy busy(*this);
  if (static_cast<int64_t>(arrays.size()) != size()) throw ValueMismatch("optim: axes of another number of tensors");
  axes_.assign(size(), Axes{});
  for (int64_t i = 0; i < size(); ++i) {
    const Slot& slot = slots_[i];
    const Argument argument{kOperation, slot.name.c_str()};
    Axes& axes = axes_[i];
    axes.count = std::max<int32_t>(1, static_cast<int32_t>(slot.shape.size()));
    axes.extents[0] = 1;
    std::copy(slot.shape.begin(), slot.shape.end(), axes.extents);
    const py::list own(arrays[i]);
    if (own.size() > static_cast<size_t>(kMaxDims)) throw ValueMismatch(argument + "has more moments than axes");
    for (size_t k = 0; k < own.size(); ++k) {
      const ArrayView view = read_output(py::object(own[k]).ptr(), argument);
      require_dtype(view, entries_[i].is_double() ? DType::float64 : DType::float32, argument, "the compute type");
      if (!view.c_contiguous || !aligned(view)) throw ValueMismatch(argument + "has a moment that is not contiguous");
      axes.data[k] = view.data;
    }
  }
  axis_arrays_ = arrays;
}

// Of an array that is not NumPy's: a tensor of PyTorch may be given other memory, CuPy's arrays keep theirs.
bool TensorList::moved(PyObject* param, const TensorEntry& entry) const {
  return library_ == Library::torch && torch_pointer(param) != entry.data[kParam];
}

// Every look costs a few nanoseconds a parameter: an identity and a pointer.
void TensorList::look_at_params() {
  bool replaced = false;
  for (int64_t i = 0; i < size(); ++i) {
    Slot& slot = slots_[i];
    PyObject* now = nullptr;
    py::object fetched;
    if (slot.list_item_of && slot.position < PyList_GET_SIZE(slot.list_item_of)) {
      now = PyList_GET_ITEM(slot.list_item_of, slot.position);
    } else if (PyDict_CheckExact(slot.container.ptr())) {
      now = PyDict_GetItemWithError(slot.container.ptr(), slot.key.ptr());
    }
    if (!now) {
      fetched = current(slot);
      now = fetched.ptr();
    }
    const auto* array = numpy_array(now);
    if (now == slot.param.ptr() && (array ? array->data == entries_[i].data[kParam] : !moved(now, entries_[i])))
      continue;
    describe_param(i, py::reinterpret_borrow<py::object>(now));
    replaced = true;
  }
  if (replaced) cleared_.clear(), require_params_apart();
  params_replaced_ = replaced;
}

// Two threads would update shared memory at once, and every step would count twice.
void TensorList::require_params_apart() const {
  std::vector<int64_t> order(entries_.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return entries_[a].data[kParam] < entries_[b].data[kParam]; });
  const TensorEntry* before = nullptr;
  const std::string* name = nullptr;
  for (const int64_t i : order) {
    const TensorEntry& entry = entries_[i];
    if (entry.size == 0) continue;
    if (before && before->data[kParam] + before->size * itemsize(before->dtype(kParam)) > entry.data[kParam])
      throw ValueMismatch("optim: " + slots_[i].name + " shares memory with " + *name + "; bind each parameter once");
    before = &entry, name = &slots_[i].name;
  }
}

void TensorList::describe_grad(int64_t index, PyObject* object) {
  Slot& slot = slots_[index];
  TensorEntry& entry = entries_[index];
  const std::string name = "the gradient of " + slot.name;
  const Argument argument{kOperation, name.c_str()};
  ArrayView view = read_array(object, argument);
  require_compute_dtype(view, argument);
  require_shape(view, argument, static_cast<int>(slot.shape.size()), slot.shape.data(), "the parameter's shape");
  if (view.device != device_) throw ValueMismatch(argument + "is on another device than its parameter");
  entry.data[kGrad] = view.data;
  entry.dtypes[kGrad] = static_cast<uint8_t>(view.dtype);
  entry.grad_layout = nullptr;
  if (!view.c_contiguous || !aligned(view)) {
    if (device_ != kHost) throw ValueMismatch(argument + "is not contiguous; on a GPU pass ascontiguousarray of it");
    slot.grad_layout = std::make_unique<Layout>();
    slot.grad_layout->set_shape(view.ndim, view.shape);
    slot.grad_layout->add(view.data, view.dtype, view.strides);
    slot.grad_layout->simplify(false, 0);
    entry.grad_layout = slot.grad_layout.get();
  }
  const auto* array = numpy_array(object);
  slot.grad_dtype = array ? py::reinterpret_borrow<py::object>(array->descr) : py::object();
  if (view.keep) held_.push_back(std::move(view));
}

void TensorList::read_grad(int64_t index, PyObject* object) {
  Slot& slot = slots_[index];
  TensorEntry& entry = entries_[index];
  const auto* array = numpy_array(object);
  const size_t ndim = slot.shape.size();
  const bool known = array && array->descr == slot.grad_dtype.ptr() && array->nd == static_cast<int>(ndim) &&
                     plain(array) && std::equal(slot.shape.begin(), slot.shape.end(), array->dimensions);
  if (known) {
    entry.data[kGrad] = array->data;
    entry.grad_layout = nullptr;
  } else {
    describe_grad(index, object);
  }
  require_apart_from_param(index);
}

void TensorList::require_apart_from_param(int64_t index) const {
  const TensorEntry& entry = entries_[index];
  if (entry.size == 0) return;
  const char* low = entry.data[kGrad];
  int64_t bytes = entry.size * itemsize(entry.dtype(kGrad));
  if (const Layout* layout = entry.grad_layout) {
    const char* high = low;
    for (int d = 0; d < layout->ndim; ++d) {
      const int64_t reach = (layout->shape[d] - 1) * layout->operands[0].strides[d];
      (reach < 0 ? low : high) += reach;
    }
    bytes = high - low + itemsize(entry.dtype(kGrad));
  }
  for (const int role : {int{kParam}, int{kCopy}})
    if (entry.data[role] && overlaps(entry.data[role], entry.size * itemsize(entry.dtype(role)), low, bytes))
      throw ValueMismatch("optim: the gradient of " + slots_[index].name + " shares memory with its parameter" +
                          (role == kCopy ? "'s copy" : "") + "; pass a copy");
}

void TensorList::read_grads(const py::object& grads) {
  if (grads.is_none()) {
    if (!has_grads_) throw ValueMismatch("optim: grads is None, and none are bound; pass them, or call bind_grads");
    const bool known = std::exchange(bound_read_, false) && !params_replaced_;
    for (int64_t i = 0; i < size(); ++i) {
      const auto* array = numpy_array(slots_[i].keep[kGrad].ptr());
      // CuPy's arrays never move, NumPy's can be resized; a replaced parameter may have come to lie over a gradient.
      if (known && (library_ == Library::cupy || (array && array->data == entries_[i].data[kGrad]))) continue;
      read_grad(i, slots_[i].keep[kGrad].ptr());
    }
    bound_read_ = true;
    return;
  }
  bound_read_ = false;
  const py::object sequence = py::reinterpret_steal<py::object>(PySequence_Fast(grads.ptr(), "grads is no sequence"));
  if (!sequence) throw py::error_already_set();
  const int64_t given = PySequence_Fast_GET_SIZE(sequence.ptr());
  if (given != size())
    throw ValueMismatch("optim: " + std::to_string(given) + " gradients for " + std::to_string(size()) +
                        " parameters; pass one for each, in their order");
  PyObject** items = PySequence_Fast_ITEMS(sequence.ptr());
  for (int64_t i = 0; i < given; ++i) read_grad(i, items[i]);
}

PyObject* TensorList::grad_of(const py::object& grads, int64_t index) const {
  return grads.is_none() ? slots_[index].keep[kGrad].ptr() : PyList_GET_ITEM(grads.ptr(), index);
}

const char* TensorList::clearable(int64_t index, PyObject* grad) const {
  const Slot& slot = slots_[index];
  if (const auto* array = numpy_array(grad)) {
    const bool known = array->descr == slot.grad_dtype.ptr() && array->nd == static_cast<int>(slot.shape.size()) &&
                       plain(array) && array->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return known && std::equal(slot.shape.begin(), slot.shape.end(), array->dimensions) ? array->data : nullptr;
  }
  if (library_ != Library::torch) return nullptr;
  static PyObject* const is_contiguous = PyUnicode_InternFromString("is_contiguous");
  const auto whole = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(grad, is_contiguous));
  if (!whole) PyErr_Clear();  // no tensor: the step says so
  return whole.ptr() == Py_True ? static_cast<const char*>(torch_pointer(grad)) : nullptr;
}

bool TensorList::may_clear(const py::object& grads) {
  const Busy busy(*this);
  look_at_params();
  if (static_cast<int64_t>(cleared_.size()) != size()) return false;
  if (grads.is_none() ? !has_grads_ : !PyList_Check(grads.ptr()) || PyList_GET_SIZE(grads.ptr()) != size())
    return false;
  for (int64_t i = 0; i < size(); ++i) {
    const char* place = clearable(i, grad_of(grads, i));
    if (!place || place != cleared_[i]) return false;
  }
  return true;
}

void TensorList::let_clear(const py::object& grads) {
  const Busy busy(*this);
  cleared_.clear();
  if (grads.is_none() ? !has_grads_ : !PyList_Check(grads.ptr()) || PyList_GET_SIZE(grads.ptr()) != size()) return;
  for (int64_t i = 0; i < size(); ++i) cleared_.push_back(clearable(i, grad_of(grads, i)));
}

void TensorList::bind(const py::list& grads) {
  const Busy busy(*this);
  has_grads_ = false;
  read_grads(grads);
  for (int64_t i = 0; i < size(); ++i) slots_[i].keep[kGrad] = grads[i];
  has_grads_ = bound_read_ = true;
}

}  // namespace brazen::bindings
