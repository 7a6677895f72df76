// SPDX-License-Identifier: BSD-3-Clause
// The lazily opened CUDA library, the GIL, and the choice between devices.
#include "execute.h"

#include <dlfcn.h>

#include <mutex>

#include "../cpu/batch_norm.h"
#include "../cpu/chain.h"
#include "../cpu/elementwise.h"
#include "../cpu/images.h"
#include "../cpu/indexed_rows.h"
#include "../cpu/rows.h"
#include "../cuda/abi.h"

namespace brazen::bindings {
namespace {

// Giving the GIL away and taking it back costs about 0.1 us uncontended, far more contended.
constexpr int64_t kReleasePicoseconds = 20'000'000;

// A usual chain's element, for that decision.
constexpr int64_t kChainPicoseconds = 200;
constexpr int64_t kTapPicoseconds = 400;
constexpr int64_t kSumPicoseconds = 50, kMergePicoseconds = 10'000;

#if !defined(BRAZEN_CUDA_WHY_NOT)
#define BRAZEN_CUDA_WHY_NOT ""
#endif

struct CudaLibrary {
  void* handle = nullptr;
  std::string path;
  std::string why_not;
  decltype(&brazen_cuda_describe) describe = nullptr;
  decltype(&brazen_cuda_elementwise) elementwise = nullptr;
  decltype(&brazen_cuda_reduction) reduction = nullptr;
  decltype(&brazen_cuda_statistics) statistics = nullptr;
  decltype(&brazen_cuda_merge) merge = nullptr;
  decltype(&brazen_cuda_channel_sums) channel_sums = nullptr;
  decltype(&brazen_cuda_batch_norm) batch_norm = nullptr;
  decltype(&brazen_cuda_batch_norm_backward) batch_norm_backward = nullptr;
  decltype(&brazen_cuda_chain) chain = nullptr;
  decltype(&brazen_cuda_fill) fill = nullptr;
  decltype(&brazen_cuda_row_loss) row_loss = nullptr;
  decltype(&brazen_cuda_take_label_error) take_label_error = nullptr;
  decltype(&brazen_cuda_element_loss) element_loss = nullptr;
  decltype(&brazen_cuda_row_map) row_map = nullptr;
  decltype(&brazen_cuda_row_norm) row_norm = nullptr;
  decltype(&brazen_cuda_row_lengths) row_lengths = nullptr;
  decltype(&brazen_cuda_images) images = nullptr;
  decltype(&brazen_cuda_indexed_rows) indexed_rows = nullptr;
  decltype(&brazen_cuda_list_bytes) list_bytes = nullptr;
  decltype(&brazen_cuda_update) update = nullptr;
  decltype(&brazen_cuda_list) list = nullptr;
};

template <class Function>
bool find(CudaLibrary& library, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library.handle, symbol));
  if (!function)
    library.why_not = library.path + " lacks the symbol " + symbol + "; it belongs to another version of brazen";
  return function != nullptr;
}

CudaLibrary open_library(const std::string& path) {
  CudaLibrary library;
  library.path = path;
  library.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library.handle) {
    library.why_not = "the CUDA library is not part of this build";
    if (*BRAZEN_CUDA_WHY_NOT) library.why_not += std::string(" (") + BRAZEN_CUDA_WHY_NOT + ")";
    return library;
  }
  if (!find(library, "brazen_cuda_describe", library.describe)) return library;
  cuda::Description description{};
  char message[512] = "";
  library.describe(&description, message, sizeof message);
  if (description.abi != cuda::kAbi)
    library.why_not = path + " speaks ABI " + std::to_string(description.abi) + ", this module " +
                      std::to_string(cuda::kAbi) + "; reinstall brazen";
  if (!library.why_not.empty()) return library;
  // The first that is missing says so.
  (void)(find(library, "brazen_cuda_elementwise", library.elementwise) &&
         find(library, "brazen_cuda_reduction", library.reduction) &&
         find(library, "brazen_cuda_statistics", library.statistics) &&
         find(library, "brazen_cuda_merge", library.merge) &&
         find(library, "brazen_cuda_channel_sums", library.channel_sums) &&
         find(library, "brazen_cuda_batch_norm", library.batch_norm) &&
         find(library, "brazen_cuda_batch_norm_backward", library.batch_norm_backward) &&
         find(library, "brazen_cuda_chain", library.chain) && find(library, "brazen_cuda_fill", library.fill) &&
         find(library, "brazen_cuda_row_loss", library.row_loss) &&
         find(library, "brazen_cuda_take_label_error", library.take_label_error) &&
         find(library, "brazen_cuda_element_loss", library.element_loss) &&
         find(library, "brazen_cuda_row_map", library.row_map) &&
         find(library, "brazen_cuda_row_norm", library.row_norm) &&
         find(library, "brazen_cuda_row_lengths", library.row_lengths) &&
         find(library, "brazen_cuda_images", library.images) &&
         find(library, "brazen_cuda_indexed_rows", library.indexed_rows) &&
         find(library, "brazen_cuda_list_bytes", library.list_bytes) &&
         find(library, "brazen_cuda_update", library.update) && find(library, "brazen_cuda_list", library.list));
  return library;
}

std::string default_path() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<const void*>(&default_path), &info)) return "";
  std::string folder = info.dli_fname;
  return folder.substr(0, folder.rfind('/') + 1) + "lib/libbrazen_cuda13.so";
}

CudaLibrary& library() {
  static CudaLibrary opened = open_library(default_path());
  return opened;
}

const CudaLibrary& usable_library() {
  const CudaLibrary& opened = library();
  if (!opened.why_not.empty())
    throw std::runtime_error("brazen: a CUDA array needs the CUDA library: " + opened.why_not +
                             "; install a wheel that holds it, or build with BRAZEN_CUDA=ON");
  return opened;
}

void check(cuda::Status status, const char* message, const char* operation) {
  if (status == cuda::Status::ok) return;
  const std::string text = std::string(operation) + ": " + message;
  if (status == cuda::Status::out_of_memory) {
    PyErr_SetString(PyExc_MemoryError, text.c_str());
    throw py::error_already_set();
  }
  if (status == cuda::Status::bad_argument) throw ValueMismatch(text);
  throw std::runtime_error(text);
}

template <class Call, class Entry>
void launch(const Call& call, Entry entry, const ArrayView& x, const char* operation) {
  char message[512] = "";
  const cuda::Launch where{x.device, x.stream, message, sizeof message};
  cuda::Status status;
  {
    const py::gil_scoped_release release;  // a launch may wait for room in the queue
    status = entry(&call, &where);
  }
  check(status, message, operation);
}

template <class Call>
auto run_on_cpu(const Call& call, int64_t picoseconds) {
  if (picoseconds < kReleasePicoseconds) return cpu::run(call);
  const py::gil_scoped_release release;
  return cpu::run(call);
}

}  // namespace

void execute(const ElementwiseCall& call, const ArrayView& x) {
  if (call.layout.size == 0) return;
  if (x.device == kHost) return run_on_cpu(call, call.cost_picoseconds());
  launch(call, usable_library().elementwise, x, kRegistry.operations[call.operation].info.name);
}

void execute(const ReductionCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.terms.cost_picoseconds());
  launch(call, usable_library().reduction, x, kRegistry.operations[call.terms.operation].info.name);
}

void execute(const ReductionCall& call, const ElementwiseCall& gradient, const ArrayView& x) {
  if (x.device != kHost) return execute(call, x), execute(gradient, x);
  const int64_t picoseconds = call.terms.cost_picoseconds() + gradient.cost_picoseconds();
  if (picoseconds < kReleasePicoseconds) return cpu::run(call, gradient);
  const py::gil_scoped_release release;
  cpu::run(call, gradient);
}

void execute(const ChainCall& call, const ArrayView& x, const char* operation) {
  if (call.layout.size == 0) return;
  if (x.device == kHost) return run_on_cpu(call, call.layout.size * kChainPicoseconds);
  launch(call, usable_library().chain, x, operation);
}

void execute(const FillCall& call, const ArrayView& out, const char* operation) {
  if (call.layout.size == 0) return;
  if (out.device == kHost) return run_on_cpu(call, call.layout.size * kChainPicoseconds);
  launch(call, usable_library().fill, out, operation);
}

namespace {

// What a row operation costs, roughly: decides only about the GIL.
constexpr int64_t kRowPicoseconds = 200;

template <class List>
const char* name_of(int number) {
  const char* name = "";
  List::template for_each<float>([&]<class Op>(int i) {
    if (i == number) name = Op::info.name;
  });
  return name;
}

}  // namespace

int64_t execute(const RowLossCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.arrays.size() * kRowPicoseconds);
  launch(call, usable_library().row_loss, x, name_of<RowLosses>(call.operation));
  return -1;
}

bool take_label_error(int device, LabelError& error) {
  const CudaLibrary& opened = library();
  return opened.take_label_error && opened.take_label_error(device, &error);
}

void execute(const ElementLossCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.arrays.size() * kRowPicoseconds);
  launch(call, usable_library().element_loss, x, name_of<ElementLosses>(call.operation));
}

void execute(const RowMapCall& call, const ArrayView& x) {
  if (call.arrays.size() == 0) return;
  if (x.device == kHost) return run_on_cpu(call, call.arrays.size() * kRowPicoseconds);
  launch(call, usable_library().row_map, x, name_of<RowMaps>(call.operation));
}

void execute(const RowNormCall& call, const ArrayView& x, const char* operation) {
  if (x.device == kHost) return run_on_cpu(call, call.arrays.size() * kRowPicoseconds);
  launch(call, usable_library().row_norm, x, operation);
}

void execute(const RowLengthsCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.arrays.size() * kRowPicoseconds);
  launch(call, usable_library().row_lengths, x, "row_norms");
}

void execute(const StatisticsCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.layout.size * kSumPicoseconds);
  launch(call, usable_library().statistics, x, "batch_norm");
}

void execute(const MergeCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.channels * call.count * kMergePicoseconds);
  launch(call, usable_library().merge, x, "batch_norm");
}

void execute(const ChannelSumsCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.arrays.size * kSumPicoseconds);
  launch(call, usable_library().channel_sums, x, "fused");
}

void execute(const BatchNormCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.chain.layout.size * (kSumPicoseconds + kChainPicoseconds));
  launch(call, usable_library().batch_norm, x, "batch_norm");
}

void execute(const BatchNormBackwardCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.arrays.size * (kSumPicoseconds + kChainPicoseconds));
  launch(call, usable_library().batch_norm_backward, x, "batch_norm");
}

void execute(const ImageCall& call, const ArrayView& x, const char* operation) {
  if (x.device == kHost) return run_on_cpu(call, call.work() * kTapPicoseconds);
  launch(call, usable_library().images, x, operation);
}

void execute(const IndexedRowsCall& call, const ArrayView& x) {
  if (x.device == kHost) return run_on_cpu(call, call.work() * kSumPicoseconds);
  launch(call, usable_library().indexed_rows, x, "sum_rows");
}

void list_bytes(const UpdateCall& call, int64_t& bytes, int64_t& shadow_bytes) {
  usable_library().list_bytes(&call, &bytes, &shadow_bytes);
}

void execute(const UpdateCall& call, const DeviceStep& device, DeviceSpace& space, const ArrayView& where) {
  const auto entry = usable_library().update;
  launch(
      call,
      [&](const UpdateCall* given, const cuda::Launch* launched) { return entry(given, &device, &space, launched); },
      where, "optim");
}

void execute(const ListCall& call, DeviceSpace& space, const ArrayView& where, const char* operation) {
  const auto entry = usable_library().list;
  launch(
      call, [&](const ListCall* given, const cuda::Launch* launched) { return entry(given, &space, launched); }, where,
      operation);
}

py::dict cuda_info() {
  const CudaLibrary& opened = library();
  py::dict info;
  info["library"] = opened.handle ? py::object(py::str(opened.path)) : py::object(py::none());
  info["archs"] = py::none();
  info["runtime"] = py::none();
  info["driver"] = py::none();
  info["devices"] = 0;
  info["why_not"] = opened.why_not;
  if (!opened.handle || !opened.why_not.empty()) return info;
  cuda::Description description{};
  char message[512] = "";
  const cuda::Status status = opened.describe(&description, message, sizeof message);
  info["archs"] = description.archs ? description.archs : "";
  info["runtime"] = description.runtime_version;
  info["driver"] = description.driver_version;
  info["devices"] = description.device_count;
  info["why_not"] = status == cuda::Status::ok ? "" : message;
  return info;
}

void load_cuda_library(const std::string& path) {
  CudaLibrary opened = open_library(path.empty() ? default_path() : path);
  if (!path.empty() && !opened.why_not.empty()) throw std::runtime_error("brazen: " + opened.why_not);
  library() = opened;
}

}  // namespace brazen::bindings
