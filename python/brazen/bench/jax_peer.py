# SPDX-License-Identifier: BSD-3-Clause
"""What JAX calls for each activation and for dropout, under jit. Its arrays are immutable: only fresh results compare."""

from __future__ import annotations

from typing import Any

from .case import Side

# Where jax.nn's name is not ours, with the keywords that make it the same function.
_OTHERWISE: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("gelu", {"approximate": False}),
    "gelu_tanh": ("gelu", {"approximate": True}),
    "softsign": ("soft_sign", {}),
    "exponential": ("exp", {}),
}


def sides(name: str, direction: str, x, dy) -> dict[str, list[Side]]:
    """The jitted function, waited for; empty where jax.nn lacks the operation."""
    import jax

    spelled, keywords = _OTHERWISE.get(name, (name, {}))
    function = getattr(jax.nn, spelled, None) or getattr(jax.numpy, spelled, None)
    if function is None:
        return {}

    def forward(x):
        return function(x, **keywords)

    def backward(dy, x):
        return jax.vjp(forward, x)[1](dy)[0]

    compiled = jax.jit(backward if direction == "backward" else forward)
    names: dict[str, Any] = (
        {"x": jax.numpy.asarray(x)}
        if direction == "forward"
        else {"dy": jax.numpy.asarray(dy), "x": jax.numpy.asarray(x)}
    )
    side = Side(f"f({', '.join(names)}).block_until_ready()", f=compiled, **names)
    side()  # compiles
    return {"allocating": [side]}


# JAX's own generator, and those it offers as faster.
_GENERATORS = ("threefry2x32", "rbg", "unsafe_rbg")


def dropout(x, rate: float, direction: str) -> list[Side]:
    """A mask from each of JAX's generators and its use in one jitted function; backward, from a mask that is stored."""
    import jax

    array, keep = jax.numpy.asarray(x), 1 - rate

    @jax.jit
    def drop(key, x):
        return jax.numpy.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)

    @jax.jit
    def drop_again(mask, dy):
        return jax.numpy.where(mask, dy / keep, 0)

    if direction == "backward":
        mask = jax.random.bernoulli(jax.random.key(0), keep, x.shape)
        found = [Side("f(mask, dy).block_until_ready()", f=drop_again, mask=mask, dy=array)]
    else:
        found = []
        for generator in _GENERATORS:
            key = jax.random.key(0, impl=generator)
            found.append(Side("f(key, x).block_until_ready()", f=drop, key=key, x=array))
            found[-1].note = f"  # {generator}"
    for side in found:
        side()  # compiles
    return found
