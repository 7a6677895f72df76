// SPDX-License-Identifier: BSD-3-Clause
// Measures formulas/math.h against libm, float over all 2^32 inputs and double over random ones, and
// formulas/math_brief.h over all bfloat16 inputs; formulas only, no kernels.
//
//   g++ -O3 -std=c++20 -ffp-contract=off -fno-math-errno -fno-trapping-math -march=x86-64-v4 -Icsrc
//       tests/native/exhaustive.cpp -o exhaustive -pthread
//   exhaustive [--stride K] [--double N] [--only name]
//
// The hash covers every result bit (a NaN counts as one value) and must not depend on compiler, flags or machine.
// Exit code 1 if a function leaves its bound or treats a NaN, an infinity or the sign of a zero otherwise than libm.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "formulas/math.h"
#include "formulas/math_brief.h"

namespace {

namespace math = brazen::math;
constexpr std::size_t kBlock = 4096;

template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = std::uint32_t;
  using Wide = double;
};
template <>
struct Format<double> {
  using Bits = std::uint64_t;
  using Wide = long double;
};

template <class T>
using Evaluate = void (*)(const T*, T*);
template <class T>
using Reference = typename Format<T>::Wide (*)(typename Format<T>::Wide);

struct Function {
  const char* name;
  Evaluate<float> evaluate_float;
  Reference<float> reference_float;
  double bound_float;  // largest error allowed, in ulp
  Evaluate<double> evaluate_double;
  Reference<double> reference_double;
  double bound_double;
  bool absolute = false;  // errors count in units of the spacing just below 1, or of the result's if that is wider
};

template <class W>
W sigmoid(W x) {
  return 1 / (1 + std::exp(-x));
}
template <class W>
W softplus(W x) {
  return (x > 0 ? x : (x == x ? W(0) : x)) + std::log1p(std::exp(-std::fabs(x)));
}
template <class W>
W normal_cdf(W x) {
  return W(0.5) * std::erfc(x * -W(0.707106781186547524400844362104849039L));
}
// The square of a double does not fit a long double: what it loses is given back.
template <class W>
W normal_pdf(W x) {
  if (!(std::fabs(x) < W(1e4))) return x == x ? W(0) : x;
  const W square = x * x, lost = std::fma(x, x, -square);
  return std::exp(square * W(-0.5)) * (1 - lost / 2) * W(0.398942280401432677939946059934381868L);
}

template <class T, class F>
void evaluate_block(const T* in, T* out, F function) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < kBlock; ++i) out[i] = function(in[i]);
}

#define FUNCTION(name, reference, bound_float, bound_double, ...)                                          \
  {#name,                                                                                                  \
   [](const float* in, float* out) { evaluate_block(in, out, [](float x) { return math::name(x); }); },    \
   [](double x) -> double { return reference(x); },                                                        \
   bound_float,                                                                                            \
   [](const double* in, double* out) { evaluate_block(in, out, [](double x) { return math::name(x); }); }, \
   [](long double x) -> long double { return reference(x); },                                              \
   bound_double __VA_OPT__(, ) __VA_ARGS__}

// Float bounds are the largest errors over all inputs, rounded up. Double ones leave room over those of 10^8 random
// inputs, which no run of another length need reach.
const Function kFunctions[] = {
    FUNCTION(exp, std::exp, 1.02, 0.95),
    FUNCTION(expm1, std::expm1, 1.50, 1.80),
    FUNCTION(log, std::log, 1.34, 0.92),
    FUNCTION(log1p, std::log1p, 1.44, 0.95),
    FUNCTION(tanh, std::tanh, 1.24, 1.50),
    FUNCTION(erf, std::erf, 1.36, 1.35),
    FUNCTION(sin, std::sin, 0.89, 1.05),
    FUNCTION(cos, std::cos, 0.90, 1.09),
    FUNCTION(sigmoid, sigmoid, 1.87, 1.95),
    FUNCTION(softplus, softplus, 2.00, 1.75),
    FUNCTION(normal_cdf, normal_cdf, 1.38, 1.25, true),
    FUNCTION(normal_pdf, normal_pdf, 1.59, 1.55),
};
#undef FUNCTION

// Of each function the limit at -infinity, where the product has none.
template <class F>
long double gated(long double x, F gate) {
  return x == -std::numeric_limits<long double>::infinity() ? -0.0L : x * gate(x);
}
long double gelu_tanh(long double x) {
  const long double twice_sqrt_2_over_pi = 1.595769121605730711759784239737527474L;
  return gated(x, [=](long double v) { return sigmoid(twice_sqrt_2_over_pi * (v + 0.044715L * v * v * v)); });
}

struct BriefFunction {
  const char* name;
  float (*evaluate)(float);
  Reference<double> reference;
};

const BriefFunction kBriefFunctions[] = {
    {"tanh", [](float x) { return math::brief::tanh(x); }, [](long double x) { return std::tanh(x); }},
    {"sigmoid", [](float x) { return math::brief::sigmoid(x); }, [](long double x) { return sigmoid(x); }},
    {"silu", [](float x) { return math::brief::silu(x); },
     [](long double x) { return gated(x, [](long double v) { return sigmoid(v); }); }},
    {"gelu", [](float x) { return math::brief::gelu(x); },
     [](long double x) { return gated(x, [](long double v) { return normal_cdf(v); }); }},
    {"gelu_tanh", [](float x) { return math::brief::gelu_tanh(x); }, [](long double x) { return gelu_tanh(x); }},
};

std::uint64_t mix(std::uint64_t z) {  // splitmix64's finaliser
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

template <class T>
struct Tally {
  double worst = 0;
  T worst_input = 0;
  std::uint64_t misrounded = 0, special = 0, hash = 0;

  void merge(const Tally& other) {
    if (other.worst > worst) worst = other.worst, worst_input = other.worst_input;
    misrounded += other.misrounded;
    special += other.special;
    hash += other.hash;
  }
};

// The spacing of T at `value`; below the smallest normal number that of the subnormals.
template <class T>
double spacing(typename Format<T>::Wide value) {
  using Limits = std::numeric_limits<T>;
  int exponent;
  std::frexp(value, &exponent);
  return std::ldexp(1.0, std::max(exponent, Limits::min_exponent) - Limits::digits);
}

template <class T>
void compare(T x, T result, typename Format<T>::Wide exact, bool absolute, Tally<T>& tally) {
  using Wide = typename Format<T>::Wide;
  using Bits = typename Format<T>::Bits;
  using Limits = std::numeric_limits<T>;
  const Bits pattern = result == result ? std::bit_cast<Bits>(result) : std::bit_cast<Bits>(Limits::quiet_NaN());
  tally.hash += mix(mix(std::bit_cast<Bits>(x)) + pattern);

  const T rounded = T(exact);
  if (rounded != rounded || result != result) {
    tally.special += (rounded != rounded) != (result != result);
    return;
  }
  const bool exact_special = exact == 0 || std::fabs(exact) == std::numeric_limits<Wide>::infinity();
  if (exact_special) {
    tally.special += pattern != std::bit_cast<Bits>(rounded);
    return;
  }
  tally.misrounded += result != rounded;
  // Overflow happens at 2^max_exponent, one spacing above the largest number.
  const Wide limit = std::ldexp(Wide(1), Limits::max_exponent);
  const Wide got = std::isinf(result) ? std::copysign(limit, Wide(result)) : Wide(result);
  const Wide want = std::fabs(exact) > limit ? std::copysign(limit, exact) : exact;
  double unit = std::min(spacing<T>(want), std::ldexp(1.0, Limits::max_exponent - Limits::digits));
  if (absolute) unit = std::max(unit, std::ldexp(1.0, -Limits::digits));
  const double error = double(std::fabs(got - want) / unit);
  if (error > tally.worst) tally.worst = error, tally.worst_input = x;
}

// `input(i)` for i in [0, count), on two threads.
template <class T, class Input>
Tally<T> measure(Evaluate<T> evaluate, Reference<T> reference, bool absolute, std::uint64_t count, Input input) {
  Tally<T> total;
  std::atomic<std::uint64_t> next{0};
  Tally<T> parts[2];
  const auto work = [&](Tally<T>& tally) {
    alignas(64) T in[kBlock], out[kBlock];
    for (std::uint64_t start; (start = next.fetch_add(kBlock)) < count;) {
      const std::size_t size = std::size_t(std::min<std::uint64_t>(kBlock, count - start));
      for (std::size_t i = 0; i < kBlock; ++i) in[i] = input(start + std::min(i, size - 1));
      evaluate(in, out);
      for (std::size_t i = 0; i < size; ++i) compare(in[i], out[i], reference(in[i]), absolute, tally);
    }
  };
  std::thread second(work, std::ref(parts[1]));
  work(parts[0]);
  second.join();
  for (const Tally<T>& part : parts) total.merge(part);
  return total;
}

// Four kinds in turn: any bit pattern; any mantissa at exponents -60 to 11; uniform over +-8; uniform over +-760.
double random_double(std::uint64_t index) {
  const std::uint64_t pattern = mix(index * 0x9e3779b97f4a7c15u + 1), choice = mix(pattern);
  const double unit = double(std::int64_t(pattern) >> 11) * 0x1p-52;
  switch (index & 3) {
    case 0: return std::bit_cast<double>(pattern);
    case 1: return std::bit_cast<double>((pattern & 0x800fffffffffffffu) | (std::uint64_t(963 + choice % 72) << 52));
    case 2: return unit * 8;
    default: return unit * 760;
  }
}

template <class T>
bool report(const char* name, const Tally<T>& tally, std::uint64_t count, double bound) {
  const bool good = tally.worst <= bound && tally.special == 0;
  std::printf("| %-10s | %-6s | %11llu | %6.3f | %5.2f | %-24a | %10llu | %7llu | %016llx |%s\n", name,
              sizeof(T) == 4 ? "float" : "double", static_cast<unsigned long long>(count), tally.worst, bound,
              double(tally.worst_input), static_cast<unsigned long long>(tally.misrounded),
              static_cast<unsigned long long>(tally.special), static_cast<unsigned long long>(tally.hash),
              good ? "" : " FAILED");
  std::fflush(stdout);
  return good;
}

std::uint16_t to_bfloat16(float x) {
  const std::uint32_t pattern = std::bit_cast<std::uint32_t>(x);
  return x == x ? std::uint16_t((pattern + 0x7fff + (pattern >> 16 & 1)) >> 16) : std::uint16_t(0x7fc0);
}

// Rounds once, not through float: eight bits, or whole multiples of 2^-133.
std::uint16_t to_bfloat16(long double x) {
  if (x != x || std::isinf(x) || x == 0) return to_bfloat16(float(x));
  int exponent;
  std::frexp(x, &exponent);
  const int last_bit = std::max(exponent - 8, -133);
  return to_bfloat16(float(std::ldexp(std::nearbyint(std::ldexp(x, -last_bit)), last_bit)));
}

// Inputs whose bfloat16 result is not the correctly rounded one; must be none.
bool report_brief(const BriefFunction& f) {
  unsigned wrong = 0;
  for (std::uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const float x = std::bit_cast<float>(pattern << 16);
    wrong += to_bfloat16(f.evaluate(x)) != to_bfloat16(f.reference(x));
  }
  std::printf("brief %-10s: %u of 65536 bfloat16 inputs rounded wrongly%s\n", f.name, wrong, wrong ? " FAILED" : "");
  return wrong == 0;
}

}  // namespace

int main(int count, char** arguments) {
  std::uint64_t stride = 1, doubles = 0;
  const char* only = nullptr;
  bool known = true;
  for (int i = 1; i < count; i += 2) {
    const char* value = i + 1 < count ? arguments[i + 1] : "";
    if (!std::strcmp(arguments[i], "--stride"))
      stride = std::strtoull(value, nullptr, 10);
    else if (!std::strcmp(arguments[i], "--double"))
      doubles = std::strtoull(value, nullptr, 10);
    else if (!std::strcmp(arguments[i], "--only"))
      only = value;
    else
      known = false;
  }
  if (!known || stride == 0) {
    std::fprintf(stderr,
                 "usage: %s [--stride K] [--double N] [--only name]; K at least 1, N > 0 replaces the float run\n",
                 arguments[0]);
    return 2;
  }
  std::puts(
      "| function   | type   | inputs      | ulp    | bound | worst input              | misrounded | special | hash   "
      "          |");
  std::puts(
      "|------------|--------|-------------|--------|-------|--------------------------|------------|---------|--------"
      "----------|");
  bool good = true;
  for (const Function& f : kFunctions) {
    if (only && std::strcmp(only, f.name)) continue;
    if (doubles) {
      good &= report(f.name, measure(f.evaluate_double, f.reference_double, f.absolute, doubles, random_double),
                     doubles, f.bound_double);
    } else {
      const std::uint64_t inputs = ((std::uint64_t(1) << 32) + stride - 1) / stride;
      const auto input = [stride](std::uint64_t i) { return std::bit_cast<float>(std::uint32_t(i * stride)); };
      good &= report(f.name, measure(f.evaluate_float, f.reference_float, f.absolute, inputs, input), inputs,
                     f.bound_float);
    }
  }
  for (const BriefFunction& f : kBriefFunctions) {
    if (!doubles && (!only || !std::strcmp(only, f.name))) good &= report_brief(f);
  }
  return good ? 0 : 1;
}
