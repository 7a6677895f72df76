# SPDX-License-Identifier: BSD-3-Clause
"""A training step of Keras 3 on JAX: Keras' own, and the one its guides write out for JAX, compiled whole and in place."""

from __future__ import annotations

import functools

from .case import Side


def training_step(x, labels, widths: tuple[int, ...]) -> list[Side]:
    """Dense, batch norm, relu and dropout for each of `widths` but the last, which is Dense alone; cross-entropy, Adam."""
    import jax
    import keras

    layers: list = [keras.Input((x.shape[1],))]
    for width in widths[:-1]:
        layers += [keras.layers.Dense(width), keras.layers.BatchNormalization(), keras.layers.Activation("relu")]
        layers.append(keras.layers.Dropout(0.5))
    model = keras.Sequential([*layers, keras.layers.Dense(widths[-1])])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=True)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    def objective(trained, others, x, labels):
        logits, others = model.stateless_call(trained, others, x, training=True)
        return loss(labels, logits), others

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(trained, others, moments, x, labels):
        (value, others), gradients = jax.value_and_grad(objective, has_aux=True)(trained, others, x, labels)
        trained, moments = optimizer.stateless_apply(moments, gradients, trained)
        return value, trained, others, moments

    def copies(variables):
        return [jax.numpy.array(variable.value) for variable in variables]

    held = [copies(part) for part in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)]
    given, classes = jax.numpy.asarray(x), jax.numpy.asarray(labels)

    def step():
        value, *held[:] = update(*held, given, classes)
        jax.block_until_ready(held)
        return value

    found = [
        Side("f(x, labels)", f=model.train_on_batch, x=x, labels=labels),
        Side("f()", f=step),
    ]
    for side, note in zip(found, ("train_on_batch", "stateless_call, jit, donated")):
        side.note = f"  # {note}"
        side()  # compiles
    return found
