# SPDX-License-Identifier: BSD-3-Clause
"""Layers as plain data and back. Nothing is imported by name: classes are found among brazen's own and those given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..ops.activations import Activation, registered


def describe(layer) -> dict[str, Any]:
    """The class, name and arguments of a layer."""
    made: dict[str, Any] = {"layer": type(layer).__name__}
    if layer.given_name is not None:
        made["name"] = layer.given_name
    if not layer.trainable:
        made["trainable"] = False
    for key, value in layer.given.items():
        if key != "self":
            made[key] = _plain(layer, key, value)
    return made


def _plain(layer, key, value):
    from .layer import Layer

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Layer):
        return describe(value)
    if isinstance(value, Activation):
        return {"activation": value.__name__, "parameters": [_finite(number) for number in value.parameters]}
    if isinstance(value, list | tuple):
        return [_plain(layer, key, item) for item in value]
    if hasattr(value, "config"):
        return {"init": value.config()}
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise TypeError(
        f"layer {layer.path}: {key} is {value!r}, which is no plain data; give numbers, texts, layers, activations or "
        "initialisers of brazen.init"
    )


def _finite(number):
    return None if math.isnan(number) else float(number)


def from_config(config: Mapping[str, Any], layers: Iterable[type] = ()):
    """The layer or network that `config()` wrote down, without its weights; `layers` are classes of your own.

    >>> import brazen as bz
    >>> bz.nn.from_config(bz.nn.Dense(3).config())
    Dense(units=3)
    """
    from . import layer_types

    known = {**layer_types(), **{made.__name__: made for made in layers}}
    return _revive(config, known)


def _revive(value, known):
    if isinstance(value, list | tuple):
        return [_revive(item, known) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "layer" in value:
        name = value["layer"]
        if name not in known:
            raise ValueError(
                f"config names the layer {name!r}; expected one of {', '.join(known)}, or give its class in layers="
            )
        return known[name](**{key: _revive(item, known) for key, item in value.items() if key != "layer"})
    if "activation" in value:
        made = registered(value["activation"])
        if not isinstance(made, Activation):
            raise ValueError(f"config names the activation {value['activation']!r}; brazen.activations() lists them")
        parameters = tuple(math.nan if number is None else float(number) for number in value["parameters"])
        return Activation(made.__name__, made.__doc__ or "", made.aliases, parameters)
    if "init" in value:
        from .. import init

        return init.from_config(value["init"])
    raise ValueError(f"config holds {dict(value)!r}; expected a layer, an activation or an initialiser")
