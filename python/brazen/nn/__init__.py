# SPDX-License-Identifier: BSD-3-Clause
"""Layers and networks that fuse their neighbours by themselves, on NumPy and CuPy arrays.

>>> import numpy as np, brazen as bz
>>> net = bz.nn.Sequential([
...     bz.nn.Dense(8), bz.nn.BatchNorm(), bz.nn.Activation("relu"), bz.nn.Dropout(0.5), bz.nn.Dense(2),
... ]).build(input_shape=(4,), seed=0)
>>> net.plan()
            dense
fused       dense.bias
batch_norm  batch_norm → relu → dropout
            dense_2
fused       dense_2.bias
"""

from . import pretrain
from .config import from_config
from .containers import Concat, Parallel, Residual
from .layer import Layer, ShapeError
from .layers.activations import GLU, Activation, PReLU
from .layers.convolution import Conv2D
from .layers.dense import Dense, DropConnect, Maxout
from .layers.embedding import Embedding
from .layers.noise import (
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout,
    StochasticDepth,
)
from .layers.norms import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from .layers.pooling import AveragePool2D, MaxPool2D
from .layers.shapes import Flatten, GlobalAveragePool, Reshape
from .network import Sequential
from .run import Run

__all__ = [
    "Activation", "AlphaDropout", "AveragePool2D", "BatchNorm", "Concat", "Conv2D", "Dense", "DropConnect",
    "Dropout", "Embedding", "Flatten", "GLU", "GaussianDropout", "GaussianNoise", "GlobalAveragePool", "GroupNorm",
    "Layer", "LayerNorm", "MaxPool2D", "Maxout", "PReLU", "Parallel", "RMSNorm", "Reshape", "Residual", "Run",
    "Sequential", "ShapeError", "SpatialDropout", "StochasticDepth", "from_config", "layer_types", "pretrain",
]  # fmt: skip


def layer_types() -> dict[str, type]:
    """The layers of this package, by name.

    >>> layer_types()["Dense"].__name__
    'Dense'
    """
    from .containers import Chain

    found = {name: globals()[name] for name in __all__}
    layers = {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Layer)}
    return {**{name: kind for name, kind in layers.items() if kind is not Layer}, "Chain": Chain}
