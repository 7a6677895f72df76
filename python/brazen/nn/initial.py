# SPDX-License-Identifier: BSD-3-Clause
"""How a parameter gets its first values: by a number, an initialiser of `brazen.init`, or a function."""

from __future__ import annotations

from ..optim.parameters import assign

# Parameters of one layer that have places of their own in the generator.
_PER_LAYER = 16


def fill_parameter(layer, name: str, spec, seed: int) -> None:
    """Fills `layer.params[name]` as its declaration asks."""
    from .. import init as initialisers

    shape, init, in_axis, out_axis = spec
    view = layer.params[name]
    position = list(layer.specs).index(name)
    if position >= _PER_LAYER:
        raise ValueError(f"layer {layer.path} has more than {_PER_LAYER} parameters; divide it into layers")
    site = layer.site * _PER_LAYER + position
    if isinstance(init, int | float):
        view[...] = init
        return
    if isinstance(init, str):
        try:
            init = initialisers.get(init)()
        except ValueError as error:
            raise ValueError(f"layer {layer.path}: {name} begins with {init!r}: {error}") from None
    if isinstance(init, type) and issubclass(init, initialisers.Initializer):
        init = init()
    if isinstance(init, initialisers.Initializer):
        init(seed=seed, site=site, out=view, in_axis=in_axis, out_axis=out_axis)
    elif callable(init):
        values = init(shape, seed=seed, site=site)
        if tuple(values.shape) != tuple(shape):
            raise ValueError(
                f"layer {layer.path}: the initialiser of {name} gave {tuple(values.shape)}; expected {shape}"
            )
        assign(view, values)
    else:
        raise TypeError(
            f"layer {layer.path}: {name} begins with {init!r}; expected a number, a name or object of brazen.init, or a "
            "function f(shape, seed=…, site=…)"
        )
