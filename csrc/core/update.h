// SPDX-License-Identifier: BSD-3-Clause
// One step of an optimizer over a list of tensors, fully described: what the CPU driver and the CUDA library receive.
#pragma once

#include <cstddef>
#include <vector>

#include "../formulas/random.h"
#include "../formulas/reduction.h"
#include "../formulas/updates.h"
#include "layout.h"

namespace brazen {

inline constexpr int kUpdates = Updates::size;

// The arrays of one tensor, by what they are for. All hold equally many elements.
enum Role : int { kParam, kGrad, kFirstState, kAverage = kFirstState + kMaxStates, kCopy, kRoles };

// All but the gradient are contiguous and aligned. The order of the fields is part of the C ABI.
struct TensorEntry {
  char* data[kRoles];  // null where there is none
  int64_t size;
  int64_t first_chunk;        // its chunks' place among those of the whole list (formulas/reduction.h)
  const Layout* grad_layout;  // null where the gradient is contiguous and aligned
  int32_t group;
  uint8_t dtypes[kRoles];

  constexpr DType dtype(int role) const { return static_cast<DType>(dtypes[role]); }
  constexpr bool is_double() const { return dtype(kParam) == DType::float64; }
};

// Part of one tensor; a unit is some pieces in a row, what a thread claims at once. Pieces are a 64th of the list
// within these bounds.
inline constexpr int64_t kLeastPiece = 16 * kChunkRows, kMostPiece = 256 * kChunkRows, kPiecesOfList = 64;
struct Piece {
  int64_t tensor, begin, end;
};

// About as many elements, and as many pieces, as keep a thread busy for some microseconds.
inline constexpr int64_t kUnitElements = kLeastPiece, kUnitPieces = 64;

// A list of tensors cut into pieces and units, and its chunks numbered.
struct Cut {
  std::vector<Piece> pieces;
  std::vector<int64_t> units{0};
  int64_t elements = 0, chunks = 0;

  explicit Cut(std::vector<TensorEntry>& tensors) {
    for (const TensorEntry& tensor : tensors) elements += tensor.size;
    const int64_t share = (elements / kPiecesOfList + kChunkRows - 1) / kChunkRows * kChunkRows;
    const int64_t longest = share < kLeastPiece ? kLeastPiece : share > kMostPiece ? kMostPiece : share;
    int64_t in_unit = 0;
    const auto close = [&] {
      if (units.back() != static_cast<int64_t>(pieces.size())) units.push_back(static_cast<int64_t>(pieces.size()));
      in_unit = 0;
    };
    for (size_t i = 0; i < tensors.size(); ++i) {
      TensorEntry& tensor = tensors[i];
      tensor.first_chunk = chunks;
      chunks += chunk_count(tensor.size);
      for (int64_t begin = 0; begin < tensor.size; begin += longest) {
        const int64_t end = begin + longest < tensor.size ? begin + longest : tensor.size;
        pieces.push_back({static_cast<int64_t>(i), begin, end});
        in_unit += end - begin;
        if (in_unit >= kUnitElements || static_cast<int64_t>(pieces.size()) - units.back() >= kUnitPieces) close();
      }
    }
    close();
  }
};

// How one tensor divides into units: element i belongs to unit i / inner % units. No units: the tensor is left alone.
struct UnitView {
  int64_t units, inner;
};

// The second moments of one tensor by its axes, for a factored rule: contiguous, of the compute type.
struct Axes {
  int32_t count;  // of axes of the tensor, at least 1
  int64_t extents[kMaxDims];
  void* data[kMaxDims];
};

inline constexpr int kMaxCoefficients = 16;

// Of a group: the rule's hyper-parameters, then the settings of every rule.
inline constexpr int kGroupSettings = kMaxHyper + 11;

// What all tensors of a group share in one step. The first kGroupSettings doubles are what the host says of it.
struct GroupStep {
  double hyper[kMaxHyper];
  double decoupled = 0;  // weight decay in learning rates, beside the rule
  double l1 = 0, l2 = 0;
  double coupled = 0;           // weight decay that joins l2
  double clip_value = 0;        // 0: off
  double average = 0;           // what the average of the weights keeps at a step
  double corrected = 0;         // nonzero: the average starts at nothing, and its missing mass is made up for
  double clips = 1;             // 0: the norm neither counts nor scales this group's gradients
  double max_norm = 0;          // of a unit's weights after the step; 0: off
  double agc = 0, agc_eps = 0;  // bound of a unit's gradient norm, in norms of its weights; 0: off
  StepMemory memory;
  // Settings that stand in the device's memory and are read at every step; null where the number counts.
  const void* sources[kGroupSettings] = {};
  DType source_dtypes[kGroupSettings] = {};
  double decay = 1;         // of this step: multiplies the parameter before the rule
  double average_keep = 0;  // of this step
  // The rule's members, as float and as double.
  alignas(8) unsigned char coefficients[2][kMaxCoefficients * sizeof(double)];

  constexpr double square_penalty() const { return l2 + coupled; }
  constexpr bool prepares() const { return l1 != 0 || square_penalty() != 0 || clip_value != 0; }
  FORMULA double& setting(int number) { return reinterpret_cast<double*>(this)[number]; }
};
static_assert(offsetof(GroupStep, agc_eps) == (kGroupSettings - 1) * sizeof(double));

struct UpdateCall {
  int32_t rule;
  int32_t group_count;
  GroupStep* groups;
  const TensorEntry* tensors;
  const UnitView* max_norm_units;  // one a tensor, where a group has max_norm; else null
  const UnitView* agc_units;       // likewise
  const Axes* axes;                // one a tensor, for a factored rule
  double* tensor_memory;           // what a layerwise rule remembers of each tensor
  const Piece* pieces;
  const int64_t* units;  // unit u is pieces [units[u], units[u + 1])
  int64_t tensor_count, piece_count, unit_count, element_count, chunk_count;
  double grad_scale;  // 1 / loss scale, and negative to climb
  double clip_norm;   // 0: off
  double norm;        // of all gradients as they are stored, where norm_given: of a list whose part this is
  int32_t norm_given;
  int32_t skip_given;  // 0 or 1: whether to skip; negative: what skip_nonfinite finds
  int32_t skip_nonfinite, zero_grads;
  int32_t wants_norms;
  int32_t rounds_randomly;  // what is kept in 16 bits: parameters, states, averages
  uint64_t seed;            // of that rounding

  // Whether the step has to look at all gradients first.
  constexpr bool measures() const { return (clip_norm > 0 && !norm_given) || (skip_nonfinite && skip_given < 0); }

  void describe(const std::vector<TensorEntry>& entries, const Cut& cut) {
    tensors = entries.data(), tensor_count = static_cast<int64_t>(entries.size());
    pieces = cut.pieces.data(), piece_count = static_cast<int64_t>(cut.pieces.size());
    units = cut.units.data(), unit_count = static_cast<int64_t>(cut.units.size()) - 1;
    element_count = cut.elements, chunk_count = cut.chunks;
  }
};

// Part of a call for arrays on a GPU: what stands in the device's memory, so that no step waits for the host.
struct DeviceStep {
  double* memory;          // (groups, 2): the groups' StepMemory
  double* tensor_memory;   // one a tensor
  double* report;          // norm of all gradients, 1 where skipped, then GroupReport by GroupReport
  const void* grad_scale;  // the loss scale itself, read at every step; null where the number counts
  const void* clip_norm;   // likewise
  DType grad_scale_dtype, clip_norm_dtype;
};

// What is done to a list of gradients, or of averages, outside an optimizer.
enum class ListWork : int32_t { squares, clip, scale, average };

struct ListCall {
  UpdateCall list;
  ListWork work;
  double factor, bound;  // of scale
  double max_norm;       // of clip
  double keep;           // of average
  double* partials;      // of squares, one a chunk; null: they are merged
  double* norm;          // of squares and clip: one number of the device; null where not wanted
  bool* finite;          // of squares and scale, likewise
};

// Memory of a list on the device: tables of what the host described, and room for the phases. `shadow` is the host's
// copy of the tables as they were sent last, of `bytes` too.
struct DeviceSpace {
  char* memory;
  char* shadow;
  int64_t bytes;
  int32_t fresh;      // nothing was sent or cleared yet
  int32_t capturing;  // the last call became part of a graph
  int32_t captured;   // some call did: that graph may have sent its own tables since
};

// Norms of a group, in the unscaled gradient's unit; NaN where not measured.
struct GroupReport {
  double grad_norm, update_norm, weight_norm;
};

struct UpdateReport {
  double grad_norm;  // of all groups together, before clipping; NaN where not measured
  int32_t skipped;
};

// Fills in the coefficients of the next step.
FORMULA void begin_step(int rule, GroupStep& group) {
  group.memory.step += 1;
  group.decay = 1 - group.hyper[0] * group.decoupled;
  const double keep = group.average, done = group.memory.step - 1;
  group.average_keep = group.corrected != 0 ? keep * mass(keep, done) / mass(keep, done + 1) : keep;
  Updates::for_each<float>([&]<class Rule>(int number) {
    if (number != rule) return;
    static_assert(sizeof(Rule) <= kMaxCoefficients * sizeof(float));
    StepMemory memory = group.memory;
    *reinterpret_cast<Rule*>(group.coefficients[0]) = Rule::make(group.hyper, memory);
  });
  Updates::for_each<double>([&]<class Rule>(int number) {
    if (number == rule) *reinterpret_cast<Rule*>(group.coefficients[1]) = Rule::make(group.hyper, group.memory);
  });
}

// One number for a tensor, from the two sums of a layerwise rule; of a factored one, from the sums of squares of
// weights and direction.
FORMULA double layer_factor(int rule, const GroupStep& group, bool is_double, double first, double second,
                            double elements, double& memory) {
  double factor = 1;
  const auto visit = [&]<class Rule>(int number) {
    if constexpr (is_layerwise<Rule>) {
      if (number != rule) return;
      const Rule& own = *reinterpret_cast<const Rule*>(group.coefficients[is_double]);
      if constexpr (is_factored_rule<Rule>)
        factor = own.size(second, first, elements);
      else
        factor = own.factor(first, second, memory);
    }
  };
  is_double ? Updates::for_each<double>(visit) : Updates::for_each<float>(visit);
  return factor;
}

inline bool is_factored(int rule) {
  bool found = false;
  Updates::for_each<float>([&]<class Rule>(int number) {
    if constexpr (is_factored_rule<Rule>) found = found || number == rule;
  });
  return found;
}

// The factored rule that makes its direction from rows and columns, against the one that keeps maxima.
inline bool is_adafactor(int rule) {
  bool found = false;
  Updates::for_each<float>([&]<class Rule>(int number) {
    if (number == rule) found = requires(Rule own) { own.fresh; };
  });
  return found;
}

inline constexpr uint32_t kRoundingDomain = 5;

// Which draws round one array at one step (formulas/random.h).
FORMULA RandomKey rounding_key(uint64_t seed, const GroupStep& group, int64_t tensor, int role) {
  return {seed, static_cast<uint32_t>(group.memory.step),
          kRoundingDomain << 24 | (static_cast<uint32_t>(tensor * kRoles + role) & 0xffffffu)};
}

}  // namespace brazen
