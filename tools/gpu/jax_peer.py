# SPDX-License-Identifier: BSD-3-Clause
"""A peer of stage bench, in a process of its own: jitted JAX, with Optax's Adam where it is present; prints JSON."""

import json
import sys
import time

WIDTHS, BATCH = (784, 512, 512, 10), 128


def seconds(call, wait, calls=50):
    """The median time of a call, the device's queue kept full."""
    for _ in range(5):
        wait(call())
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(calls):
            kept = call()
        wait(kept)
        rounds.append((time.perf_counter() - start) / calls)
    return sorted(rounds)[2]


def mlp(jax, jnp):
    import optax

    keys = jax.random.split(jax.random.key(0), 8)
    params = {}
    for number, (inputs, width) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        params[f"w{number}"] = jax.random.normal(keys[number], (inputs, width)) * (2 / inputs) ** 0.5
        params[f"b{number}"] = jnp.zeros(width)
        params[f"scale{number}"], params[f"shift{number}"] = jnp.ones(width), jnp.zeros(width)
    x = jax.random.normal(keys[6], (BATCH, WIDTHS[0]))
    labels = jax.random.randint(keys[7], (BATCH,), 0, WIDTHS[-1])
    rule = optax.adam(1e-3)

    def loss_of(params, key):
        a = x
        for number in range(len(WIDTHS) - 2):
            z = a @ params[f"w{number}"] + params[f"b{number}"]
            z = (z - z.mean(0)) * jax.lax.rsqrt(z.var(0) + 1e-5) * params[f"scale{number}"] + params[f"shift{number}"]
            keep = jax.random.bernoulli(jax.random.fold_in(key, number), 0.5, z.shape)
            a = jnp.where(keep, jax.nn.relu(z) * 2, 0)
        last = len(WIDTHS) - 2
        return optax.softmax_cross_entropy_with_integer_labels(
            a @ params[f"w{last}"] + params[f"b{last}"], labels
        ).mean()

    @jax.jit
    def step(params, state, key):
        grads = jax.grad(loss_of)(params, key)
        updates, state = rule.update(grads, state)
        return optax.apply_updates(params, updates), state, jax.random.fold_in(key, 1)

    kept = [params, rule.init(params), keys[5]]

    def call():
        kept[:] = step(*kept)
        return kept[0]["w0"]

    return seconds(call, lambda a: a.block_until_ready())


def main(elements=1 << 26):
    import jax
    import jax.numpy as jnp

    wait = lambda a: a.block_until_ready()  # noqa: E731
    found = {}
    x = jax.random.normal(jax.random.key(1), (elements,))
    for name in ("relu", "silu", "gelu"):
        function = jax.jit(getattr(jax.nn, name))
        found[name] = seconds(lambda function=function: function(x), wait, 20)
    try:
        found["mlp"] = mlp(jax, jnp)
    except ImportError as error:
        found["note"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
