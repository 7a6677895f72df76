# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions: windows as columns, a few images at a time, and the BLAS."""

from __future__ import annotations

import math

from ... import _core
from ..._matmul import matmul
from ...ops.fused import activation_of
from ..stages import Stage
from .dense import positive
from .windows import Windows

# Numbers of one slab of columns, whatever the batch: 4 MiB of float32, which the product finds in a cache.
_SLAB = 1 << 20


class Conv2D(Windows):
    """y = activation(x convolved with weight + bias), without turning the kernel round, as everywhere in deep learning.

    The weight has shape (filters, channels / groups, height, width) in layout "NCHW", and (height, width, channels / groups,
    filters) in "NHWC". `padding` is a number of pixels, one for height and width, or "same".

    >>> import brazen as bz
    >>> net = bz.nn.Sequential([bz.nn.Conv2D(8, 3, padding="same")]).build(input_shape=(3, 32, 32), seed=0)
    >>> net.output_shape, net.params["conv2d.weight"].shape
    ((8, 32, 32), (8, 3, 3, 3))
    """

    def __init__(self, filters: int, kernel, stride=1, padding=0, dilation=1, groups: int = 1, activation=None,
                 bias: bool = True, weight="kaiming_normal", bias_init="zeros", layout: str = "NCHW"):  # fmt: skip
        self.set_windows(kernel, stride, padding, dilation, layout)
        self.filters, self.groups, self.bias = positive("filters", filters), positive("groups", groups), bool(bias)
        if self.filters % self.groups:
            raise ValueError(f"groups is {groups}; expected a divisor of {filters} filters")
        self.weight_init, self.bias_init = weight, bias_init
        self.function = activation_of(activation, "Conv2D")
        self.bias_axis = -1 if self.last else 1

    def setup(self, shape):
        channels, rows, columns = self.read_shape(shape)
        if channels % self.groups:
            raise ValueError(f"{channels} channels do not divide into {self.groups} groups")
        own = channels // self.groups
        if self.last:
            self.add_parameter("weight", (*self.kernel, own, self.filters), self.weight_init)
        else:
            self.add_parameter("weight", (self.filters, own, *self.kernel), self.weight_init, in_axis=1, out_axis=0)
        if self.bias:
            self.add_parameter("bias", (self.filters,), self.bias_init)
        self.taps, self.windows = own * math.prod(self.kernel), rows * columns
        # Channels last, the image is then its own columns.
        self.one_pixel = self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)
        return self.shape_with(self.filters, rows, columns)

    def flops(self):
        return (2 * self.taps + self.bias) * math.prod(self.output_shape)

    def stages(self):
        made = [Stage("product", self, self.path, self.product)]
        if self.bias:
            made.append(Stage("bias", self, f"{self.path}.bias"))
        if self.function is not None:
            made.append(Stage("activation", self, f"{self.path}.{self.function.__name__}"))
        return made

    # Of the n images of a slab, for each group: NCHW has taps x (images, windows), NHWC (images, windows) x taps.

    def _slabs(self, count: int):
        step = max(1, _SLAB // max(1, self.groups * self.taps * self.windows))
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    @property
    def window(self):
        """The numbers of the window, as the compiled loops take them."""
        return self.kernel, self.stride, self.padding, self.dilation

    @property
    def wide(self):
        """The compute type."""
        return "float64" if self.dtype.itemsize == 8 else "float32"

    def _direct(self, dtype) -> bool:
        return self.last and self.one_pixel and dtype.itemsize > 2

    def _column_matrices(self, flat, count: int):
        """Each group's columns in a run of numbers."""
        if self.last:
            matrix = flat.reshape(count * self.windows, self.groups, self.taps)
            return [matrix[:, group] for group in range(self.groups)]
        matrix = flat.reshape(self.groups, self.taps, count * self.windows)
        return [matrix[group] for group in range(self.groups)]

    def _columns(self, x, run):
        """Each group's windows of these images, in the compute type."""
        count = x.shape[0]
        if self._direct(x.dtype):
            return self._column_matrices(x, count)
        size = count * self.groups * self.taps * self.windows
        columns = self.empty("columns", (size,), self.wide, run)
        _core.image_columns(x, columns, self.last, self.groups, *self.window)
        return self._column_matrices(columns, count)

    def _weights(self, weight):
        """Each group's weights: NCHW filters x taps, NHWC taps x filters."""
        own = self.filters // self.groups
        if self.last:
            matrix = weight.reshape(self.taps, self.groups, own)
            return [matrix[:, group] for group in range(self.groups)]
        return list(weight.reshape(self.groups, own, self.taps))

    def _results(self, flat, count: int):
        """Each group's results: (images, windows) x filters, in both layouts."""
        matrix = flat.reshape(count * self.windows, self.groups, self.filters // self.groups)
        return [matrix[:, group] for group in range(self.groups)]

    def _by_image(self, flat, count: int):
        """NCHW results of one product as they lie in the images."""
        return flat.reshape(count, self.windows, self.filters).transpose(0, 2, 1)

    def product(self, x, run):
        """The convolution alone."""
        x = self.packed(x)
        weights = self._weights(self.params["weight"])
        z = self.empty("product", (x.shape[0], *self.output_shape), x.dtype, run)
        for slab in self._slabs(x.shape[0]):
            part = z[slab]
            count = part.shape[0]
            flat = part if self.last else self.empty("results", (part.size,), self.wide, run)
            for weight, columns, result in zip(weights, self._columns(x[slab], run), self._results(flat, count)):
                # In this direction a BLAS has one long side to share among threads: they meet once instead of many times.
                if self.last:
                    matmul(columns, weight, result)
                else:
                    matmul(columns.T, weight.T, result)
            if not self.last:
                part.reshape(count, self.filters, self.windows)[...] = self._by_image(flat, count)

        def backward(dy):
            dy = self.packed(dy)
            dx = self.empty("product gradient", x.shape, x.dtype, run) if run.wants_dx else None
            for slab in self._slabs(x.shape[0]):
                part = dy[slab]
                count = part.shape[0]
                flat = part
                if not self.last:
                    flat = self.empty("results", (part.size,), self.wide, run)
                    self._by_image(flat, count)[...] = part.reshape(count, self.filters, self.windows)
                results = self._results(flat, count)
                if self.learns:
                    self._weight_gradient(self._columns(x[slab], run), results, slab.start == 0, run)
                if dx is not None:
                    self._input_gradient(weights, results, dx[slab], run)
            return dx

        return z, backward

    def _weight_gradient(self, columns, results, first, run):
        """Writes the sum over these images, or adds it: slab by slab, in their order."""
        for gradient, column, result in zip(self._weights(self.grads["weight"]), columns, results):
            if first and self.last:
                matmul(column.T, result, gradient)
                continue
            part = self.empty("weight part", (self.taps, result.shape[1]), gradient.dtype, run)
            part = matmul(column.T, result, part) if self.last else matmul(column, result, part).T
            if first:
                gradient[...] = part
            else:
                gradient += part

    def _input_gradient(self, weights, results, dx, run):
        count = dx.shape[0]
        size = count * self.groups * self.taps * self.windows
        direct = self._direct(dx.dtype)
        flat = dx if direct else self.empty("columns", (size,), self.wide, run)
        for weight, column, result in zip(weights, self._column_matrices(flat, count), results):
            if self.last:
                matmul(result, weight.T, column)
            else:
                matmul(weight.T, result.T, column)
        if not direct:
            _core.image_from_columns(flat, dx, self.last, self.groups, *self.window)
