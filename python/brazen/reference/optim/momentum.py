# SPDX-License-Identifier: BSD-3-Clause
"""The rules that keep no second moment: sgd, lion, rprop, asgd."""

from __future__ import annotations

from .._kinds import compute
from .rule import Rule, check


class SGD(Rule, name="sgd"):
    """Plain descent, or momentum in one of three forms; names and defaults are PyTorch's.

    form="classic":  v = momentum v - lr g;  w += v.  Polyak's; the velocity keeps the learning rates of its time.
    form="ema":      v = momentum v + (1 - momentum) g;  w -= lr v.  Classic with lr (1 - momentum).
    form="torch":    v = momentum v + (1 - dampening) g;  w -= lr v.  Classic as long as lr is constant.

    initial="zero" starts v at 0; initial="gradient", the default of form="torch" as in PyTorch, at the first g, undampened.
    nesterov=True is the re-parametrised form, whose parameters are the shifted ones: they step by what v is going to do next.
    The true form (Sutskever 2013) is form="classic", nesterov=False with the gradient taken at `lookahead(params)`.
    """

    def __init__(
        self,
        lr=1e-3,
        momentum=0.0,
        dampening=0.0,
        weight_decay=0.0,
        nesterov=False,
        *,
        form="torch",
        initial=None,
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        check("form", form, ("classic", "ema", "torch"))
        check("initial", initial, (None, "zero", "gradient"))
        if dampening and form != "torch":
            raise ValueError(f"dampening is {dampening!r}; form={form!r} has none, give form='torch'")
        if nesterov and (not momentum or dampening):
            raise ValueError("nesterov needs a momentum and no dampening")
        self.momentum, self.dampening, self.nesterov, self.form = momentum, dampening, nesterov, form
        self.initial = initial or ("gradient" if form == "torch" else "zero")

    def zero(self, xp, w):
        return {"momentum_buffer": xp.zeros_like(w)} if self.momentum else {}

    def update(self, xp, w, g, s, t):
        if not self.momentum:
            return self.lr * g
        weight = {"classic": -self.lr, "ema": 1 - self.momentum, "torch": 1 - self.dampening}[self.form]
        if t == 1 and self.initial == "gradient":
            v = -self.lr * g if self.form == "classic" else 1.0 * g
        else:
            v = self.momentum * s["momentum_buffer"] + weight * g
        s["momentum_buffer"] = v
        if self.nesterov:
            v = self.momentum * v + weight * g
        return -v if self.form == "classic" else self.lr * v

    def lookahead(self, params):
        """New arrays w + momentum v (classic), where the gradient of the true Nesterov form is taken."""
        check("form", self.form, ("classic",))
        if self.state["step"] == 0:
            return [param.copy() for param in params]
        ahead = [compute(p) + self.momentum * v for p, v in zip(params, self.state["momentum_buffer"], strict=True)]
        return [x.astype(param.dtype) for x, param in zip(ahead, params)]


class Lion(Rule, name="lion"):
    """w -= lr sign(b1 m + (1 - b1) g), then m = b2 m + (1 - b2) g (Chen 2023, program 1); weight_decay is decoupled."""

    decoupled = True

    def __init__(self, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, **options):
        super().__init__(lr, weight_decay, **options)
        self.betas = betas

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w)}

    def update(self, xp, w, g, s, t):
        (b1, b2), m = self.betas, s["exp_avg"]
        s["exp_avg"] = b2 * m + (1 - b2) * g
        return self.lr * xp.sign(b1 * m + (1 - b1) * g)


class Rprop(Rule, name="rprop"):
    """A step size per weight that grows while the sign of g stays and shrinks, without a step, when it turns.

    PyTorch's (the form without weight backtracking); it takes the sign of g times g before, which may underflow: here the
    product of both signs is taken.
    """

    def __init__(self, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0), **options):
        super().__init__(lr, **options)
        self.etas, self.step_sizes = etas, step_sizes

    def zero(self, xp, w):
        return {"prev": xp.zeros_like(w), "step_size": xp.full_like(w, self.lr)}

    def update(self, xp, w, g, s, t):
        turn = xp.sign(g) * xp.sign(s["prev"])
        factor = xp.where(turn > 0, self.etas[1], xp.where(turn < 0, self.etas[0], 1.0)).astype(w.dtype)
        s["step_size"] = xp.clip(s["step_size"] * factor, *self.step_sizes)
        s["prev"] = xp.where(turn < 0, 0, g).astype(w.dtype)
        return xp.sign(s["prev"]) * s["step_size"]


class ASGD(Rule, name="asgd"):
    """Averaged descent (Polyak 1992) as PyTorch has it: w -= eta (g + lambd w); ax, the mean of w since step t0.

    eta = lr / (1 + lambd lr (t - 1))^alpha. PyTorch computes the next step's eta with this step's lr, so that a changed lr
    arrives one step late; here it arrives at once.
    """

    def __init__(self, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0, **options):
        super().__init__(lr, weight_decay, **options)
        self.lambd, self.alpha, self.t0 = lambd, alpha, t0

    def zero(self, xp, w):
        return {"ax": xp.zeros_like(w)}

    def update(self, xp, w, g, s, t):
        eta = self.lr / (1 + self.lambd * self.lr * (t - 1)) ** self.alpha
        return eta * (g + self.lambd * w)

    def finish(self, xp, w, s, t):
        share = 1 / max(1, t - 1 - self.t0)
        s["ax"] = w.copy() if share == 1 else s["ax"] + share * (w - s["ax"])
