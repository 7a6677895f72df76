# SPDX-License-Identifier: BSD-3-Clause
"""The rules that divide by a root of accumulated squares and have no first moment of Adam's kind: adagrad, rmsprop,
adadelta, adafactor, sm3."""

from __future__ import annotations

from . import functions
from .rule import EPS_MODES, Rule, check, divide, root


class Adagrad(Rule, name="adagrad"):
    """sum += g^2;  w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(sum) + eps); names and defaults are PyTorch's.

    eps_mode="inside": sqrt(sum + eps). eps_mode="none": lr_t / sigma_t g with lr_t = lr / sqrt(t) and sigma_t the root mean
    square of all gradients is the same; its first step is lr sign(g), and 0 where g is 0.
    """

    def __init__(
        self,
        lr=1e-2,
        lr_decay=0.0,
        weight_decay=0.0,
        initial_accumulator_value=0.0,
        eps=1e-10,
        *,
        eps_mode="outside",
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        check("eps_mode", eps_mode, EPS_MODES)
        self.lr_decay, self.initial_accumulator_value = lr_decay, initial_accumulator_value
        self.eps, self.eps_mode = eps, eps_mode

    def zero(self, xp, w):
        return {"sum": xp.full_like(w, self.initial_accumulator_value)}

    def update(self, xp, w, g, s, t):
        s["sum"] = s["sum"] + g * g
        rate = self.lr / (1 + (t - 1) * self.lr_decay)
        return rate * divide(xp, g, root(xp, s["sum"], self.eps, self.eps_mode))


class RMSprop(Rule, name="rmsprop"):
    """v = alpha v + (1 - alpha) g^2;  w -= lr g / (sqrt(v) + eps); names and defaults are PyTorch's.

    eps_mode="inside": sqrt(v + eps); "none": sqrt(v). initial="zero" starts v at 0, so the first step is lr / sqrt(1 - alpha);
    initial="gradient" at the first g^2, so it is lr sign(g). (A deck that starts sigma itself at g would make it -lr whatever
    the sign of g: |g| is meant.)
    centered=True subtracts the square of the mean gradient from v (Graves 2013); where rounding makes that negative it is 0.
    With momentum: b = momentum b + g / root;  w -= lr b.
    """

    def __init__(
        self,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0.0,
        momentum=0.0,
        centered=False,
        *,
        eps_mode="outside",
        initial="zero",
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        check("eps_mode", eps_mode, EPS_MODES)
        check("initial", initial, ("zero", "gradient"))
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered
        self.eps_mode, self.initial = eps_mode, initial

    def zero(self, xp, w):
        names = ["square_avg"] + ["momentum_buffer"] * bool(self.momentum) + ["grad_avg"] * self.centered
        return {name: xp.zeros_like(w) for name in names}

    def update(self, xp, w, g, s, t):
        if t == 1 and self.initial == "gradient":
            s["square_avg"] = g * g
        else:
            s["square_avg"] = self.alpha * s["square_avg"] + (1 - self.alpha) * (g * g)
        v = s["square_avg"]
        if self.centered:
            s["grad_avg"] = self.alpha * s["grad_avg"] + (1 - self.alpha) * g
            v = xp.maximum(v - s["grad_avg"] * s["grad_avg"], 0)
        step = divide(xp, g, root(xp, v, self.eps, self.eps_mode))
        if self.momentum:
            step = s["momentum_buffer"] = self.momentum * s["momentum_buffer"] + step
        return self.lr * step


class Adadelta(Rule, name="adadelta"):
    """v = rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) g;  u = rho u + (1 - rho) d^2;  w -= lr d (Zeiler 2012).

    Names and defaults are PyTorch's. eps_mode="outside": (sqrt(u) + eps) / (sqrt(v) + eps). Without an eps above, as one deck
    prints it, nothing ever moves: "none" is refused.
    """

    def __init__(self, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, *, eps_mode="inside", **options):
        super().__init__(lr, weight_decay, **options)
        check("eps_mode", eps_mode, ("inside", "outside"))
        self.rho, self.eps, self.eps_mode = rho, eps, eps_mode

    def zero(self, xp, w):
        return {"square_avg": xp.zeros_like(w), "acc_delta": xp.zeros_like(w)}

    def update(self, xp, w, g, s, t):
        s["square_avg"] = self.rho * s["square_avg"] + (1 - self.rho) * (g * g)
        above = root(xp, s["acc_delta"], self.eps, self.eps_mode)
        delta = above / root(xp, s["square_avg"], self.eps, self.eps_mode) * g
        s["acc_delta"] = self.rho * s["acc_delta"] + (1 - self.rho) * (delta * delta)
        return self.lr * delta


class Adafactor(Rule, name="adafactor"):
    """Second moments of matrices kept as one row and one column (Shazeer 2018), in PyTorch's variant, names and defaults.

    v is factored over the last two axes; a vector keeps it whole. The weight of the new squares is t^beta2_decay; the step is
    max(eps[1], rms(w)) min(lr, 1 / sqrt(t)), divided by max(1, rms(update) / d). The paper adds eps1 = 1e-30 to g^2; here, as
    in PyTorch, v is held to at least eps[0]^2, where eps[0] is the compute dtype's spacing at 1 unless given.
    weight_decay is decoupled, by lr and not by the relative step.
    """

    decoupled = True

    def __init__(self, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, **options):
        super().__init__(lr, weight_decay, **options)
        self.beta2_decay, self.eps, self.d = beta2_decay, eps, d

    def zero(self, xp, w):
        if w.ndim < 2:
            return {"variance": xp.zeros_like(w), "row_var": None, "col_var": None}
        row = xp.zeros((*w.shape[:-1], 1), w.dtype)
        col = xp.zeros((*w.shape[:-2], 1, w.shape[-1]), w.dtype)
        return {"variance": None, "row_var": row, "col_var": col}

    def update(self, xp, w, g, s, t):
        low = float(xp.finfo(w.dtype).eps) if self.eps[0] is None else self.eps[0]
        new = float(t) ** self.beta2_decay
        if w.ndim < 2:
            v = s["variance"] = s["variance"] + new * (g * g - s["variance"])
        else:
            squares = g * g
            s["row_var"] = s["row_var"] + new * (squares.mean(-1, keepdims=True) - s["row_var"])
            s["col_var"] = s["col_var"] + new * (squares.mean(-2, keepdims=True) - s["col_var"])
            v = s["row_var"] * s["col_var"] / xp.maximum(s["row_var"].mean(-2, keepdims=True), low)
        update = g / xp.sqrt(xp.maximum(v, low * low))
        rms = functions.norm(update) / update.size**0.5
        size = xp.maximum(self.eps[1], functions.norm(w) / w.size**0.5) * min(self.lr, t**-0.5)
        return update * (size / xp.maximum(1.0, rms / self.d)).astype(w.dtype)


class SM3(Rule, name="sm3"):
    """SM3-II (Anil 2019): Adagrad whose sums are kept as one maximum per index of each axis.

    v = min over the axes of their maxima + g^2;  w -= lr g / sqrt(v), 0 where v is 0;  each axis keeps the maximum of v.
    With momentum, as in the paper's experiments: m = momentum m + (1 - momentum) g / sqrt(v);  w -= lr m.
    A vector is its own cover, which is Adagrad without eps.
    """

    def __init__(self, lr=0.1, momentum=0.0, weight_decay=0.0, **options):
        super().__init__(lr, weight_decay, **options)
        self.momentum = momentum

    def zero(self, xp, w):
        axes = [xp.zeros([n if a == axis else 1 for a, n in enumerate(w.shape)], w.dtype) for axis in range(w.ndim)]
        state = {"accumulators": axes or [xp.zeros_like(w)]}
        return {**state, "momentum_buffer": xp.zeros_like(w)} if self.momentum else state

    def update(self, xp, w, g, s, t):
        least = s["accumulators"][0]
        for accumulator in s["accumulators"][1:]:
            least = xp.minimum(least, accumulator)
        v = least + g * g
        kept = [v.max(tuple(a for a in range(w.ndim) if a != axis), keepdims=True) for axis in range(w.ndim)]
        s["accumulators"] = kept or [xp.asarray(v)]
        step = divide(xp, g, xp.sqrt(v))
        if self.momentum:
            step = s["momentum_buffer"] = self.momentum * s["momentum_buffer"] + (1 - self.momentum) * step
        return self.lr * step
