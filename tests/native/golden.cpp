// SPDX-License-Identifier: BSD-3-Clause
// Prints the hashes of tests/golden.json from the kernels alone, for a machine without Python. Reads lines
// "name family direction dtype p0 p1" and prints a hash for each; sample, companion and hash are those of
// tests/golden.py.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "csrc/cpu/kernels.h"

namespace brazen::cpu {
namespace BRAZEN_TARGET {
extern const KernelTable kTable;
}
}  // namespace brazen::cpu

namespace {

using namespace brazen;
using cpu::KernelTable;

constexpr size_t kCount = 1 << 16;
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;

// Arrays of a storage dtype, their elements as raw bits.
using Raw = std::vector<uint64_t>;

template <class To, class From>
To cast(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// Bits of a value that `dtype` represents exactly, or that is rounded once to float.
uint64_t bits_of(double value, DType dtype, const KernelTable& table) {
  if (dtype == DType::float64) return cast<uint64_t>(value);
  const float narrow = static_cast<float>(value);
  if (dtype == DType::float32) return cast<uint32_t>(narrow);
  uint16_t half;
  table.narrow[static_cast<int>(dtype)](&narrow, &half, 1);
  return half;
}

Raw sample(DType dtype, const KernelTable& table) {
  Raw raw;
  for (uint64_t i = 0; i < kCount; ++i) {
    const uint64_t spread = i * kGolden;
    raw.push_back(itemsize(dtype) == 2 ? i : (dtype == DType::float64 ? spread : spread >> 32));
  }
  if (itemsize(dtype) > 2)
    for (uint64_t i = 0; i < kCount; ++i)
      raw.push_back(bits_of((static_cast<double>(i) - kCount / 2) / 2048, dtype, table));
  return raw;
}

Raw companion(DType dtype, size_t size, const KernelTable& table) {
  Raw raw;
  for (uint32_t i = 0; i < size; ++i) raw.push_back(bits_of((i * 40503u) % 256u / 32.0 - 4, dtype, table));
  return raw;
}

bool is_nan(uint64_t bits, DType dtype) {
  switch (dtype) {
    case DType::float64: return (bits & ~(1ull << 63)) > 0x7ff0000000000000u;
    case DType::float32: return (bits & 0x7fffffffu) > 0x7f800000u;
    case DType::bfloat16: return (bits & 0x7fffu) > 0x7f80u;
    default: return (bits & 0x7fffu) > 0x7c00u;
  }
}

uint64_t digest(const std::vector<Raw>& arrays, DType dtype) {
  uint64_t sum = 0, position = 0;
  for (const Raw& raw : arrays)
    for (uint64_t bits : raw) {
      uint64_t mixed = (is_nan(bits, dtype) ? 1 : bits) + ++position * kGolden;
      mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
      mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
      sum += mixed ^ (mixed >> 31);
    }
  return sum;
}

// Runs a kernel on arrays of raw bits, through the table's own conversions.
std::vector<Raw> run(const KernelTable& table, cpu::TileKernel kernel, const double* parameters,
                     const std::vector<Raw>& in, int outputs, DType dtype) {
  const size_t n = in[0].size(), unit = dtype == DType::float64 ? 8 : 4;
  std::vector<std::vector<char>> tiles(in.size() + outputs, std::vector<char>(n * unit));
  std::vector<const void*> from;
  std::vector<void*> to;
  std::vector<uint16_t> halves(n);
  for (size_t k = 0; k < in.size(); ++k) {
    for (size_t i = 0; i < n; ++i) {
      halves[i] = static_cast<uint16_t>(in[k][i]);
      if (itemsize(dtype) > 2) std::memcpy(&tiles[k][i * unit], &in[k][i], unit);  // little-endian
    }
    if (itemsize(dtype) == 2)
      table.widen[static_cast<int>(dtype)](halves.data(), reinterpret_cast<float*>(tiles[k].data()), n);
    from.push_back(tiles[k].data());
  }
  for (int k = 0; k < outputs; ++k) to.push_back(tiles[in.size() + k].data());
  kernel(parameters, from.data(), to.data(), n);
  std::vector<Raw> results(outputs, Raw(n, 0));
  for (int k = 0; k < outputs; ++k) {
    if (itemsize(dtype) == 2) table.narrow[static_cast<int>(dtype)](static_cast<const float*>(to[k]), halves.data(), n);
    for (size_t i = 0; i < n; ++i) {
      if (itemsize(dtype) == 2)
        results[k][i] = halves[i];
      else
        std::memcpy(&results[k][i], static_cast<char*>(to[k]) + i * unit, unit);
    }
  }
  return results;
}

int find(const std::string& name, bool is_function) {
  for (int i = 0; i < kOperations; ++i)
    if (kRegistry.operations[i].info.name == name &&
        (kRegistry.operations[i].family == Family::function) == is_function)
      return i;
  return -1;
}

}  // namespace

int main() {
  const KernelTable& table = cpu::BRAZEN_TARGET::kTable;
  char name[64], family[16], direction[16], dtype_name[16];
  double parameters[2];
  while (std::scanf("%63s %15s %15s %15s %lf %lf", name, family, direction, dtype_name, parameters, parameters + 1) ==
         6) {
    const std::string kind = family;
    const bool is_function = kind == "function", backward = std::strcmp(direction, "backward") == 0;
    DType dtype = DType::float16;
    while (std::strcmp(brazen::name(dtype), dtype_name) != 0) dtype = static_cast<DType>(static_cast<int>(dtype) + 1);
    const int operation = find(is_function ? name + 5 : name, is_function);  // without "math."
    if (operation < 0) return std::printf("unknown %s\n", name), 1;
    const Raw x = sample(dtype, table), other = companion(dtype, x.size(), table);
    std::vector<Raw> in;
    int outputs = 1;
    if (backward) in.push_back(other);
    if (kind == "gate" || kind == "maxout") {
      in.push_back(other);
      in.push_back(x);
      outputs = backward ? 2 : 1;
      parameters[0] = kind == "maxout" ? 2 : parameters[0];
    } else {
      in.push_back(x);
      if (kind == "prelu") in.push_back(Raw(other.rbegin(), other.rend()));
    }
    auto kernel = table.kernels[operation][backward][dtype == DType::float64];
    if (!backward && dtype == DType::bfloat16 && table.brief[operation]) kernel = table.brief[operation];
    std::printf("%016llx\n",
                static_cast<unsigned long long>(digest(run(table, kernel, parameters, in, outputs, dtype), dtype)));
  }
}
