# SPDX-License-Identifier: BSD-3-Clause
"""The rules that look at the norm of a whole parameter, from their papers since PyTorch has none: lars, lamb, novograd.

Their weight_decay belongs to the formula: it enters inside the ratio of norms, and decoupled_weight_decay does not apply.
"""

from __future__ import annotations

from .adam import moments
from .functions import norm
from .rule import Rule, check


class _OwnDecay(Rule, name=""):
    """A rule whose update handles weight_decay itself; neither the coupled nor the decoupled one is to touch it."""

    decoupled = True

    def __init__(self, lr, weight_decay, **options):
        super().__init__(lr, weight_decay, **options)
        check("decoupled_weight_decay", options.get("decoupled_weight_decay"), (None,))

    def apply(self, w, delta):
        return w - delta


class LARS(_OwnDecay, name="lars"):
    """Momentum with a rate for each parameter (You 2017): r = trust_coefficient |w| / (|g| + weight_decay |w| + eps).

    form="classic", the paper's: v = momentum v + lr r (g + weight_decay w);  w -= v. form="torch" multiplies by lr at the end.
    r is 1 where |w| or |g| is 0. nesterov=True steps by what v is going to do next, as in sgd.
    """

    def __init__(
        self,
        lr=0.1,
        momentum=0.9,
        weight_decay=0.0,
        nesterov=False,
        trust_coefficient=1e-3,
        eps=0.0,
        *,
        form="classic",
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        check("form", form, ("classic", "torch"))
        self.momentum, self.nesterov, self.form = momentum, nesterov, form
        self.trust_coefficient, self.eps = trust_coefficient, eps

    def zero(self, xp, w):
        return {"momentum_buffer": xp.zeros_like(w)} if self.momentum else {}

    def update(self, xp, w, g, s, t):
        size, slope = norm(w), norm(g)
        below = slope + self.weight_decay * size + self.eps
        known = (size > 0) & (slope > 0)
        ratio = xp.where(known, self.trust_coefficient * size / xp.where(known, below, 1), 1.0)
        rate = (self.lr * ratio if self.form == "classic" else ratio).astype(w.dtype)
        step = rate * (g + self.weight_decay * w)
        if self.momentum:
            v = s["momentum_buffer"] = self.momentum * s["momentum_buffer"] + step
            step = self.momentum * v + step if self.nesterov else v
        return step if self.form == "classic" else self.lr * step


class LAMB(_OwnDecay, name="lamb"):
    """Adam's step and the decay, scaled to the norm of the parameter (You 2020): u = m' / (sqrt(v') + eps) + weight_decay w.

    w -= lr |w| / |u| u, the ratio being 1 where either norm is 0. trust_clip=(low, high) holds |w| to a range first, the paper's
    phi; bias_correction=False leaves m' = m and v' = v.
    """

    def __init__(
        self,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-6,
        weight_decay=0.0,
        *,
        bias_correction=True,
        trust_clip=None,
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        self.betas, self.eps, self.bias_correction, self.trust_clip = betas, eps, bias_correction, trust_clip

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w), "exp_avg_sq": xp.zeros_like(w)}

    def update(self, xp, w, g, s, t):
        moments(s, g, self.betas)
        first, second = (1 - beta**t if self.bias_correction else 1.0 for beta in self.betas)
        u = s["exp_avg"] / first / (xp.sqrt(s["exp_avg_sq"] / second) + self.eps) + self.weight_decay * w
        size, length = norm(w), norm(u)
        if self.trust_clip is not None:
            size = xp.clip(size, *self.trust_clip)
        known = (size > 0) & (length > 0)
        ratio = xp.where(known, size / xp.where(known, length, 1), 1.0)
        return (self.lr * ratio).astype(w.dtype) * u


class NovoGrad(_OwnDecay, name="novograd"):
    """Momentum of gradients divided by their own norm (Ginsburg 2019): v = b2 v + (1 - b2) |g|^2, one number a parameter.

    m = b1 m + (g / (sqrt(v) + eps) + weight_decay w);  w -= lr m. v starts at the first |g|^2, m at 0.
    grad_averaging=True weighs the new term by 1 - b1; initial="zero" starts v at 0.
    """

    def __init__(
        self,
        lr=1e-2,
        betas=(0.95, 0.98),
        eps=1e-8,
        weight_decay=0.0,
        grad_averaging=False,
        *,
        initial="gradient",
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        check("initial", initial, ("gradient", "zero"))
        self.betas, self.eps, self.grad_averaging, self.initial = betas, eps, grad_averaging, initial

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w), "exp_avg_sq": xp.zeros((), w.dtype)}

    def update(self, xp, w, g, s, t):
        b1, b2 = self.betas
        square = norm(g) ** 2
        start = t == 1 and self.initial == "gradient"
        s["exp_avg_sq"] = xp.asarray(square if start else b2 * s["exp_avg_sq"] + (1 - b2) * square).astype(w.dtype)
        step = g / (xp.sqrt(s["exp_avg_sq"]) + self.eps) + self.weight_decay * w
        s["exp_avg"] = b1 * s["exp_avg"] + ((1 - b1) if self.grad_averaging else 1.0) * step
        return self.lr * s["exp_avg"]
