# SPDX-License-Identifier: BSD-3-Clause
"""What every optimizer does: parameters and groups, one step in place, options, state. No rule's formula."""

from __future__ import annotations

import fnmatch
import inspect
from typing import Any, ClassVar

import numpy as np

from .. import _core
from . import parameters
from .loss_scale import LossScale
from .report import Report
from .settings import GROUP_OPTIONS, STEP_OPTIONS, check_value, resolve

RULES = {rule["name"]: rule for rule in _core.updates()}


class Optimizer:
    """One update rule over all parameters in one pass, in place. See the subclasses for the rules.

    `params` is a list, dict or nested dict of arrays, or a list of groups `{"params": …, "lr": …}` with hyper-parameters of
    their own; without it, `bind` gives them later. Every hyper-parameter is a number or a schedule: a function of the number
    of steps done. Options of every rule, all done in the same pass:

    weight_decay, decoupled_weight_decay: `grad + weight_decay w`, or decoupled `w (1 - lr weight_decay)`; the default is what
        the rule's name says. l1, l2: coupled penalties `l1 |w|` and `l2 / 2 w²`.
    clip_norm, clip_value: bounds of the norm of all gradients together, and then of each element.
    agc, agc_eps: adaptive clipping (Brock 2021): a unit's gradient norm is held to agc * max(|w|, agc_eps).
    max_norm: a unit's weights are shrunk to this norm after the step. A unit is an index of unit_axis: -1 for weights
        (inputs, units), 0 for (units, inputs, …). Arrays of fewer than two axes are one unit to agc, and none to max_norm.
    ema: an average of the weights, `average = ema average + (1 - ema) w`, started at the weights; or, with
        ema_bias_correction, at nothing and corrected, so that it is w after the first step. See `averages`.
    copy_to: a dtype, or arrays, that receive the new weights, such as "bfloat16". See `copies`.
    zero_grads: sets the gradients to zero when they are used. maximize: climbs.
    skip_nonfinite: an infinity or NaN in any gradient leaves parameters and state as they are, and the step is not counted.
    report_norms: the report carries the norms of gradient, update and weights of each group.
    exclude: what an option leaves alone: `{"weight_decay": ["*bias*", 1]}`, names by pattern or arrays of at most so many
        dimensions; a bare list stands for weight_decay, l1 and l2.
    state_dtype: of the state's arrays, one for all or a dict by the state's name; float32 for 16-bit parameters.
    """

    name: ClassVar[str] = ""
    hyper: ClassVar[dict[str, Any]] = {}
    decoupled: ClassVar[bool] = False  # what decoupled_weight_decay=None means

    def __init_subclass__(cls):
        if not cls.name:  # what several rules share
            return
        registry[cls.name] = cls
        cls.hyper = {"lr": 1e-3, "weight_decay": 0.0, **cls.hyper}
        kinds = inspect.Parameter
        names = ["lr", *(n for n in cls.hyper if n not in ("lr", "weight_decay")), "weight_decay"]
        given = [kinds(n, kinds.KEYWORD_ONLY, default=cls.hyper[n]) for n in names[1:]]
        given += [kinds(n, kinds.KEYWORD_ONLY, default=d) for n, d in {**GROUP_OPTIONS, **STEP_OPTIONS}.items()]
        first = [kinds("params", kinds.POSITIONAL_OR_KEYWORD, default=None)]
        first += [kinds("lr", kinds.POSITIONAL_OR_KEYWORD, default=cls.hyper["lr"])]
        setattr(cls, "__signature__", inspect.Signature([*first, *given]))  # noqa: B010

    def __init__(self, params=None, lr=None, **given):
        if lr is not None:
            given["lr"] = lr
        known = {**self.hyper, **GROUP_OPTIONS, **STEP_OPTIONS}
        self._require_known(given, known)
        self.options = {name: given.get(name, standard) for name, standard in STEP_OPTIONS.items()}
        self.defaults = {n: given.get(n, s) for n, s in {**self.hyper, **GROUP_OPTIONS}.items()}
        for name, value in {**self.options, **self.defaults}.items():
            check_value(name, value)
        self.check(self.defaults)
        self.groups: list[dict[str, Any]] = [dict(self.defaults)]
        self._list: _core.TensorList | None = None
        self._slots: list[parameters.Slot] = []
        if params is not None:
            self.bind(params)

    def __repr__(self):
        changed = ", ".join(
            f"{n}={v!r}" for n, v in self.defaults.items() if n == "lr" or v != self.hyper.get(n, GROUP_OPTIONS.get(n))
        )
        return f"{type(self).__name__}({changed})"

    def _require_known(self, given, known):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise TypeError(f"{type(self).__name__} knows no {', '.join(unknown)}; it takes {', '.join(known)}")

    # What a rule may define.

    def check(self, group: dict) -> None:
        """Raises where hyper-parameters contradict each other."""

    def kernel(self, groups: list[dict]) -> str:
        """The registered rule that serves these groups."""
        return self.name

    def core_hyper(self, h: dict) -> dict[str, float]:
        """The registered rule's hyper-parameters that do not bear the public names."""
        return {}

    def outer_decay(self, h: dict) -> float:
        """The weight decay that is left to apply beside the formula."""
        return h["weight_decay"]

    def initial_state(self, state: str, group: dict) -> float:
        return 0.0

    def axis_states(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of a factored rule: what is kept of an array by its axes, name to shape."""
        return {}

    # Parameters.

    def bind(self, params) -> None:
        """Takes the parameters to update, and starts the state anew."""
        slots, own = parameters.read_groups(params)
        groups = []
        for overrides in own:
            self._require_known(overrides, {**self.hyper, **GROUP_OPTIONS})
            for name, value in overrides.items():
                check_value(name, value)
            group = {**self.defaults, **overrides}
            self.check(group)
            groups.append(group)
        excluded = [self._excluded(slot) for slot in slots]
        # A group of the core: parameters of one public group from which the same options keep away.
        kinds: dict[tuple[int, frozenset[str]], int] = {}
        numbers = [kinds.setdefault((slot.group, out), len(kinds)) for slot, out in zip(slots, excluded)]
        made = _core.TensorList([s.container for s in slots], [s.key for s in slots], [s.name for s in slots], numbers)
        self.groups, self._own, self._kinds, self._slots, self._params = groups, own, list(kinds), slots, params
        self._kernel = self.kernel(groups)
        self._rule = RULES[self._kernel]
        self._list, self._steps = made, 0
        self._make_arrays(excluded)

    def _excluded(self, slot) -> frozenset[str]:
        exclude = self.options["exclude"] or {}
        if not isinstance(exclude, dict):
            exclude = dict.fromkeys(("weight_decay", "l1", "l2"), exclude)
        array = slot.array

        def matches(patterns):
            patterns = [patterns] if isinstance(patterns, str | int) else patterns
            return any(array.ndim <= p if isinstance(p, int) else fnmatch.fnmatch(slot.name, p) for p in patterns)

        unknown = exclude.keys() - set(parameters.Excludable)
        if unknown:
            raise ValueError(
                f"exclude names {', '.join(sorted(unknown))}; expected options of {', '.join(parameters.Excludable)}"
            )
        return frozenset(option for option, patterns in exclude.items() if matches(patterns))

    def _make_arrays(self, excluded):
        assert self._list is not None
        wanted = self.options["state_dtype"]
        self.state: dict[str, list] = {}
        for number, state in enumerate(self._rule["states"]):
            arrays = []
            for slot in self._slots:
                dtype = wanted.get(state) if isinstance(wanted, dict) else wanted
                own = parameters.dtype_name(slot.array)
                dtype = (
                    str(dtype)
                    if dtype and not self._rule["factored"]
                    else ("float32" if own in ("float16", "bfloat16") else own)
                )
                arrays.append(parameters.filled(slot.array, dtype, self.initial_state(state, self.groups[slot.group])))
            self.state[state] = arrays
            self._list.set(_core.first_state + number, arrays)
        self._axes: list[dict[str, Any]] = []
        if self._rule["factored"]:
            for slot in self._slots:
                shapes = self.axis_states(tuple(slot.array.shape))
                self._axes.append({n: parameters.filled_as(slot.array, shape) for n, shape in shapes.items()})
            self._list.set_axes([list(made.values()) for made in self._axes])
        axis, extents = self.options["unit_axis"], [tuple(slot.array.shape) for slot in self._slots]
        limited, clipped = (any(group[n] is not None for group in self.groups) for n in ("max_norm", "agc"))
        self._list.set_units(
            [parameters.units_of(shape, axis, False) for shape in extents] if limited else [],
            [parameters.units_of(shape, axis, True) for shape in extents] if clipped else [],
        )
        self._averages = self._copies = None
        if self.options["ema"] is not None:
            # A 16-bit average would not move: 0.995 of it rounds back to it.
            self._averages = [
                None if "ema" in out else parameters.copy_of(slot.array, self._average_dtype(slot))
                for slot, out in zip(self._slots, excluded)
            ]
            self._list.set(_core.average_role, self._averages)
        copy_to = self.options["copy_to"]
        if copy_to is not None:
            if isinstance(copy_to, str | np.dtype | type):
                name = copy_to if isinstance(copy_to, str) else np.dtype(copy_to).name
                given = [parameters.copy_of(slot.array, name) for slot in self._slots]
            else:
                given = list(parameters.flatten(copy_to, self._slots, "copy_to"))
            self._copies = [None if "copy_to" in out else array for array, out in zip(given, excluded)]
            self._list.set(_core.copy_role, self._copies)

    @staticmethod
    def _average_dtype(slot):
        own = parameters.dtype_name(slot.array)
        return "float32" if own in ("float16", "bfloat16") else own

    @property
    def params(self):
        """The parameters, in the structure they came in."""
        self._require_bound()
        return self._params

    @property
    def averages(self):
        """The averages of the weights, in the structure of the parameters; None where `exclude` leaves one out."""
        return self._beside(self._averages, "ema")

    @property
    def copies(self):
        """The low-precision copies, in the structure of the parameters."""
        return self._beside(self._copies, "copy_to")

    def _beside(self, arrays, option):
        self._require_bound()
        if arrays is None:
            raise ValueError(f"there is none: {type(self).__name__} was made without {option}")
        return parameters.like(arrays, self._slots, self._params)

    def _require_bound(self) -> _core.TensorList:
        if self._list is None:
            raise ValueError(f"{type(self).__name__} has no parameters yet; give them to it, or call bind(params)")
        return self._list

    # Steps.

    @property
    def steps(self) -> int:
        """Steps done; skipped ones are not counted."""
        return self._steps if self._list is not None else 0

    @property
    def lr(self):
        """The learning rate, of the first group; setting it sets it in all groups."""
        return self.groups[0]["lr"]

    @lr.setter
    def lr(self, value):
        self.set(lr=value)

    learning_rate = lr  # Keras' name

    def set(self, **values) -> None:
        """Sets hyper-parameters in all groups, from the next step on; one group's are in `groups[i]`."""
        self._require_known(values, {**self.hyper, **GROUP_OPTIONS, "clip_norm": None, "ema": None})
        for name, value in values.items():
            check_value(name, value)
            if name in self.options:
                self.options[name] = value
                continue
            self.defaults[name] = value
            for group in self.groups:
                group[name] = value

    def bind_grads(self, grads) -> None:
        """Gradients that keep their memory: `step()` without any then uses these."""
        made = self._require_bound()
        made.bind(list(parameters.flatten(grads, self._slots, "grads")))

    def step(self, grads=None, scale: float | LossScale = 1.0) -> Report:
        """One step in place. `scale` is the loss scale that the gradients carry: a number, or a LossScale to be kept up."""
        made = self._require_bound()
        flat = grads if grads is None or type(grads) is list else parameters.flatten(grads, self._slots, "grads")
        if flat and not parameters.is_array(flat[0]):
            flat = parameters.flatten(flat, self._slots, "grads")
        dynamic = scale if isinstance(scale, LossScale) else None
        factor = 1.0 / float(dynamic.value if dynamic else scale)  # type: ignore[arg-type]
        options = self.options
        skip = options["skip_nonfinite"] or (dynamic is not None and dynamic.dynamic)
        settings = [self._settings(number, out) for number, out in self._kinds]
        clip_norm = resolve(options["clip_norm"], self._steps) or 0.0
        norm, skipped, norms = made.step(
            self._rule["number"],
            flat,
            settings,
            [
                -factor if options["maximize"] else factor,
                clip_norm,
                skip,
                options["zero_grads"],
                options["report_norms"],
            ],
        )
        self._steps += not skipped
        if dynamic is not None:
            dynamic.update(skipped)
        return Report(skipped, norm, norms, [number for number, _ in self._kinds])

    def _settings(self, number: int, excluded: frozenset[str]) -> list[float]:
        """What the core's GroupStep holds, in its order."""
        h = {name: resolve(value, self._steps) for name, value in self.groups[number].items()}
        if "weight_decay" in excluded:
            h["weight_decay"] = 0.0
        core = self._core_values(h)
        values = [float(core[name]) for name in self._rule["hyper"]]
        values += [0.0] * (_core.max_hyper - len(values))
        decay = self.outer_decay(h)
        decoupled = self.decoupled if h["decoupled_weight_decay"] is None else h["decoupled_weight_decay"]
        l2 = 0.0 if "l2" in excluded else h["l2"]
        values += [
            1.0 - h["lr"] * decay if decoupled else 1.0,
            0.0 if "l1" in excluded else h["l1"],
            l2 if decoupled else l2 + decay,
            0.0 if "clip_value" in excluded else h["clip_value"] or 0.0,
            resolve(self.options["ema"], self._steps) or 0.0,
            float(self.options["ema_bias_correction"]),
            0.0 if "clip_norm" in excluded else 1.0,
            0.0 if "max_norm" in excluded else h["max_norm"] or 0.0,
            0.0 if "agc" in excluded else h["agc"] or 0.0,
            h["agc_eps"],
        ]
        return values

    def _core_values(self, h: dict) -> dict:
        values = dict(h)
        for number, beta in enumerate(h.get("betas", ()), 1):
            values[f"beta{number}"] = beta
        if "eps_mode" in h:
            values["eps_inside"] = h["eps"] if h["eps_mode"] == "inside" else 0.0
            values["eps_outside"] = h["eps"] if h["eps_mode"] == "outside" else 0.0
        if "bias_correction" in h:
            values["correction"] = h["bias_correction"]
        if "initial" in h:
            values["first_gradient"] = h["initial"] == "gradient"
        return {**values, **self.core_hyper(h)}

    # State.

    def state_dict(self) -> dict[str, Any]:
        """Everything a later step depends on but the parameters: flat, named, the arrays themselves and one of scalars.

        `memory` holds a row (steps done, what the rule multiplies up) for each group, `tensor_memory` what a rule such as
        NovoGrad remembers of each array.
        """
        made = self._require_bound()
        state: dict[str, Any] = {"memory": np.array(made.memory, "float64").reshape(-1, 2)}
        if self._rule["layerwise"]:
            state["tensor_memory"] = np.array(made.tensor_memory, "float64")
        for slot, own in zip(self._slots, self._axes):
            state |= {f"{kind}.{slot.name}": array for kind, array in own.items()}
        kept = {kind: arrays for kind, arrays in self.state.items() if kind != "direction"}
        for kind, arrays in [*kept.items(), ("average", self._averages or [])]:
            for slot, array in zip(self._slots, arrays):
                if array is not None:
                    state[f"{kind}.{slot.name}"] = array
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state_dict() of an equal optimizer. What does not fit is listed in an error, and nothing is changed."""
        made = self._require_bound()
        own = self.state_dict()
        wrong = [f"{name} is missing" for name in own if name not in state]
        wrong += [f"{name} is not known" for name in state if name not in own]
        for name in own.keys() & state.keys():
            array, given = own[name], state[name]
            if tuple(array.shape) != tuple(given.shape):
                wrong.append(f"{name} has shape {tuple(given.shape)}, expected {tuple(array.shape)}")
            elif parameters.dtype_name(array) != parameters.dtype_name(given):
                wrong.append(
                    f"{name} has dtype {parameters.dtype_name(given)}, expected {parameters.dtype_name(array)}"
                )
        if wrong:
            raise ValueError(f"the state does not fit this {type(self).__name__}: " + "; ".join(sorted(wrong)))
        for name, array in own.items():
            if name == "tensor_memory":
                made.tensor_memory = [float(x) for x in state[name]]
            elif name != "memory":
                parameters.assign(array, state[name])
        memory = np.asarray(state["memory"])
        made.memory = [(float(step), float(product)) for step, product in memory]
        self._steps = int(memory[0, 0])

    def config(self) -> dict[str, Any]:
        """Plain data from which `brazen.optim.from_config` makes this optimizer again; the parameters are bound anew."""

        def plain(name, value):
            if isinstance(value, tuple | list):
                return [plain(name, v) for v in value]
            if hasattr(value, "config"):
                return value.config()
            if callable(value) or parameters.is_array(value):
                raise TypeError(
                    f"{name} is {type(value).__name__}, which has no config(); give a schedule of brazen.schedules"
                )
            return value

        given = {n: v for n, v in self.defaults.items() if v != {**self.hyper, **GROUP_OPTIONS}[n]}
        given |= {n: v for n, v in self.options.items() if v != STEP_OPTIONS[n]}
        return {"rule": self.name, **{n: plain(n, v) for n, v in given.items()}}


registry: dict[str, type[Optimizer]] = {}
