# SPDX-License-Identifier: BSD-3-Clause
"""One declaration for each optimizer: name, hyper-parameters with defaults, and where decks and papers differ.

The formulas stand in csrc/formulas/updates.h. Names and defaults are PyTorch's where PyTorch has the rule.
"""

from __future__ import annotations

import contextlib

from .optimizer import Optimizer
from .parameters import assign, copy_of, dtype_name
from .settings import is_on


def _any(groups, name) -> bool:
    return any(is_on(g[name]) for g in groups)


class SGD(Optimizer):
    """Plain descent, or momentum in one of three forms that agree at a constant learning rate up to its scale.

    form="torch":    v = momentum v + (1 - dampening) g;  w -= lr v. v starts at the first, undampened g.
    form="classic":  v = momentum v - lr g;  w += v. Polyak's: the velocity keeps the learning rates of its time.
    form="ema":      v = momentum v + (1 - momentum) g;  w -= lr v. Classic with lr (1 - momentum).

    initial="zero" or "gradient" says where v starts. nesterov=True is the re-parametrised form, whose parameters are the
    shifted ones; for the true form (Sutskever 2013) take form="classic" and compute the gradient inside `look_ahead()`.
    """

    name = "sgd"
    hyper = {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "form": "torch", "initial": None}

    def check(self, group):
        form = group["form"]
        if form not in ("torch", "classic", "ema"):
            raise ValueError(f"form is {form!r}; expected one of 'torch', 'classic', 'ema'")
        if is_on(group["dampening"]) and form != "torch":
            raise ValueError(f"dampening is {group['dampening']!r}; form={form!r} has none, give form='torch'")
        if group["nesterov"] and (not is_on(group["momentum"]) or is_on(group["dampening"])):
            raise ValueError("nesterov needs a momentum and no dampening")

    def kernel(self, groups):
        return "momentum" if _any(groups, "momentum") else "sgd"

    @contextlib.contextmanager
    def look_ahead(self):
        """Inside, the parameters are w + momentum v, where the true Nesterov form takes its gradient; after, w again."""
        self._require_bound()
        if any(group["form"] != "classic" or group["nesterov"] for group in self.groups):
            raise ValueError(
                "look_ahead needs form='classic' and nesterov=False; the re-parametrised form is there already"
            )
        arrays = [slot.array for slot in self._slots]
        before = [copy_of(array) for array in arrays]
        for slot, array, velocity in zip(self._slots, arrays, self.state.get("momentum_buffer", ())):
            ahead = copy_of(array, dtype_name(velocity))
            ahead += self.value_of("momentum", slot.group) * velocity
            assign(array, ahead.astype(array.dtype) if hasattr(ahead, "astype") else ahead)
        try:
            yield
        finally:
            for array, kept in zip(arrays, before):
                assign(array, kept)

    def core_hyper(self, h):
        initial = h["initial"] or ("gradient" if h["form"] == "torch" else "zero")
        return {
            "form": {"torch": 0, "classic": 1, "ema": 2}[h["form"]],
            "first_gradient": initial == "gradient" and is_on(h["momentum"]),
        }


class Adagrad(Optimizer):
    """sum += g²;  w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(sum) + eps).

    eps_mode="inside": sqrt(sum + eps). "none": the form lr_t / sigma_t with lr_t = lr / sqrt(t), whose first step is
    lr sign(g). A deck that adds the step where this subtracts it misprints the sign.
    """

    name = "adagrad"
    hyper = {"lr": 1e-2, "lr_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10, "eps_mode": "outside"}

    def initial_state(self, state, group):
        return group["initial_accumulator_value"]


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g²;  w -= lr g / (sqrt(v) + eps); centered subtracts the squared mean gradient from v.

    initial="gradient" starts v at the first g², so that the first step is lr sign(g) instead of lr / sqrt(1 - alpha) times it;
    with eps_mode="none" this is the form sigma_0 = g_0, where |g_0| is meant.
    """

    name = "rmsprop"
    hyper = {
        "lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False, "eps_mode": "outside",
        "initial": "zero",
    }  # fmt: skip

    def kernel(self, groups):
        if len({bool(g["centered"]) for g in groups}) > 1:
            raise ValueError(
                "centered differs between groups; expected one value for all, as it decides what is stored"
            )
        return "rmsprop" + "_centered" * bool(groups[0]["centered"]) + "_momentum" * _any(groups, "momentum")


class Adadelta(Optimizer):
    """v = rho v + (1 - rho) g²;  d = sqrt(u + eps) / sqrt(v + eps) g;  u = rho u + (1 - rho) d²;  w -= lr d (Zeiler 2012).

    eps_mode="outside": (sqrt(u) + eps) / (sqrt(v) + eps). Without an eps above, as one deck prints it, nothing ever moves.
    """

    name = "adadelta"
    hyper = {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "eps_mode": "inside"}

    def check(self, group):
        if group["eps_mode"] == "none":
            raise ValueError("eps_mode is 'none'; expected one of 'inside', 'outside': without eps nothing ever moves")


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g²;  w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps).

    Kingma 2015, algorithm 1. eps_mode="inside": sqrt(v / (1 - b2^t) + eps). bias_correction=False leaves out both divisions: a
    deck that prints none, and eps inside, names the correction in its text only. form="efficient" is the paper's shorter
    order, also Keras': lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), where eps weighs more in the first steps.
    Keras' eps is 1e-7. amsgrad=True divides by the root of the largest v so far.
    A deck that multiplies by g once more climbs, and has (b2, b1) where this has betas: it is a misprint of this.
    """

    name = "adam"
    hyper = {
        "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False, "eps_mode": "outside", "bias_correction": True,
        "form": "paper",
    }  # fmt: skip

    def check(self, group):
        if group["form"] not in ("paper", "efficient"):
            raise ValueError(f"form is {group['form']!r}; expected one of 'paper', 'efficient'")

    def kernel(self, groups):
        if len({bool(g["amsgrad"]) for g in groups}) > 1:
            raise ValueError("amsgrad differs between groups; expected one value for all, as it decides what is stored")
        return "amsgrad" if groups[0]["amsgrad"] else "adam"

    def core_hyper(self, h):
        return {"correction": 0 if not h["bias_correction"] else 2 if h["form"] == "efficient" else 1}


class AMSGrad(Adam):
    """Adam with amsgrad=True (Reddi 2018); the largest v is corrected like v, as PyTorch has it, the paper has no correction."""

    name = "amsgrad"
    hyper = {**Adam.hyper, "amsgrad": True}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov 2019): w = w (1 - lr weight_decay) beside the step of Adam."""

    name = "adamw"
    hyper = {**Adam.hyper, "weight_decay": 1e-2}
    decoupled = True


class Adamax(Optimizer):
    """u = max(b2 u, |g| + eps);  w -= lr / (1 - b1^t) m / u. eps_mode="outside" is Keras', "none" the paper's."""

    name = "adamax"
    hyper = {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "eps_mode": "inside"}


class NAdam(Optimizer):
    """Adam with Nesterov's momentum on a schedule (Dozat 2016): mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)."""

    name = "nadam"
    hyper = {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "momentum_decay": 4e-3}


class RAdam(Optimizer):
    """Adam whose second moment is used once its variance is tractable (Liu 2020): rho_t > threshold, 4 in the paper."""

    name = "radam"
    hyper = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "threshold": 5.0}


class Rprop(Optimizer):
    """A step size per weight that grows while the sign of g stays, and shrinks, without a step, when it turns."""

    name = "rprop"
    hyper = {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}

    def check(self, group):
        (minus, plus), (low, high) = group["etas"], group["step_sizes"]
        if not 0 < minus < 1 < plus:
            raise ValueError(f"etas is {group['etas']!r}; expected one below 1, that shrinks, and one above 1")
        if not 0 <= low <= high:
            raise ValueError(f"step_sizes is {group['step_sizes']!r}; expected the smallest and the largest")

    def core_hyper(self, h):
        (minus, plus), (low, high) = h["etas"], h["step_sizes"]
        return {"etaminus": minus, "etaplus": plus, "step_size_min": low, "step_size_max": high}

    def initial_state(self, state, group):
        lr = group["lr"]
        return (lr(0) if callable(lr) else lr) if state == "step_size" else 0.0


class ASGD(Optimizer):
    """Averaged descent (Polyak 1992): w -= eta (g + lambd w), eta = lr / (1 + lambd lr (t - 1))^alpha; the mean is `ax`.

    PyTorch computes the next step's eta with this step's lr, so that a changed lr arrives one step late; here at once.
    """

    name = "asgd"
    hyper = {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6}


class Lion(Optimizer):
    """w -= lr sign(b1 m + (1 - b1) g), then m = b2 m + (1 - b2) g (Chen 2023)."""

    name = "lion"
    hyper = {"lr": 1e-4, "betas": (0.9, 0.99)}
    decoupled = True


class AdaBelief(Optimizer):
    """Adam whose second moment is that of g - m (Zhuang 2020): s = b2 s + (1 - b2) (g - m)² + eps.

    The eps inside stays in s. The paper's 1e-8 is too large for it; its authors' code, and this, take 1e-16.
    """

    name = "adabelief"
    hyper = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-16, "bias_correction": True}
    decoupled = True


class Yogi(Optimizer):
    """Adam with an additive second moment (Zaheer 2018): v = v - (1 - b2) sign(v - g²) g².

    The paper's box has no bias correction, the usual implementations have.
    """

    name = "yogi"
    hyper = {
        "lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-3, "initial_accumulator_value": 1e-6, "bias_correction": True,
    }  # fmt: skip

    def initial_state(self, state, group):
        return group["initial_accumulator_value"] if state == "exp_avg_sq" else 0.0


class Adan(Optimizer):
    """Adaptive Nesterov momentum (Xie 2022) from g and its change d = g - g_before, 0 in the first step.

    m = b1 m + (1 - b1) g;  u = b2 u + (1 - b2) d;  n = b3 n + (1 - b3) (g + b2 d)²;
    w = (w - lr (m + b2 u) / (sqrt(n) + eps)) / (1 + lr weight_decay), all corrected by 1 - b^t.
    The paper writes 1 - b where this, like its authors' code, writes b. form="decoupled" decays as AdamW does.
    """

    name = "adan"
    hyper = {"lr": 1e-3, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "form": "proximal", "bias_correction": True}
    decoupled = True

    def check(self, group):
        if group["form"] not in ("proximal", "decoupled"):
            raise ValueError(f"form is {group['form']!r}; expected one of 'proximal', 'decoupled'")

    def core_hyper(self, h):
        return {"proximal_decay": h["weight_decay"] if self._is_proximal(h) else 0.0}

    def outer_decay(self, h):
        return 0.0 if self._is_proximal(h) else h["weight_decay"]

    def _is_proximal(self, h):
        return h["form"] == "proximal" and h["decoupled_weight_decay"] is not False


class AdEMAMix(Optimizer):
    """Adam with a second, slow average of the gradient (Pagliardini 2024): l = b3 l + (1 - b3) g, not corrected.

    w -= lr (m / (1 - b1^t) + alpha l) / (sqrt(v / (1 - b2^t)) + eps). alpha_warmup: alpha rises linearly from 0 over so many
    steps; beta3_warmup: the half-life of b3 does, from that of b1.
    """

    name = "ademamix"
    hyper = {
        "lr": 1e-3, "betas": (0.9, 0.999, 0.9999), "eps": 1e-8, "alpha": 5.0, "alpha_warmup": None, "beta3_warmup": None,
    }  # fmt: skip
    decoupled = True

    def core_hyper(self, h):
        return {name: 0 if h[name] is None else h[name] for name in ("alpha_warmup", "beta3_warmup")}
