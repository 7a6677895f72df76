# SPDX-License-Identifier: BSD-3-Clause
"""One example or more of every layer: how it is made and what it takes. A test asserts that none is missing."""

import numpy as np
from brazen import nn

BATCH = 4
RNG = np.random.default_rng(0)


# name → (layers, shape of a sample); each call makes new layers.
EXAMPLES = {
    "Dense": (lambda: [nn.Dense(3)], (5,)),
    "Dense of rows": (lambda: [nn.Dense(3, bias=False)], (2, 5)),
    "Dense with gelu": (lambda: [nn.Dense(4, "gelu"), nn.Dense(2, "tanh")], (3,)),
    "DropConnect": (lambda: [nn.DropConnect(3, 0.5)], (5,)),
    "Maxout": (lambda: [nn.Maxout(3, pieces=3)], (5,)),
    "Maxout of neighbours": (lambda: [nn.Maxout(pieces=2)], (6,)),
    "Activation": (lambda: [nn.Activation("silu")], (3, 4)),
    "PReLU": (lambda: [nn.PReLU()], (5,)),
    "PReLU of channels": (lambda: [nn.PReLU(0.1, axis=1)], (3, 4)),
    "GLU": (lambda: [nn.GLU("swiglu")], (6,)),
    "GLU of channels": (lambda: [nn.GLU("glu", axis=1)], (4, 3)),
    "BatchNorm": (lambda: [nn.BatchNorm()], (5,)),
    "BatchNorm of channels": (lambda: [nn.BatchNorm(scale=False)], (3, 2, 2)),
    "BatchNorm channels last": (lambda: [nn.BatchNorm(axis=-1, statistics=False)], (2, 2, 3)),
    "LayerNorm": (lambda: [nn.LayerNorm()], (3, 5)),
    "LayerNorm of two axes": (lambda: [nn.LayerNorm(axis=1, shift=False), nn.Activation("tanh")], (3, 5)),
    "RMSNorm": (lambda: [nn.Dense(4), nn.RMSNorm()], (5,)),
    "GroupNorm": (lambda: [nn.GroupNorm(2)], (4, 3, 2)),
    "GroupNorm of channels": (lambda: [nn.GroupNorm(None, axis=-1, scale=False)], (3, 2, 4)),
    "Dropout": (lambda: [nn.Dropout(0.3)], (3, 5)),
    "Dropout of units": (lambda: [nn.Dropout(0.5, noise_shape=(1, None))], (6,)),
    "vanilla Dropout": (lambda: [nn.Dropout(keep=0.6, mode="vanilla")], (6,)),
    "Dropout of the next weights": (lambda: [nn.Dropout(keep=0.6, mode="weights"), nn.Dense(3, "tanh")], (6,)),
    "SpatialDropout": (lambda: [nn.SpatialDropout(0.5)], (3, 2, 2)),
    "StochasticDepth": (lambda: [nn.Residual([nn.Dense(5), nn.StochasticDepth(0.5)])], (5,)),
    "AlphaDropout": (lambda: [nn.AlphaDropout(0.3)], (5,)),
    "GaussianDropout": (lambda: [nn.GaussianDropout(0.3)], (5,)),
    "GaussianNoise": (lambda: [nn.GaussianNoise(0.3)], (5,)),
    "noise before a product": (lambda: [nn.Dense(4, "tanh"), nn.GaussianNoise(0.3), nn.Dense(2)], (3,)),
    "Residual": (lambda: [nn.Residual([nn.Dense(5, "tanh")])], (5,)),
    "Residual with a shortcut": (
        lambda: [nn.Residual([nn.Dense(3)], shortcut=[nn.Dense(3)]), nn.Activation("tanh")],
        (5,),
    ),
    "Residual in Residual": (lambda: [nn.Residual([nn.Residual([nn.Dense(3, "tanh")]), nn.Dense(3)])], (3,)),
    "Residual of a norm": (
        lambda: [nn.Dense(3, "tanh"), nn.Residual([nn.Dense(3, bias=False), nn.BatchNorm()]), nn.Dense(2)],
        (3,),
    ),
    "Parallel": (lambda: [nn.Parallel([[nn.Dense(3)], [nn.Dense(3, "tanh")]])], (4,)),
    "Concat": (lambda: [nn.Concat([[nn.Dense(2, "tanh")], [], [nn.Dense(3)]])], (4,)),
    "Concat of channels": (lambda: [nn.Concat([[], [nn.Activation("tanh")]], axis=1)], (2, 3)),
    "Sequential": (lambda: [nn.Sequential([nn.Dense(3, bias=False), nn.BatchNorm()]), nn.Activation("gelu")], (4,)),
    "Flatten": (lambda: [nn.Flatten(), nn.Dense(2)], (2, 3)),
    "Reshape": (lambda: [nn.Dense(6), nn.Reshape((2, -1)), nn.Dense(2)], (4,)),
    "GlobalAveragePool": (lambda: [nn.GlobalAveragePool()], (3, 2, 4)),
    "GlobalAveragePool channels last": (lambda: [nn.GlobalAveragePool(axis=-1)], (3, 2, 4)),
    "Conv2D": (lambda: [nn.Conv2D(4, 3, padding="same", activation="tanh")], (3, 5, 4)),
    "Conv2D with strides": (lambda: [nn.Conv2D(4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))], (2, 6, 5)),
    "Conv2D in groups": (lambda: [nn.Conv2D(6, 2, groups=2, bias=False), nn.BatchNorm()], (4, 4, 3)),
    "Conv2D of one pixel": (lambda: [nn.Conv2D(3, 1)], (2, 3, 3)),
    "Conv2D channels last": (lambda: [nn.Conv2D(4, 3, padding=1, layout="NHWC"), nn.Activation("silu")], (4, 5, 3)),
    "Conv2D channels last in groups": (lambda: [nn.Conv2D(4, (2, 3), stride=2, groups=2, layout="NHWC")], (5, 6, 4)),
    "Conv2D of one pixel channels last": (lambda: [nn.Conv2D(3, 1, layout="NHWC")], (3, 3, 2)),
    "MaxPool2D": (lambda: [nn.MaxPool2D(2)], (2, 4, 6)),
    "MaxPool2D with padding": (lambda: [nn.MaxPool2D(3, stride=2, padding=1)], (2, 5, 6)),
    "MaxPool2D channels last": (lambda: [nn.MaxPool2D((2, 3), stride=1, dilation=(2, 1), layout="NHWC")], (5, 4, 3)),
    "AveragePool2D": (lambda: [nn.AveragePool2D(3, stride=2, padding=1)], (2, 5, 6)),
    "AveragePool2D of pixels": (lambda: [nn.AveragePool2D(2, 1, (1, 0), count_padding=False)], (2, 4, 3)),
    "AveragePool2D channels last": (lambda: [nn.AveragePool2D((1, 2), layout="NHWC")], (3, 4, 2)),
    "Embeddings side by side": (
        lambda: [nn.Concat([nn.Embedding(7, 3), nn.Embedding(7, 2)]), nn.Flatten(), nn.Dense(2)],
        (4,),
    ),
    "Embedding": (lambda: [nn.Embedding(7, 3), nn.Flatten(), nn.Dense(2)], (4,)),
}


def build(name, dtype="float64", seed=3, fuse=True):
    """The network of one example."""
    layers, shape = EXAMPLES[name]
    return nn.Sequential(layers()).build(input_shape=shape, seed=seed, dtype=dtype, fuse=fuse)


def sample_input(name, numpy, dtype="float64", batch=BATCH, seed=0):
    """A batch it takes: indices for an Embedding."""
    _, shape = EXAMPLES[name]
    generator = numpy.random.default_rng(seed)
    if name.startswith("Embedding"):
        return generator.integers(0, 7, (batch, *shape))
    return generator.normal(size=(batch, *shape)).astype(dtype)


def inner(layer):
    """The layer and all layers inside it."""
    yield layer
    for child in layer.children():
        yield from inner(child)


def mlp(**options):
    net = nn.Sequential(
        [
            nn.Dense(16), nn.BatchNorm(), nn.Activation("relu"), nn.Dropout(0.5),
            nn.Residual([nn.Dense(16, bias=False), nn.BatchNorm()]), nn.Activation("relu"), nn.Dropout(0.2),
            nn.Dense(3),
        ]
    )  # fmt: skip
    return net.build(input_shape=(8,), seed=0, **options)


def batch(size=32, dtype="float32"):
    return RNG.normal(size=(size, 8)).astype(dtype)
