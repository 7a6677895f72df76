# SPDX-License-Identifier: BSD-3-Clause
"""What all update rules share: the order of one step, the options of every rule, the state. No formula of a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._kinds import array_namespace, compute
from . import functions

rules: dict[str, type[Rule]] = {}


@dataclass(frozen=True)
class Report:
    """What one step measured: all norms are global; None where nobody asked for it."""

    skipped: bool = False
    grad_norm: Any = None  # after unscaling, before clipping
    update_norm: Any = None  # of new minus old parameters
    weight_norm: Any = None  # before the step


def check(name: str, value, accepted: tuple) -> None:
    """Raises unless `value` is one of the accepted."""
    if value not in accepted:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, accepted))}")


def divide(xp, a, b):
    """a / b, and a where b is 0: there a sum of squares is 0, and so is the gradient above it."""
    return a / xp.where(b == 0, 1, b)


def root(xp, v, eps, eps_mode):
    """sqrt(v + eps), sqrt(v) + eps or sqrt(v), which may be 0."""
    if eps_mode == "inside":
        return xp.sqrt(v + eps)
    return xp.sqrt(v) + eps if eps_mode == "outside" else xp.sqrt(v)


EPS_MODES = ("inside", "outside", "none")


class Rule:
    """One update rule with its state. `step(params, grads)` changes lists of arrays in place.

    The order of a step: unscale, look for infinities and NaN (skip_nonfinite), clip by the global norm, clip_value, agc,
    coupled l1, l2 and weight_decay, the rule, decoupled weight_decay (of the old weights), max_norm, ema, copy_to.

    Arithmetic is done in the parameter's dtype, in float32 for 16 bits; so is the state kept. `state` maps a name to one array
    per parameter, and "step" to the number of steps taken. Every attribute may be changed between two steps.
    """

    name: ClassVar[str]
    decoupled: ClassVar[bool] = False  # the default of decoupled_weight_decay

    def __init_subclass__(cls, name, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.name = name
        if name:
            rules[name] = cls

    def __init__(
        self,
        lr,
        weight_decay=0.0,
        *,
        decoupled_weight_decay=None,
        maximize=False,
        clip_norm=None,
        clip_value=None,
        agc=None,
        agc_eps=1e-3,
        l1=0.0,
        l2=0.0,
        max_norm=None,
        unit_axis=-1,
        ema=None,
        ema_bias_correction=False,
        skip_nonfinite=False,
        report_norms=False,
    ):
        self.lr, self.weight_decay = lr, weight_decay
        self.decoupled_weight_decay = self.decoupled if decoupled_weight_decay is None else decoupled_weight_decay
        self.maximize, self.clip_norm, self.clip_value = maximize, clip_norm, clip_value
        self.agc, self.agc_eps, self.l1, self.l2 = agc, agc_eps, l1, l2
        self.max_norm, self.unit_axis = max_norm, unit_axis
        self.ema, self.ema_bias_correction = ema, ema_bias_correction
        self.skip_nonfinite, self.report_norms = skip_nonfinite, report_norms
        self.state: dict[str, Any] = {"step": 0}

    # What a rule defines.

    def zero(self, xp, w) -> dict:
        """The state of one parameter before the first step: name to array."""
        return {}

    def begin(self, t: int) -> None:
        """Scalars of step t (from 1) that all parameters share."""

    def update(self, xp, w, g, s: dict, t: int):
        """What to subtract from w, without a decoupled decay; new values of the state go into s."""
        raise NotImplementedError

    def apply(self, w, delta):
        """The new weights, decoupled decay included."""
        if self.decoupled_weight_decay and self.weight_decay:
            return w - delta - (self.lr * self.weight_decay) * w
        return w - delta

    def finish(self, xp, w, s: dict, t: int) -> None:
        """What the state takes from the new weights w."""

    # What all rules do.

    def step(self, params, grads, scale=1.0, copy_to=None, zero_grads=False) -> Report:
        """One step; the gradients carry the factor `scale`, and are left as they are unless zero_grads is set."""
        params, raw = list(params), list(grads)
        if len(params) != len(raw):
            raise ValueError(f"grads: {len(raw)} arrays for {len(params)} parameters")
        coupled = self.l2 + (0.0 if self.decoupled_weight_decay else self.weight_decay)
        limits = (self.clip_norm, self.clip_value, self.agc)
        changes = scale != 1.0 or self.maximize or coupled or self.l1 or any(limit is not None for limit in limits)
        grads = []
        for p, g in zip(params, raw):
            xp = array_namespace(p)
            grads.append((xp.array if changes else xp.asarray)(compute(g), compute(p).dtype))
        if scale != 1.0 and not functions.scale_and_check(grads, scale) and self.skip_nonfinite:
            return Report(skipped=True)
        if self.skip_nonfinite and not functions.all_finite(grads):
            return Report(skipped=True)
        grad_norm, old = None, None
        if self.report_norms:
            old = [compute(p).copy() for p in params]
            grad_norm = functions.global_norm(grads)
        if self.clip_norm is not None:
            grad_norm = functions.clip_grad_norm(grads, self.clip_norm)
        if self.clip_value is not None:
            functions.clip_grad_value(grads, self.clip_value)
        if self.agc is not None:
            functions.agc(params, grads, self.agc, self.agc_eps, self.unit_axis)
        if self.maximize:
            for g in grads:
                g *= -1
        if coupled:
            functions.add_l2(params, grads, coupled)
        if self.l1:
            functions.add_l1(params, grads, self.l1)
        self._update(params, grads)
        if self.max_norm is not None:
            functions.max_norm(params, self.max_norm, self.unit_axis)
        if self.ema is not None:
            functions.ema_update(self.state["ema"], params, self.ema)
        for target, param in zip(copy_to or (), params):
            target[...] = param.astype(target.dtype)
        if zero_grads:
            for g in raw:
                g[...] = 0
        if old is None:
            return Report(grad_norm=grad_norm)
        moved = [compute(p) - before for p, before in zip(params, old)]
        return Report(False, grad_norm, functions.global_norm(moved), functions.global_norm(old))

    def _update(self, params, grads):
        state = self.state
        if state["step"] == 0:
            for index, param in enumerate(params):
                wide = compute(param)
                made = self.zero(array_namespace(param), wide)
                if self.ema is not None:
                    made["ema"] = wide * 0 if self.ema_bias_correction else wide.copy()
                for name, array in made.items():
                    state.setdefault(name, [None] * len(params))[index] = array
        state["step"] += 1
        t = state["step"]
        self.begin(t)
        names = [name for name, value in state.items() if isinstance(value, list) and name != "ema"]
        for index, (param, g) in enumerate(zip(params, grads)):
            if not param.size:
                continue
            xp, w = array_namespace(param), compute(param)
            s = {name: state[name][index] for name in names}
            w = self.apply(w, self.update(xp, w, g, s, t))
            self.finish(xp, w, s, t)
            for name in names:
                kept = s[name]
                # A 0-d array's arithmetic gives a scalar, which NumPy 1 may have widened.
                whole = kept is None or isinstance(kept, list)
                state[name][index] = kept if whole else xp.asarray(kept, w.dtype)
            param[...] = w

    def averages(self):
        """The averaged parameters; with ema_bias_correction divided by 1 - ema^step."""
        if not self.ema_bias_correction:
            return list(self.state["ema"])
        return [array / (1 - self.ema ** self.state["step"]) for array in self.state["ema"]]
