# SPDX-License-Identifier: BSD-3-Clause
"""Streams and devices of the stand-in: numbers that brazen passes on. No memory."""

# One element: how often the host waited for a device. `cupy.waits` is the same.
waits = [0]
_current_device = [0]
_current_stream: list["Stream"] = []


class Device:
    def __init__(self, number=None):
        self.id = _current_device[-1] if number is None else number

    def __enter__(self):
        _current_device.append(self.id)
        return self

    def __exit__(self, *_):
        _current_device.pop()


class Graph:
    """The stand-in runs what is captured at once, and nothing when it is played: memory already holds the result."""

    def launch(self, stream=None):
        if stream is None:
            raise TypeError("launch() takes a stream")


class Stream:
    _next = 0x1000

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0 if null else Stream._next
        Stream._next += not null

    def __enter__(self):
        _current_stream.append(self)
        return self

    def __exit__(self, *_):
        _current_stream.pop()

    def synchronize(self):
        """Everything is done already."""
        waits[0] += 1

    def begin_capture(self):
        if self.ptr == 0:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: the null stream cannot be captured")

    def end_capture(self):
        return Graph()


_null = Stream(null=True)


def get_current_stream(device_id=-1):
    return _current_stream[-1] if _current_stream else _null


def is_available():
    return True
