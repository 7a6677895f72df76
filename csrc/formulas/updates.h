// SPDX-License-Identifier: BSD-3-Clause
// Every optimizer's rule, listed once: what a gradient does to its parameter and to the states beside it, one element
// at a time. No loop, no machine; scaling, clipping and decay, which all rules share, are the loops'.
//
// A rule's `make` turns hyper-parameters (doubles, in the order of its `info`) into coefficients, once a step and
// group, in double; they are rounded once. Its members are these coefficients alone, all of type T: loops copy them as
// bytes.
#pragma once

#include "updates_adam.h"
#include "updates_descent.h"
#include "updates_factored.h"
#include "updates_layerwise.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

template <class Rule>
inline constexpr bool is_layerwise = requires { Rule::layerwise; };

template <class Rule>
inline constexpr bool is_factored_rule = requires { Rule::factored; };

using Updates = OperationList<Sgd, Momentum, Adagrad, Rmsprop, RmspropMomentum, RmspropCentered,
                              RmspropCenteredMomentum, Adadelta, Adam, Amsgrad, Adamax, Nadam, Radam, Rprop, Asgd, Lion,
                              Adabelief, Yogi, Adan, Ademamix, Lars, Lamb, Novograd, Adafactor, Sm3>;

}  // namespace BRAZEN_TARGET
}  // namespace brazen
