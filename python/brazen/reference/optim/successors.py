# SPDX-License-Identifier: BSD-3-Clause
"""Adam's successors, from their papers since PyTorch has none of them: adabelief, yogi, adan, ademamix."""

from __future__ import annotations

from math import exp, log

from .adam import moments
from .rule import Rule, check


class AdaBelief(Rule, name="adabelief"):
    """Adam whose second moment is that of g - m (Zhuang 2020): s = b2 s + (1 - b2) (g - m)^2 + eps.

    w -= lr m / (1 - b1^t) / (sqrt(s / (1 - b2^t)) + eps). The eps inside is added at every step and stays in s. The paper's
    default of 1e-8 is too large for it; its authors' code, and this, take 1e-16. weight_decay is decoupled, as in that code.
    """

    decoupled = True

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, *, bias_correction=True, **options):
        super().__init__(lr, weight_decay, **options)
        self.betas, self.eps, self.bias_correction = betas, eps, bias_correction

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w), "exp_avg_var": xp.zeros_like(w)}

    def update(self, xp, w, g, s, t):
        b1, b2 = self.betas
        m = s["exp_avg"] = b1 * s["exp_avg"] + (1 - b1) * g
        s["exp_avg_var"] = b2 * s["exp_avg_var"] + (1 - b2) * ((g - m) * (g - m)) + self.eps
        first, second = (1 - beta**t if self.bias_correction else 1.0 for beta in self.betas)
        return self.lr / first * (m / (xp.sqrt(s["exp_avg_var"] / second) + self.eps))


class Yogi(Rule, name="yogi"):
    """Adam with an additive second moment (Zaheer 2018): v = v - (1 - b2) sign(v - g^2) g^2, and Adam's step.

    The paper's box has no bias correction (bias_correction=False); the usual implementations have, so it is the default.
    v starts at initial_accumulator_value; the paper recommends eps 1e-3 and lr 1e-2.
    """

    def __init__(
        self,
        lr=1e-2,
        betas=(0.9, 0.999),
        eps=1e-3,
        weight_decay=0.0,
        initial_accumulator_value=1e-6,
        *,
        bias_correction=True,
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        self.betas, self.eps, self.bias_correction = betas, eps, bias_correction
        self.initial_accumulator_value = initial_accumulator_value

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w), "exp_avg_sq": xp.full_like(w, self.initial_accumulator_value)}

    def update(self, xp, w, g, s, t):
        b1, b2 = self.betas
        s["exp_avg"] = b1 * s["exp_avg"] + (1 - b1) * g
        squares = g * g
        s["exp_avg_sq"] = s["exp_avg_sq"] - (1 - b2) * (xp.sign(s["exp_avg_sq"] - squares) * squares)
        first, second = (1 - beta**t if self.bias_correction else 1.0 for beta in self.betas)
        return self.lr / first * (s["exp_avg"] / (xp.sqrt(s["exp_avg_sq"] / second) + self.eps))


class Adan(Rule, name="adan"):
    """Adaptive Nesterov momentum (Xie 2022) from g and its change d = g - g_before, 0 in the first step.

    m = b1 m + (1 - b1) g;  u = b2 u + (1 - b2) d;  n = b3 n + (1 - b3) (g + b2 d)^2, each corrected by 1 - b^t;
    w = (w - lr (m + b2 u) / (sqrt(n) + eps)) / (1 + lr weight_decay).
    The paper writes 1 - b where this, like its authors' code, writes b, and its box leaves the correction out
    (bias_correction=False). form="decoupled" decays as AdamW does in place of the proximal division.
    """

    decoupled = True

    def __init__(
        self,
        lr=1e-3,
        betas=(0.98, 0.92, 0.99),
        eps=1e-8,
        weight_decay=0.0,
        *,
        form="proximal",
        bias_correction=True,
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        check("form", form, ("proximal", "decoupled"))
        self.betas, self.eps, self.form, self.bias_correction = betas, eps, form, bias_correction

    def zero(self, xp, w):
        return {name: xp.zeros_like(w) for name in ("exp_avg", "exp_avg_diff", "exp_avg_sq", "prev_grad")}

    def update(self, xp, w, g, s, t):
        b1, b2, b3 = self.betas
        change = g - s["prev_grad"] if t > 1 else 0.0 * g
        ahead = g + b2 * change
        s["exp_avg"] = b1 * s["exp_avg"] + (1 - b1) * g
        s["exp_avg_diff"] = b2 * s["exp_avg_diff"] + (1 - b2) * change
        s["exp_avg_sq"] = b3 * s["exp_avg_sq"] + (1 - b3) * (ahead * ahead)
        s["prev_grad"] = g.copy()
        first, second, third = (1 - beta**t if self.bias_correction else 1.0 for beta in self.betas)
        step = s["exp_avg"] / first + b2 / second * s["exp_avg_diff"]
        return self.lr * (step / (xp.sqrt(s["exp_avg_sq"] / third) + self.eps))

    def apply(self, w, delta):
        if self.form == "proximal" and self.decoupled_weight_decay:
            return (w - delta) / (1 + self.lr * self.weight_decay)
        return super().apply(w, delta)


class AdEMAMix(Rule, name="ademamix"):
    """Adam with a second, slow average of the gradient (Pagliardini 2024): l = b3 l + (1 - b3) g, not corrected.

    w -= lr (m / (1 - b1^t) + alpha l) / (sqrt(v / (1 - b2^t)) + eps); weight_decay is decoupled.
    alpha_warmup: alpha rises linearly from 0 over so many steps; beta3_warmup: the half-life of b3 does, from that of b1.
    """

    decoupled = True

    def __init__(
        self,
        lr=1e-3,
        betas=(0.9, 0.999, 0.9999),
        eps=1e-8,
        weight_decay=0.0,
        alpha=5.0,
        alpha_warmup=None,
        beta3_warmup=None,
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        self.betas, self.eps, self.alpha = betas, eps, alpha
        self.alpha_warmup, self.beta3_warmup = alpha_warmup, beta3_warmup

    def zero(self, xp, w):
        return {name: xp.zeros_like(w) for name in ("exp_avg", "exp_avg_sq", "exp_avg_slow")}

    def begin(self, t):
        b1, _, b3 = self.betas
        self._alpha, self._beta3 = self.alpha, b3
        if self.alpha_warmup and t < self.alpha_warmup:
            self._alpha = self.alpha * t / self.alpha_warmup
        if self.beta3_warmup and t < self.beta3_warmup:
            share = t / self.beta3_warmup
            self._beta3 = exp(log(b1) * log(b3) / ((1 - share) * log(b3) + share * log(b1)))

    def update(self, xp, w, g, s, t):
        b1, b2, _ = self.betas
        moments(s, g, (b1, b2))
        s["exp_avg_slow"] = self._beta3 * s["exp_avg_slow"] + (1 - self._beta3) * g
        step = s["exp_avg"] / (1 - b1**t) + self._alpha * s["exp_avg_slow"]
        return self.lr * (step / (xp.sqrt(s["exp_avg_sq"] / (1 - b2**t)) + self.eps))
