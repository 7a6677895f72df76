# SPDX-License-Identifier: BSD-3-Clause
"""What JAX calls for each activation, under jit. Its arrays are immutable: only fresh results can be compared."""

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
    names = (
        {"x": jax.numpy.asarray(x)}
        if direction == "forward"
        else {"dy": jax.numpy.asarray(dy), "x": jax.numpy.asarray(x)}
    )
    side = Side(f"f({', '.join(names)}).block_until_ready()", f=compiled, **names)
    side()  # compiles
    return {"allocating": [side]}
