# SPDX-License-Identifier: BSD-3-Clause
"""The declarations of rules that look at whole arrays, or keep their sums by row, column and axis. No formula.

The formulas stand in csrc/formulas/updates_layerwise.h and updates_factored.h.
"""

from __future__ import annotations

from .optimizer import Optimizer
from .settings import is_on


class _OwnDecay(Optimizer):
    """A rule whose formula has the weight decay: neither the coupled nor the decoupled one applies."""

    name = ""

    def check(self, group):
        if group["decoupled_weight_decay"] is not None:
            raise ValueError("decoupled_weight_decay does not apply: the formula itself has the weight decay")

    def outer_decay(self, h):
        return 0.0


class LARS(_OwnDecay):
    """Momentum with a rate for each array (You 2017): r = trust_coefficient |w| / (|g| + weight_decay |w| + eps).

    form="classic", the paper's: v = momentum v + lr r (g + weight_decay w);  w -= v. form="torch" multiplies by lr at the end.
    r is 1 where |w| or |g| is 0.
    """

    name = "lars"
    hyper = {
        "lr": 0.1, "momentum": 0.9, "nesterov": False, "trust_coefficient": 1e-3, "eps": 0.0, "form": "classic",
    }  # fmt: skip

    def check(self, group):
        super().check(group)
        if group["form"] not in ("classic", "torch"):
            raise ValueError(f"form is {group['form']!r}; expected one of 'classic', 'torch'")

    def core_hyper(self, h):
        return {"form": float(h["form"] == "classic")}


class LAMB(_OwnDecay):
    """Adam's step and the decay, scaled to the norm of each array (You 2020): u = m' / (sqrt(v') + eps) + weight_decay w.

    w -= lr |w| / |u| u, the ratio being 1 where either norm is 0; trust_clip=(low, high) holds |w| to a range first.
    """

    name = "lamb"
    hyper = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-6, "bias_correction": True, "trust_clip": None}

    def check(self, group):
        super().check(group)
        clip = group["trust_clip"]
        if clip is not None and not (isinstance(clip, tuple | list) and len(clip) == 2 and 0 <= clip[0] <= clip[1]):
            raise ValueError(f"trust_clip is {clip!r}; expected None, or the smallest and the largest norm of weights")

    def core_hyper(self, h):
        low, high = h["trust_clip"] or (0.0, float("inf"))
        return {"trust_low": low, "trust_high": high}


class NovoGrad(_OwnDecay):
    """Momentum of gradients divided by their own norm (Ginsburg 2019): v = b2 v + (1 - b2) |g|², one number an array.

    m = b1 m + (g / (sqrt(v) + eps) + weight_decay w);  w -= lr m. v starts at the first |g|²; initial="zero" starts it at 0.
    grad_averaging=True weighs the new term by 1 - b1.
    """

    name = "novograd"
    hyper = {"lr": 1e-2, "betas": (0.95, 0.98), "eps": 1e-8, "grad_averaging": False, "initial": "gradient"}


class Adafactor(Optimizer):
    """Second moments of matrices kept as one row and one column (Shazeer 2018), in PyTorch's variant.

    v is factored over the last two axes; a vector keeps it whole. The weight of the new squares is t^beta2_decay; the step is
    max(eps[1], rms(w)) min(lr, 1 / sqrt(t)), divided by max(1, rms(update) / d). The paper adds eps1 = 1e-30 to g²; here, as in
    PyTorch, v is held to at least eps[0]², where eps[0] is the compute type's spacing at 1 unless given.
    """

    name = "adafactor"
    hyper = {"lr": 1e-2, "beta2_decay": -0.8, "eps": (None, 1e-3), "d": 1.0}
    decoupled = True

    def check(self, group):
        if not is_on(group["d"]):
            raise ValueError(
                f"d is {group['d']!r}; expected a positive number: the update's root mean square is held to it"
            )

    def core_hyper(self, h):
        low, scale = h["eps"]
        return {"eps_square": -1.0 if low is None else low, "eps_scale": scale}

    def axis_states(self, shape):
        if len(shape) < 2:
            return {"variance": shape}
        return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}


class SM3(Optimizer):
    """SM3-II (Anil 2019): Adagrad whose sums are kept as one maximum for each index of each axis.

    v = min over the axes of their maxima + g²;  m = momentum m + (1 - momentum) g / sqrt(v);  w -= lr m;  each axis keeps the
    maximum of v. A vector is its own cover, which is Adagrad without eps.
    """

    name = "sm3"
    hyper = {"lr": 0.1, "momentum": 0.0}

    def axis_states(self, shape):
        if not shape:
            return {"accumulator0": ()}
        return {
            f"accumulator{axis}": tuple(n if a == axis else 1 for a, n in enumerate(shape))
            for axis in range(len(shape))
        }
