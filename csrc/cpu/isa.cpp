// SPDX-License-Identifier: BSD-3-Clause
// Chooses a kernel table at run time; BRAZEN_ISA forces one.
#include "isa.h"

#include <atomic>
#include <cstdlib>

#include "../core/error.h"

namespace brazen::cpu {

#if defined(__x86_64__)
namespace v4 {
extern const KernelTable kTable;
}
namespace v3 {
extern const KernelTable kTable;
}
namespace baseline {
extern const KernelTable kTable;
}
#else
namespace neon {
extern const KernelTable kTable;
}
#endif

namespace {

std::vector<const KernelTable*> runnable_tables() {
  std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) tables.push_back(&v4::kTable);
  if (__builtin_cpu_supports("x86-64-v3")) tables.push_back(&v3::kTable);
  tables.push_back(&baseline::kTable);
#else
  tables.push_back(&neon::kTable);
#endif
  return tables;
}

const KernelTable* find(const std::string& name) {
  std::string known;
  for (const KernelTable* table : runnable_tables()) {
    if (name == table->isa) return table;
    known += known.empty() ? table->isa : std::string(", ") + table->isa;
  }
  throw ValueMismatch("instruction set '" + name + "' is not one this build and machine can run: " + known);
}

std::atomic<const KernelTable*> current{nullptr};

}  // namespace

const KernelTable& kernels() {
  const KernelTable* table = current.load(std::memory_order_acquire);
  if (!table) {
    const char* forced = std::getenv("BRAZEN_ISA");
    table = forced && *forced ? find(forced) : runnable_tables().front();
    current.store(table, std::memory_order_release);
  }
  return *table;
}

std::vector<std::string> runnable_isas() {
  std::vector<std::string> names;
  for (const KernelTable* table : runnable_tables()) names.emplace_back(table->isa);
  return names;
}

void set_isa(const std::string& name) { current.store(name.empty() ? runnable_tables().front() : find(name)); }

}  // namespace brazen::cpu
