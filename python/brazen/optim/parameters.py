# SPDX-License-Identifier: BSD-3-Clause
"""Lists, dictionaries and groups of arrays as flat, named slots; new arrays beside them. No rule, no step."""

from __future__ import annotations

import fnmatch
import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core

Penalties = ("weight_decay", "l1", "l2", "max_norm", "agc")
Excludable = (*Penalties, "clip_norm", "clip_value", "ema", "copy_to")


@dataclass
class Slot:
    """Where one parameter stands: container[key]. The array itself may be replaced there."""

    name: str
    container: Any
    key: Any
    group: int

    @property
    def array(self):
        return self.container[self.key]


def is_array(x) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape")


def units_of(shape, unit_axis: int, whole: bool) -> tuple[int, int]:
    """How many units an array has, and how many elements in a row belong to one; (0, 0) where it has none.

    >>> units_of((4, 3), -1, False), units_of((4, 3), 0, False), units_of((3,), -1, False), units_of((3,), -1, True)
    ((3, 1), (4, 3), (0, 0), (1, 3))
    """
    size = math.prod(shape)
    if len(shape) < 2 or not size:
        return (1, size) if whole and size else (0, 0)
    if not isinstance(unit_axis, int) or not -len(shape) <= unit_axis < len(shape):
        raise ValueError(
            f"unit_axis is {unit_axis!r}; expected an axis of every array that has units, one of shape {shape}"
        )
    axis = unit_axis % len(shape)
    return shape[axis], math.prod(shape[axis + 1 :])


def walk(tree, name: str, group: int, slots: list[Slot], what: str = "params") -> None:
    """Appends a slot for every array of a list, tuple or mapping, however nested; names are joined by dots."""
    if isinstance(tree, Mapping):
        items = list(tree.items())
    elif isinstance(tree, list | tuple):
        items = list(enumerate(tree))
    else:
        raise TypeError(
            f"{what}{' at ' + name if name else ''} is {type(tree).__name__}; expected an array, or a list or dict of them"
        )
    for key, value in items:
        full = f"{name}.{key}" if name else str(key)
        if is_array(value):
            slots.append(Slot(full, tree, key, group))
        else:
            walk(value, full, group, slots, what)


def read_groups(params) -> tuple[list[Slot], list[dict]]:
    """The slots, and for each group the hyper-parameters it sets itself.

    >>> slots, groups = read_groups({"w": np.zeros(2), "b": np.zeros(1)})
    >>> [slot.name for slot in slots], groups
    (['w', 'b'], [{}])
    """
    slots: list[Slot] = []
    if isinstance(params, list | tuple) and params and all(isinstance(p, Mapping) and "params" in p for p in params):
        for number, group in enumerate(params):
            tree = group["params"]
            walk([tree] if is_array(tree) else tree, "", number, slots)
        own = [{key: value for key, value in group.items() if key != "params"} for group in params]
        names = [slot.name for slot in slots]
        if len(set(names)) < len(names):  # two lists: 0, 1, … in each
            for slot in slots:
                slot.name = f"{slot.group}.{slot.name}"
    else:
        walk([params] if is_array(params) else params, "", 0, slots)
        own = [{}]
    if not slots:
        raise ValueError("params holds no array; expected a list, dict or nested dict of arrays, or parameter groups")
    require_names_apart(slots, "params")
    return slots, own


def require_names_apart(slots: list[Slot], what: str) -> None:
    """Gradients and states are found by name: two of one name would share them."""
    counts = Counter(slot.name for slot in slots)
    if len(counts) < len(slots):
        twice = ", ".join(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{what} has two arrays named {twice}, keys being joined by dots; rename one of their keys")


def excluded_from(slot: Slot, exclude) -> frozenset[str]:
    """The options that leave this parameter alone.

    >>> excluded_from(Slot("dense.bias", [np.zeros(3)], 0, 0), {"weight_decay": ["*bias"], "ema": ["*kernel"]})
    frozenset({'weight_decay'})
    """
    if not isinstance(exclude, dict):
        exclude = dict.fromkeys(("weight_decay", "l1", "l2"), exclude or ())
    array = slot.array

    def matches(patterns):
        patterns = [patterns] if isinstance(patterns, str | int) else patterns
        return any(array.ndim <= p if isinstance(p, int) else fnmatch.fnmatch(slot.name, p) for p in patterns)

    unknown = exclude.keys() - set(Excludable)
    if unknown:
        raise ValueError(f"exclude names {', '.join(sorted(unknown))}; expected options of {', '.join(Excludable)}")
    return frozenset(option for option, patterns in exclude.items() if matches(patterns))


def flatten(tree, slots: list[Slot], what: str):
    """The leaves of `tree`, in the order of the slots; a flat list or tuple is taken as it is."""
    if isinstance(tree, list | tuple) and (not tree or is_array(tree[0])):
        return tree
    found: list[Slot] = []
    walk([tree] if is_array(tree) else tree, "", 0, found, what)
    require_names_apart(found, what)
    by_name = {slot.name: slot for slot in found}
    # Names of groups of lists carry the group's number; their gradients may come without.
    missing = [slot.name for slot in slots if slot.name not in by_name]
    unknown = by_name.keys() - {slot.name for slot in slots}
    if missing or unknown:
        raise ValueError(
            f"{what} do not fit the parameters: missing {', '.join(missing) or 'none'}; "
            f"unknown {', '.join(sorted(unknown)) or 'none'}"
        )
    return [by_name[slot.name].array for slot in slots]


def like(values: list, slots: list[Slot], params):
    """`values`, one for each slot, in the structure of `params`."""
    by_place = {(id(slot.container), slot.key): value for slot, value in zip(slots, values)}

    def build(tree):
        if is_array(tree):
            return values[0]
        items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        made = {
            key: by_place[id(tree), key] if (id(tree), key) in by_place else build(value)
            for key, value in items
            if key != "params" or not isinstance(value, Mapping | list | tuple) or (id(tree), key) in by_place
        }
        return made if isinstance(tree, Mapping) else list(made.values())

    return build(params)


def dtype_of(name_or_dtype) -> np.dtype:
    """A NumPy dtype, with bfloat16 by name."""
    if name_or_dtype == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            raise ImportError("bfloat16 needs ml_dtypes: pip install 'brazen[bf16]'") from None
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name_or_dtype)


def library_of(array) -> str:
    """numpy, cupy, torch, …: the package that defines the array's type."""
    return "numpy" if isinstance(array, np.ndarray) else type(array).__module__.partition(".")[0]


def dtype_name(array) -> str:
    """float32 of NumPy and of PyTorch alike."""
    return str(array.dtype).rpartition(".")[2]


def filled(array, dtype: str | None, value: float):
    """A new contiguous array of `array`'s library, shape and device."""
    dtype = dtype or dtype_name(array)
    library = library_of(array)
    if library == "torch":
        torch = sys.modules["torch"]
        return torch.full(tuple(array.shape), value, dtype=getattr(torch, dtype), device=array.device)
    if library == "numpy":
        # Zeros of the system are free until they are written; all others are filled here.
        made = np.zeros(array.shape, dtype_of(dtype))
    else:
        with array.device:
            made = sys.modules[library].empty(tuple(array.shape), dtype_of(dtype))
        made[...] = 0
    if value:
        made[...] = value
    return made


def filled_as(array, shape: tuple[int, ...], dtype: str | None = None, value: Any = 0):
    """`value` in another shape, in the type that `array` is computed in unless another is given."""
    dtype = dtype or ("float64" if dtype_name(array) == "float64" else "float32")
    library = library_of(array)
    if library == "torch":
        torch = sys.modules["torch"]
        made = torch.empty(shape, dtype=getattr(torch, dtype), device=array.device)
        made[...] = torch.as_tensor(value, dtype=made.dtype, device=made.device)
        return made
    if library != "numpy":
        cupy = sys.modules[library]
        with array.device:
            made = cupy.empty(shape, dtype)
            made[...] = cupy.asarray(np.asarray(value, dtype))
        return made
    made = np.zeros(shape, dtype)
    if np.any(value):
        made[...] = value
    return made


def on_host(array) -> bool:
    """Whether the CPU can read it."""
    library = library_of(array)
    return library == "numpy" or (library == "torch" and array.device.type == "cpu") or library not in ("torch", "cupy")


def on_gpu(value) -> bool:
    return is_array(value) and not on_host(value)


def to_host(array) -> np.ndarray:
    """As NumPy's, after everything that is still to be written to it."""
    library = library_of(array)
    if library == "torch":
        return array.detach().cpu().numpy()
    return array.get() if library == "cupy" else np.asarray(array)


def assign(target, source) -> None:
    """Writes `source` into the memory of `target`, whatever their libraries."""
    library = library_of(target)
    if library == "torch":
        torch = sys.modules["torch"]
        target.detach().copy_(
            source if isinstance(source, torch.Tensor) else torch.from_numpy(np.array(to_host(source)))
        )
    elif library_of(source) == library:
        target[...] = source
    elif library == "numpy":
        target[...] = to_host(source)
    else:
        target[...] = sys.modules[library].asarray(to_host(source))


def copy_of(array, dtype: str | None = None):
    made = filled(array, dtype, 0.0)
    assign(made, array.astype(made.dtype) if hasattr(array, "astype") and dtype else array)
    return made


def tensor_list(slots: list[Slot], groups: list[int]) -> _core.TensorList:
    """The core's description of the arrays in these slots; raises where one cannot be updated in place."""
    return _core.TensorList([s.container for s in slots], [s.key for s in slots], [s.name for s in slots], groups)


def address_of(array) -> int:
    """Where an array's memory may have moved to while it stayed the same object: a tensor of PyTorch's; else 0."""
    return array.data_ptr() if library_of(array) == "torch" else 0


def renew(wide, array) -> None:
    """`wide` takes the values of `array`, but where it rounds to them as it is."""
    rounded = copy_of(wide, dtype_name(array))
    if library_of(array) == "torch":
        torch = sys.modules["torch"]
        assign(wide, torch.where(rounded == array, wide, array.detach().to(wide.dtype)))
    else:
        kept, given = to_host(wide), to_host(array)
        assign(wide, np.where(to_host(rounded) == given, kept, given.astype(kept.dtype)))
