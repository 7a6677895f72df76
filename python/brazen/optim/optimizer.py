# SPDX-License-Identifier: BSD-3-Clause
"""What every optimizer does: parameters and groups, one step in place, options, state. No rule's formula."""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar

from .. import _core
from .._noise import bounded
from . import arrays, clearing, core_settings, parameters, shards
from . import state as saved
from .loss_scale import LossScale
from .report import Report
from .settings import CHANGEABLE, GROUP_OPTIONS, STEP_OPTIONS, checked, resolve, scheduled
from .settings import number as a_number

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
    master_weights: 16-bit parameters get weights in float32 beside them, which the steps update; a parameter receives them
        rounded. They are part of the state. See `masters`.
    zero_grads: sets the gradients to zero when they are used. maximize: climbs.
    skip_nonfinite: an infinity or NaN in any gradient leaves parameters and state as they are, and the step is not counted.
    report_norms: the report carries the norms of gradient, update and weights of each group, for a second look at all arrays.
    exclude: what an option leaves alone: `{"weight_decay": ["*bias*", 1]}`, names by pattern or arrays of at most so many
        dimensions; a bare list stands for weight_decay, l1 and l2.
    state_dtype: of the state's arrays, one for all or a dict by the state's name; float32 for 16-bit parameters.
    stochastic_rounding: a seed. What is kept in 16 bits (parameters, states, averages) is rounded up with the probability of
        what would be cut off, so that small updates are not lost; the same draws on every machine (float64 rounds to nearest).

    On a GPU a step waits for nothing; its report stays there until asked for, and every number (hyper-parameters, penalties,
    bounds, the loss scale) may be an array of one element there, which a captured graph reads anew each time it runs.
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
        given = checked(given, known)
        self.options = {name: given.get(name, standard) for name, standard in STEP_OPTIONS.items()}
        self.defaults = {n: given.get(n, s) for n, s in {**self.hyper, **GROUP_OPTIONS}.items()}
        if self.options["stochastic_rounding"] is not None:
            self.options["stochastic_rounding"] = bounded(
                "stochastic_rounding", self.options["stochastic_rounding"], 64
            )
        if self.options["master_weights"] and self.options["copy_to"] is not None:
            raise ValueError(
                "copy_to and master_weights are both given; the parameters are the copies of master weights"
            )
        self.check(self.defaults)
        self._require_states(self.options["state_dtype"])
        self.groups: list[dict[str, Any]] = [dict(self.defaults)]
        self.epoch: int | None = None  # for schedules that count epochs
        self._list: _core.TensorList | None = None
        self._own: list[dict[str, Any]] = []
        self._slots: list[parameters.Slot] = []
        self.state: dict[str, list] = {}
        self._averages: list | None = None
        self._copies: list | None = None
        self._masters: list | None = None
        self._fitted: list = []  # the settings that the arrays were last made to fit
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

    def _require_states(self, dtypes):
        """A name that is no rule's state is misspelt; another rule of this class may have it."""
        if dtypes and RULES[self.kernel([self.defaults])]["factored"]:
            raise ValueError(
                f"state_dtype is {dtypes!r}; {type(self).__name__} keeps its sums by axis, in the type it computes in: leave it away"
            )
        known = {state for rule in RULES.values() for state in rule["states"]}
        unknown = [name for name in dtypes if name not in known] if isinstance(dtypes, dict) else []
        if unknown:
            own = ", ".join(RULES[self.kernel([self.defaults])]["states"]) or "none"
            raise ValueError(f"state_dtype names {', '.join(unknown)}; the states of {type(self).__name__} are {own}")

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
        if self._list is None and self._own:  # of a config
            if len(own) != len(self._own):
                raise ValueError(f"params are {len(own)} groups; expected {len(self._own)}, as the config says")
            own = [{**kept, **given} for kept, given in zip(self._own, own)]
        groups = []
        for overrides in own:
            known = {**self.hyper, **GROUP_OPTIONS}
            self._require_known(overrides, known)
            overrides.update(checked(overrides, known))
            group = {**self.defaults, **overrides}
            self.check(group)
            groups.append(group)
        excluded = [parameters.excluded_from(slot, self.options["exclude"]) for slot in slots]
        # A group of the core: parameters of one public group from which the same options keep away.
        kinds: dict[tuple[int, frozenset[str]], int] = {}
        numbers = [kinds.setdefault((slot.group, out), len(kinds)) for slot, out in zip(slots, excluded)]
        made = parameters.tensor_list(slots, numbers)
        masters = None
        if self.options["master_weights"]:  # what is wrong with the parameters themselves was found above
            masters, weights = arrays.make_masters(slots)
            made = parameters.tensor_list(weights, numbers)
        self.groups, self._own, self._kinds, self._slots, self._params = groups, own, list(kinds), slots, params
        self._masters, self._weights = masters, weights if masters is not None else slots
        self._excluded = excluded
        self._kernel = self.kernel(groups)
        self._rule = RULES[self._kernel]
        self._list, self._steps, self._uncertain = made, 0, False
        self._kept: dict[int, tuple] = {}
        self._bound_grads: list | None = None
        self._cleared: tuple | None = None
        arrays.make(self)
        if made.on_device:
            first, count = self._weights[0].array, len(self._kinds)
            self._memory = parameters.filled_as(first, (count, 2), "float64", [[0.0, 1.0]] * count)
            self._tensor_memory = parameters.filled_as(first, (len(slots),), "float64")
            made.set_device_memory(self._memory, self._tensor_memory)

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

    @property
    def masters(self):
        """The float32 weights of 16-bit parameters, in the structure of the parameters; None for others."""
        return self._beside(self._masters, "master_weights")

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
        """Steps done; skipped ones are not counted. On a GPU, after a step that may have been skipped, this waits for it."""
        if self._list is None:
            return 0
        if self._uncertain or self._list.captured:
            self._steps, self._uncertain = int(parameters.to_host(self._memory)[0, 0]), False
        return self._steps

    def value_of(self, name: str, group: int = 0):
        """A hyper-parameter's value at the next step."""
        return self._resolve(name, self.groups[group][name])

    def _resolve(self, name: str, value):
        return scheduled(name, resolve(value, lambda: self.steps, self.epoch, name), value)

    @property
    def lr(self):
        """The learning rate, of the first group; setting it sets it in all groups."""
        return self.groups[0]["lr"]

    @lr.setter
    def lr(self, value):
        self.set(lr=value)

    learning_rate = lr  # Keras' name

    def set(self, **values) -> None:
        """Sets hyper-parameters in all groups, and options of a step, from the next step on; one group's are in `groups[i]`.

        What a new value needs (a momentum's buffer, averages) is made then, as if the steps before had left nothing in it.
        """
        known = {**self.hyper, **GROUP_OPTIONS, **{name: STEP_OPTIONS[name] for name in CHANGEABLE}}
        self._require_known(values, known)
        values = checked(values, known)
        of_groups = {name: value for name, value in values.items() if name not in self.options}
        if of_groups:
            changed = [{**group, **of_groups} for group in self.groups]
            for group in [{**self.defaults, **of_groups}, *changed]:
                self.check(group)
            self.kernel(changed)  # raises where groups cannot be served together
        if self._list is not None and "ema" in values:
            arrays.require_can_start(self, values["ema"])
        self.options.update({name: value for name, value in values.items() if name in self.options})
        for group in [self.defaults, *self.groups]:
            group.update(of_groups)
        if self._list is not None:
            arrays.fit(self)

    def bind_grads(self, grads) -> None:
        """Gradients that keep their memory: `step()` without any then uses these."""
        made = self._require_bound()
        flat = list(parameters.flatten(grads, self._slots, "grads"))
        if self.options["zero_grads"]:
            clearing.require(self, flat)
        made.bind(flat)
        self._bound_grads = flat

    def norm_partials(self, grads, first_chunk: int = 0):
        """This shard's share of the norm that clip_norm bounds, for `brazen.optim.merge_norm`; what is not clipped counts as 0.

        `first_chunk` is the number of the shard's first chunk in the whole list, as `brazen.optim.shard` gives it.
        """
        self._require_bound()
        flat = list(parameters.flatten(grads, self._slots, "grads"))
        if len(flat) != len(self._slots):
            raise ValueError(
                f"{len(flat)} gradients for {len(self._slots)} parameters; pass one for each, in their order"
            )
        rows = shards.norm_partials(flat, first_chunk)
        first = 0
        for grad, out in zip(flat, self._excluded):
            chunks = -(-math.prod(grad.shape) // shards.CHUNK)
            if "clip_norm" in out:
                rows[first : first + chunks, 1] = 0.0
            first += chunks
        return rows

    def step(
        self, grads=None, scale: float | LossScale = 1.0, *, norm: float | None = None, skip: bool | None = None
    ) -> Report:
        """One step in place. `scale` is the loss scale that the gradients carry: a number, or a LossScale to be kept up.

        Of a shard, `norm` is the norm of all gradients as they are stored, with that scale, and `skip` says whether the step
        is skipped: what `brazen.optim.merge_norm` made of all shards' partials. They take the place of what is measured here.
        """
        made = self._require_bound()
        if norm is not None and (norm := a_number("norm", norm)) < 0:
            raise ValueError(f"norm is {norm!r}; expected the norm of all gradients, which is not negative")
        if self._masters is not None:
            arrays.follow(self)
        flat = grads if grads is None or type(grads) is list else parameters.flatten(grads, self._slots, "grads")
        if flat and not parameters.is_array(flat[0]):
            flat = parameters.flatten(flat, self._slots, "grads")
        dynamic = scale if isinstance(scale, LossScale) else None
        options = self.options
        may_skip = bool(options["skip_nonfinite"] or (dynamic is not None and dynamic.dynamic))
        scalars: list[tuple[int, int, Any]] = []
        if parameters.on_gpu(scale):
            scalars.append((-1, -1, scale))
            factor = 1.0
        else:
            number = a_number("scale", dynamic.value if dynamic else scale)
            if not 0 < number < math.inf:
                raise ValueError(f"scale is {number!r}; expected a positive number, the gradients' loss scale")
            factor = 1.0 / number
        settings = core_settings.of_all_groups(self, scalars)
        clip_norm = core_settings.number_or_scalar(self, "clip_norm", options["clip_norm"], (-1, 0), scalars)
        norms = options["report_norms"]
        if options["zero_grads"] and not made.may_clear(flat):
            clearing.require(self, self._bound_grads if flat is None else flat)
            made.let_clear(flat)
        values = made.step(
            self._rule["number"],
            flat,
            settings,
            [
                -factor if options["maximize"] else factor,
                clip_norm,
                may_skip,
                options["zero_grads"],
                norms,
                -1.0 if norm is None else norm,
                -1.0 if skip is None else bool(skip),
            ],  # fmt: skip
            options["stochastic_rounding"],
            scalars,
        )
        measured = norm is not None or norms or options["clip_norm"] is not None or (may_skip and skip is None)
        report = Report(values, [number for number, _ in self._kinds], measured, norms)
        if made.on_device:
            self._steps += not skip
            self._uncertain = self._uncertain or (may_skip and skip is None)  # only the device knows
            if dynamic is not None:
                dynamic.watch(report)
        else:
            self._steps += not report.skipped
            if dynamic is not None:
                dynamic.update(report.skipped)
        return report

    # State.

    def state_dict(self) -> dict[str, Any]:
        """Everything a later step depends on but the parameters: flat, named, the arrays themselves and one of scalars.

        `memory` holds a row (steps done, what the rule multiplies up) for each group, `tensor_memory` what a rule such as
        NovoGrad remembers of each array, `schedule.…` what a schedule that listens has heard.
        """
        return saved.collect(self)

    def load_state_dict(self, given: dict[str, Any]) -> None:
        """Takes over a state_dict() of an equal optimizer. What does not fit is listed in an error, and nothing is changed."""
        saved.load(self, given)

    def config(self) -> dict[str, Any]:
        """Plain data from which `brazen.optim.from_config` makes this optimizer again; the parameters are bound anew.

        `groups` holds what each parameter group sets for itself; it is applied to the groups that are bound.
        """
        return saved.config(self)


registry: dict[str, type[Optimizer]] = {}
