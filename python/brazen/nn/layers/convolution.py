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

# Numbers of one slab of columns: 16 MiB of float32, whatever the batch.
_SLAB = 1 << 22


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
        # A window of one pixel, one after the other: the image is its own columns.
        self.plain = self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)
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

    # Matrices of n images, for each group: layout NCHW has filters x windows for each image, NHWC all windows x filters.

    def _slabs(self, count: int):
        step = max(1, _SLAB // max(1, self.groups * self.taps * self.windows))
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def _columns(self, x, run):
        """The windows of these images, of the compute type."""
        n = x.shape[0]
        if self.plain and x.dtype.itemsize > 2:
            columns = x
        else:
            size = n * self.groups * self.taps * self.windows
            columns = self.empty("columns", (size,), self.wide, run)
            _core.image_columns(x, columns, self.last, self.groups, *self.window)
        if self.last:
            return columns.reshape(n * self.windows, self.groups, self.taps)
        return columns.reshape(n, self.groups, self.taps, self.windows)

    @property
    def window(self):
        """The numbers of the window, as the compiled loops take them."""
        return self.kernel, self.stride, self.padding, self.dilation

    @property
    def wide(self):
        """The compute type."""
        return "float64" if self.dtype.itemsize == 8 else "float32"

    def _matrices(self, weight):
        """For each group: NCHW filters x taps, NHWC taps x filters."""
        if self.last:
            matrix = weight.reshape(self.taps, self.groups, self.filters // self.groups)
            return [matrix[:, group] for group in range(self.groups)]
        matrix = weight.reshape(self.groups, self.filters // self.groups, self.taps)
        return [matrix[group] for group in range(self.groups)]

    def _results(self, y):
        """For each group and image (NCHW) or all of them: the matrix of results, by the same index as `_inputs`."""
        n, own = y.shape[0], self.filters // self.groups
        if self.last:
            flat = y.reshape(n * self.windows, self.groups, own)
            return [[flat[:, group]] for group in range(self.groups)]
        flat = y.reshape(n, self.groups, own, self.windows)
        return [[flat[image, group] for image in range(n)] for group in range(self.groups)]

    def _inputs(self, columns):
        """For each group and image, or all of them: the matrix of columns."""
        if self.last:
            return [[columns[:, group]] for group in range(self.groups)]
        return [[image[group] for image in columns] for group in range(self.groups)]

    def product(self, x, run):
        """The convolution alone."""
        x = self.packed(x)
        matrices = self._matrices(self.params["weight"])
        z = self.empty("product", (x.shape[0], *self.output_shape), x.dtype, run)
        for slab in self._slabs(x.shape[0]):
            inputs, results = self._inputs(self._columns(x[slab], run)), self._results(z[slab])
            for matrix, own_inputs, own_results in zip(matrices, inputs, results):
                for columns, result in zip(own_inputs, own_results):
                    if self.last:
                        matmul(columns, matrix, result)
                    else:
                        matmul(matrix, columns, result)

        def backward(dy):
            dy = self.packed(dy)
            dx = self.empty("product gradient", x.shape, x.dtype, run) if run.wants_dx else None
            for number, slab in enumerate(self._slabs(x.shape[0])):
                if self.learns:
                    self._weight_gradient(x[slab], dy[slab], number == 0, run)
                if dx is not None:
                    self._input_gradient(matrices, dy[slab], dx[slab], run)
            return dx

        return z, backward

    def _weight_gradient(self, x, dy, first, run):
        """Writes the sum over these images, or adds it: image by image, in their order."""
        inputs, results = self._inputs(self._columns(x, run)), self._results(dy)
        for gradient, own_inputs, own_results in zip(self._matrices(self.grads["weight"]), inputs, results):
            for number, (columns, result) in enumerate(zip(own_inputs, own_results)):
                left, right = (columns.T, result) if self.last else (result, columns.T)
                if first and number == 0:
                    matmul(left, right, gradient)
                else:
                    gradient += matmul(left, right, self.empty("weight part", gradient.shape, gradient.dtype, run))

    def _input_gradient(self, matrices, dy, dx, run):
        n = dx.shape[0]
        size = n * self.groups * self.taps * self.windows
        direct = self.plain and dx.dtype.itemsize > 2
        flat = dx if direct else self.empty("column gradient", (size,), self.wide, run)
        if self.last:
            columns = flat.reshape(n * self.windows, self.groups, self.taps)
        else:
            columns = flat.reshape(n, self.groups, self.taps, self.windows)
        for matrix, own_columns, own_results in zip(matrices, self._inputs(columns), self._results(dy)):
            for column, result in zip(own_columns, own_results):
                if self.last:
                    matmul(result, matrix.T, column)
                else:
                    matmul(matrix.T, result, column)
        if not direct:
            _core.image_from_columns(flat, dx, self.last, self.groups, *self.window)
