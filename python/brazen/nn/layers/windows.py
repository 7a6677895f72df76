# SPDX-License-Identifier: BSD-3-Clause
"""What convolutions and pools share: windows over the pixels of (channels, height, width), or with the channels last."""

from __future__ import annotations

import operator

from ..layer import Layer


def pair(name: str, value, least: int) -> tuple[int, int]:
    """Two numbers for height and width, from one or two."""
    given = (value, value) if hasattr(value, "__index__") else tuple(value)
    numbers = tuple(map(operator.index, given))
    if len(numbers) != 2 or min(numbers) < least:
        raise ValueError(f"{name} is {value!r}; expected one number or two (height, width), at least {least}")
    return numbers  # type: ignore[return-value]


class Windows(Layer):
    """A layer of windows. `layout` is "NCHW" or "NHWC", the axes of its input."""

    def set_windows(self, kernel, stride, padding, dilation, layout: str) -> None:
        """Reads the arguments; padding="same" keeps the extents of a stride of 1."""
        if layout not in ("NCHW", "NHWC"):
            raise ValueError(f"layout is {layout!r}; expected 'NCHW' or 'NHWC'")
        self.kernel, self.stride, self.dilation = (
            pair("kernel", kernel, 1),
            pair("stride", stride, 1),
            pair("dilation", dilation, 1),
        )
        if isinstance(padding, str):
            reach = [dilated * (extent - 1) for dilated, extent in zip(self.dilation, self.kernel)]
            if padding != "same" or any(r % 2 for r in reach):
                raise ValueError(
                    f"padding is {padding!r}; expected numbers, or 'same' for kernels that reach equally far to both sides"
                )
            padding = [r // 2 for r in reach]
        self.padding = pair("padding", padding, 0)
        self.layout, self.last = layout, layout == "NHWC"

    def read_shape(self, shape) -> tuple[int, int, int]:
        """(channels, rows of windows, columns of windows) of a sample."""
        if len(shape) != 3:
            raise ValueError(
                f"expected samples of {'height, width, channels' if self.last else 'channels, height, width'}"
            )
        height, width = shape[:2] if self.last else shape[1:]
        found = []
        for extent, k, s, p, d in zip((height, width), self.kernel, self.stride, self.padding, self.dilation):
            reach = d * (k - 1) + 1
            if extent + 2 * p < reach:
                raise ValueError(f"a window of {reach} pixels does not fit into {extent} with padding {p}")
            found.append((extent + 2 * p - reach) // s + 1)
        return (shape[2] if self.last else shape[0]), found[0], found[1]

    def shape_with(self, channels: int, rows: int, columns: int):
        """A sample of so many channels, in this layout."""
        return (rows, columns, channels) if self.last else (channels, rows, columns)

    def packed(self, array):
        """The array in C order: itself if it is."""
        return array if array.flags.c_contiguous else self.workspace.xp.ascontiguousarray(array)
