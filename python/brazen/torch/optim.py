# SPDX-License-Identifier: BSD-3-Clause
"""Every rule of `brazen.optim` as a torch.optim.Optimizer, made from its registry. No formula, no list of rules.

PyTorch's contract: `param_groups` that learning-rate schedulers may change, `state` by parameter under PyTorch's names, a
`state_dict` that PyTorch's optimizer of the same name loads and the other way round, closures, hooks, GradScaler.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch

import brazen.optim
from brazen import _core
from brazen.optim.parameters import renew, to_host
from brazen.optim.settings import GROUP_OPTIONS, STEP_OPTIONS

# What the core remembers of a group beside the steps done, under PyTorch's name.
_PRODUCTS = {"nadam": "mu_product"}
# Options of a whole step that PyTorch keeps in each group.
_GROUPED = ("maximize",)
_gradient = operator.attrgetter("grad")

__all__ = ["Optimizer"]


def _number(value):
    """PyTorch lets a learning rate be a tensor."""
    if isinstance(value, torch.Tensor):
        return value.item()
    return tuple(map(_number, value)) if isinstance(value, tuple | list) else value


def _packing(p) -> tuple[int, ...] | None:
    """The order of axes in which the memory of a parameter is contiguous, None for its own."""
    if p.is_contiguous():
        return None
    order = tuple(sorted(range(p.ndim), key=lambda axis: -p.stride(axis)))
    if not p.permute(order).is_contiguous():
        raise ValueError(
            f"a parameter of shape {tuple(p.shape)} has gaps or overlaps in memory (strides {p.stride()}); make it dense with "
            "p.data = p.data.contiguous()"
        )
    return order


def _packed(tensor, order):
    return tensor if order is None else tensor.permute(order)


def _unpacked(tensor, order):
    return tensor if order is None else tensor.permute(tuple(np.argsort(order)))


_ALWAYS = ("foreach", "fused", "capturable")  # words of PyTorch's optimizers for what a step is anyway


class Optimizer(torch.optim.Optimizer):
    """One update rule over all parameters in one pass, in place, under PyTorch's contract; the rules are subclasses.

    Hyper-parameters and options are those of `brazen.optim.Optimizer` (`clip_norm`, `ema`, `agc`, … in the same pass); those a
    group may set for itself there, a group may set here. Parameters without a gradient are left alone and count no step. The
    state of a 16-bit parameter is float32; with `master_weights` its float32 weights are part of the state. `unit_axis` is 0,
    where PyTorch's weights have their units. `foreach`, `fused` and `capturable` are taken whatever they say: every step is
    all three. `report` is what the last step said.
    """

    rule: ClassVar[type[brazen.optim.Optimizer]]
    report: brazen.optim.Report | None = None

    def __init__(self, params, lr=None, **given):
        if lr is not None:
            given["lr"] = lr
        given.setdefault("unit_axis", 0)
        for name in _ALWAYS:
            given.pop(name, None)
        if given.pop("differentiable", False):
            raise ValueError(
                f"{type(self).__name__}: differentiable is True; a step here is outside the graph, as torch.no_grad"
            )
        self.rule(**{name: _number(value) for name, value in given.items()})  # raises where something is wrong
        grouped = {**self.rule.hyper, **GROUP_OPTIONS, **{name: STEP_OPTIONS[name] for name in _GROUPED}}
        self.options = {name: value for name, value in given.items() if name not in grouped}
        self._forget()
        super().__init__(params, {name: given.get(name, default) for name, default in grouped.items()})

    def _forget(self) -> None:
        """The parameters are to be described anew at the next step."""
        self._engine: Any = None  # the brazen.optim.Optimizer that does the steps, over self._active
        self._active: list[torch.Tensor] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None):  # type: ignore[override]
        """One step of all parameters that have a gradient; returns what `closure` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        present = [
            (p, number) for number, group in enumerate(self.param_groups) for p in group["params"] if p.grad is not None
        ]
        if not present:
            return loss
        params = [p for p, _ in present]
        if not self._fits(params):
            self._build(present)
        engine = self._engine
        self._take_groups()
        if engine.kernel(engine.groups) != engine._kernel:  # a momentum that was 0 is no more: other state is kept
            self._build(present)
            engine = self._engine
        # A gradient of a graph of its own (create_graph) is detached; for all others that would be a new object each.
        grads = [grad.detach() if grad.requires_grad else grad for grad in map(_gradient, self._ordered)]
        if self._permuted:
            grads = [_packed(grad, order) for grad, order in zip(grads, self._orders)]
        self.report = engine.step(grads)
        if not (self.options.get("skip_nonfinite") and self.report.skipped):
            self._steps += 1
            # What a backward pass has saved is no more what it was; PyTorch notices by this.
            torch.autograd.graph.increment_version(params)
        return loss

    def _take_groups(self) -> None:
        """Hyper-parameters as schedulers have left them."""
        for number, group in zip(self._owners, self._engine.groups):
            given = self.param_groups[number]
            for name in group:
                group[name] = _number(given[name])

    def _fits(self, params) -> bool:
        """Whether these parameters, in this memory, are the ones described."""
        return (
            len(params) == len(self._active)
            and all(map(operator.is_, params, self._active))
            and [p.data_ptr() for p in params] == self._addresses
        )

    def _build(self, present) -> None:
        """Makes the optimizer of brazen over these parameters, with the state they have."""
        self._sync()
        self._active = [p for p, _ in present]
        self._addresses = [p.data_ptr() for p in self._active]
        maximize = {bool(self.param_groups[number]["maximize"]) for _, number in present}
        if len(maximize) > 1:
            raise ValueError("maximize differs between groups; expected one value for all that have gradients")
        names = {
            id(p): name for group in self.param_groups for p, name in zip(group["params"], group.get("param_names", ()))
        }
        # PyTorch counts the steps of each parameter, the core those of a group: as many steps, one group.
        groups: dict[tuple, dict[str, Any]] = {}
        for place, (p, number) in enumerate(present):
            kept = self.state[p]
            key = (number, self._steps_of(kept), float(kept.get(_PRODUCTS.get(self.rule.name), 1.0)))
            if key not in groups:
                own = {name: _number(self.param_groups[number][name]) for name in (*self.rule.hyper, *GROUP_OPTIONS)}
                groups[key] = {"params": {}, **own}
            groups[key]["params"][names.get(id(p), str(place))] = p
        self._owners = [number for number, *_ in groups]
        self._ordered = [p for group in groups.values() for p in group["params"].values()]
        self._orders = [_packing(p) for p in self._ordered]
        self._permuted = any(order is not None for order in self._orders)
        packed = zip(self._ordered, self._orders)
        for group in groups.values():
            group["params"] = {name: _packed(p.detach(), order) for name, (p, order) in zip(group["params"], packed)}
        engine = self.rule(list(groups.values()), maximize=maximize.pop(), **self.options)
        if engine._rule["factored"] and any(self._orders):
            raise ValueError(
                f"{type(self).__name__} keeps sums by axis; make its parameters contiguous: p.data.contiguous()"
            )
        self._engine = engine
        self._hand_over([(steps, product) for _, steps, product in groups])

    @staticmethod
    def _steps_of(kept) -> float:
        if "step" in kept:
            return float(kept["step"])
        # PyTorch's SGD counts nothing; with a velocity it has begun.
        return float(isinstance(kept.get("momentum_buffer"), torch.Tensor))

    def _hand_over(self, memory) -> None:
        """The state of PyTorch's dictionaries becomes the engine's, and what is new the dictionaries'."""
        engine, states = self._engine, [self.state[p] for p in self._ordered]
        for number, kind in enumerate(engine._rule["states"]):
            if kind == "direction":  # room to work in
                continue
            engine.state[kind] = self._adopt(kind, states, engine.state[kind], self._orders)
            engine._list.set(_core.first_state + number, engine.state[kind])
        if engine._rule["factored"]:
            for kept, arrays in zip(states, engine._axes):
                for kind in arrays:
                    arrays[kind] = self._adopt(kind, [kept], [arrays[kind]], [None])[0]
            engine._list.set_axes([list(arrays.values()) for arrays in engine._axes])
        if engine._averages is not None:
            engine._averages = self._adopt("average", states, engine._averages, self._orders)
            engine._list.set(_core.average_role, engine._averages)
        if engine._masters is not None:
            engine._masters[:] = self._adopt("master", states, engine._masters, self._orders)
            for master, p, order in zip(engine._masters, self._ordered, self._orders):
                if master is not None:
                    renew(master, _packed(p, order))
        flat = engine.state_dict()
        flat["memory"] = np.array([memory[number] for number, _ in engine._kinds], "float64")
        if "tensor_memory" in flat:
            flat["tensor_memory"] = np.array([float(kept.get("tensor_memory", 0.0)) for kept in states])
        engine.load_state_dict(flat)
        self._steps = torch.tensor([memory[slot.group][0] for slot in engine._slots])
        for kept, steps in zip(states, self._steps):
            kept["step"] = steps  # a view: one addition counts for all

    @staticmethod
    def _adopt(kind, states, fresh, orders) -> list:
        """What is kept under this name, where it may serve as it is; else new arrays with its values."""
        arrays = []
        for kept, array, order in zip(states, fresh, orders):
            given = kept.get(kind)
            if given is not None and array is not None:
                given = _packed(given, order)
                if (given.dtype, given.device, given.shape) == (
                    array.dtype,
                    array.device,
                    array.shape,
                ) and given.is_contiguous():
                    array = given
                else:
                    array.copy_(given)
            if array is not None:
                kept[kind] = _unpacked(array, order)
            arrays.append(array)
        return arrays

    def _sync(self) -> None:
        """Writes what only the core knows into `state`, and what PyTorch's optimizer of this name asks for."""
        product = _PRODUCTS.get(self.rule.name)
        scalars = product or self.rule.name == "asgd" or (self._engine and self._engine._rule["layerwise"])
        if self._engine is None or not scalars:
            return
        flat = self._engine.state_dict()
        rows = {number: row for (number, _), row in zip(self._engine._kinds, to_host(flat["memory"]))}
        layers = to_host(flat["tensor_memory"]) if "tensor_memory" in flat else None
        for place, (p, slot) in enumerate(zip(self._ordered, self._engine._slots)):
            kept, (steps, remembered) = self.state[p], map(float, rows[slot.group])
            if product:
                kept[product] = torch.tensor(remembered, dtype=torch.float64)
            if layers is not None:
                kept["tensor_memory"] = torch.tensor(float(layers[place]), dtype=torch.float64)
            if self.rule.name == "asgd":  # PyTorch keeps the rates of the next step
                h = self._engine.groups[slot.group]
                eta = h["lr"] / (1 + h["lambd"] * h["lr"] * steps) ** h["alpha"]
                kept |= {"eta": torch.tensor(eta), "mu": torch.tensor(1 / max(1.0, steps - h["t0"]))}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Takes one group more; see torch.optim.Optimizer."""
        super().add_param_group(param_group)
        self._sync()
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's: `state` by the parameter's number, and `param_groups`."""
        self._sync()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state_dict of this class, or of PyTorch's optimizer of its name. The arrays are copied."""
        super().load_state_dict(state_dict)
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        own = chain.from_iterable(group["params"] for group in self.param_groups)
        for number, p in zip(saved, own):
            for name, value in state_dict["state"].get(number, {}).items():
                if isinstance(value, torch.Tensor):  # PyTorch gives it the parameter's dtype: 16 bits are too few
                    self.state[p][name] = (
                        value.detach().clone() if name == "step" else value.detach().to(p.device, copy=True)
                    )

    def __getstate__(self) -> dict[str, Any]:
        self._sync()
        return {**super().__getstate__(), "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._forget()

    @property
    def averages(self) -> dict[torch.Tensor, torch.Tensor]:
        """The average of each parameter that has taken a step with `ema`."""
        return {p: kept["average"] for p, kept in self.state.items() if "average" in kept}

    @property
    def copies(self) -> dict[torch.Tensor, torch.Tensor]:
        """The copy of each parameter that took part in the last step with `copy_to`."""
        made = (self._engine._copies if self._engine else None) or []
        return {p: _unpacked(c, order) for p, c, order in zip(self._ordered, made, self._orders) if c is not None}

    @contextlib.contextmanager
    @torch.no_grad()
    def averaged(self):
        """Inside, the parameters have the values of their averages: for evaluation."""
        before = {p: p.clone() for p in self.averages}
        for p, average in self.averages.items():
            p.copy_(average)
        try:
            yield
        finally:
            for p, value in before.items():
                p.copy_(value)


for _rule in brazen.optim.names():
    _made = brazen.optim.get(_rule)
    globals()[_made.__name__] = type(
        _made.__name__, (Optimizer,), {"rule": _made, "__doc__": _made.__doc__, "__module__": __name__}
    )
    __all__.append(_made.__name__)
