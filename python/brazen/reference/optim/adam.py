# SPDX-License-Identifier: BSD-3-Clause
"""Adam and its nearest: adam, amsgrad, adamw, adamax, nadam, radam. Names and defaults are PyTorch's."""

from __future__ import annotations

from .rule import EPS_MODES, Rule, check, divide, root


def moments(s: dict, g, betas) -> None:
    """m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2."""
    b1, b2 = betas
    s["exp_avg"] = b1 * s["exp_avg"] + (1 - b1) * g
    s["exp_avg_sq"] = b2 * s["exp_avg_sq"] + (1 - b2) * (g * g)


class Adam(Rule, name="adam"):
    """m and v as moments() has them;  w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps): Kingma 2015, algorithm 1.

    eps_mode="inside": sqrt(v / (1 - b2^t) + eps); "none": no eps. bias_correction=False leaves out both divisions.
    form="efficient" is the paper's shorter order, also Keras': w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), where eps
    weighs more in the first steps; it is form="paper" with eps / sqrt(1 - b2^t).
    amsgrad=True divides by the root of the largest v so far, corrected like v, as PyTorch has it; Reddi 2018 has no correction.

    A deck that announces the bias correction and prints none means bias_correction=False, eps_mode="inside". One that prints
    eps v / (delta + sqrt r) (.) g multiplies by the gradient once too often and climbs; its betas stand in the order (b2, b1).
    """

    def __init__(
        self,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        amsgrad=False,
        *,
        eps_mode="outside",
        bias_correction=True,
        form="paper",
        **options,
    ):
        super().__init__(lr, weight_decay, **options)
        check("eps_mode", eps_mode, EPS_MODES)
        check("form", form, ("paper", "efficient"))
        self.betas, self.eps, self.amsgrad = betas, eps, amsgrad
        self.eps_mode, self.bias_correction, self.form = eps_mode, bias_correction, form

    def zero(self, xp, w):
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * self.amsgrad
        return {name: xp.zeros_like(w) for name in names}

    def update(self, xp, w, g, s, t):
        moments(s, g, self.betas)
        v = s["exp_avg_sq"]
        if self.amsgrad:
            v = s["max_exp_avg_sq"] = xp.maximum(s["max_exp_avg_sq"], v)
        first, second = (1 - beta**t if self.bias_correction else 1.0 for beta in self.betas)
        if self.form == "efficient":
            rate = self.lr * second**0.5 / first
        else:
            rate, v = self.lr / first, v / second
        return rate * divide(xp, s["exp_avg"], root(xp, v, self.eps, self.eps_mode))


class AMSGrad(Adam, name="amsgrad"):
    """Adam with amsgrad=True."""

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=True, **options):
        super().__init__(lr, betas, eps, weight_decay, amsgrad, **options)


class AdamW(Adam, name="adamw"):
    """Adam with decoupled weight decay (Loshchilov 2019): w -= lr weight_decay w beside the step of Adam."""

    decoupled = True

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, **options):
        super().__init__(lr, betas, eps, weight_decay, amsgrad, **options)


class Adamax(Rule, name="adamax"):
    """u = max(b2 u, |g| + eps);  w -= lr / (1 - b1^t) m / u.

    eps_mode="inside" is PyTorch's, as above; "outside", Keras', divides by u + eps with u = max(b2 u, |g|); "none" is the paper's
    (Kingma 2015, algorithm 2), 0 where u is.
    """

    def __init__(self, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, eps_mode="inside", **options):
        super().__init__(lr, weight_decay, **options)
        check("eps_mode", eps_mode, EPS_MODES)
        self.betas, self.eps, self.eps_mode = betas, eps, eps_mode

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w), "exp_inf": xp.zeros_like(w)}

    def update(self, xp, w, g, s, t):
        b1, b2 = self.betas
        s["exp_avg"] = b1 * s["exp_avg"] + (1 - b1) * g
        size = abs(g) + self.eps if self.eps_mode == "inside" else abs(g)
        u = s["exp_inf"] = xp.maximum(b2 * s["exp_inf"], size)
        below = u + self.eps if self.eps_mode == "outside" else u
        return self.lr / (1 - b1**t) * divide(xp, s["exp_avg"], below)


class NAdam(Rule, name="nadam"):
    """Adam with Nesterov's momentum on a momentum schedule (Dozat 2016): mu_t = b1 (1 - 0.96^(t momentum_decay) / 2).

    w -= lr ((1 - mu_t) / (1 - mu_1 .. mu_t) g + mu_(t+1) / (1 - mu_1 .. mu_(t+1)) m) / (sqrt(v / (1 - b2^t)) + eps)
    """

    def __init__(self, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, **options):
        super().__init__(lr, weight_decay, **options)
        self.betas, self.eps, self.momentum_decay = betas, eps, momentum_decay
        self.state["mu_product"] = 1.0

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w), "exp_avg_sq": xp.zeros_like(w)}

    def begin(self, t):
        self._mu, self._next = (self.betas[0] * (1 - 0.5 * 0.96 ** (step * self.momentum_decay)) for step in (t, t + 1))
        self.state["mu_product"] *= self._mu

    def update(self, xp, w, g, s, t):
        moments(s, g, self.betas)
        product = self.state["mu_product"]
        step = (1 - self._mu) / (1 - product) * g + self._next / (1 - product * self._next) * s["exp_avg"]
        return self.lr * (step / (xp.sqrt(s["exp_avg_sq"] / (1 - self.betas[1] ** t)) + self.eps))


class RAdam(Rule, name="radam"):
    """Adam whose second moment is used only once its variance is tractable (Liu 2020).

    rho = rho_inf - 2 t b2^t / (1 - b2^t) with rho_inf = 2 / (1 - b2) - 1. Above `threshold` the step is Adam's times
    sqrt((rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho)), else lr m / (1 - b1^t).
    The threshold is 5 in PyTorch, 4 in the paper; PyTorch adds eps to the uncorrected root, the paper has none.
    """

    def __init__(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, threshold=5.0, **options):
        super().__init__(lr, weight_decay, **options)
        self.betas, self.eps, self.threshold = betas, eps, threshold

    def zero(self, xp, w):
        return {"exp_avg": xp.zeros_like(w), "exp_avg_sq": xp.zeros_like(w)}

    def update(self, xp, w, g, s, t):
        moments(s, g, self.betas)
        b1, b2 = self.betas
        rate = self.lr / (1 - b1**t)
        limit = 2 / (1 - b2) - 1
        length = limit - 2 * t * b2**t / (1 - b2**t)
        if length <= self.threshold:
            return rate * s["exp_avg"]
        rectified = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) ** 0.5
        return (rate * rectified * (1 - b2**t) ** 0.5) * (s["exp_avg"] / (xp.sqrt(s["exp_avg_sq"]) + self.eps))
