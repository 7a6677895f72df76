# SPDX-License-Identifier: BSD-3-Clause
"""Streams, devices and graphs of the stand-in: numbers that brazen passes on. No memory."""

import ctypes

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


# Memory that is taken during a capture: the graph goes on using it, as that of CuPy's pool.
captured: list | None = None


def emulation():
    """The emulated library, which keeps the launches of a capture."""
    from emulation import build

    return ctypes.CDLL(str(build.library()))


class Graph:
    """What was launched during a capture: not run then, and run anew at every launch."""

    def __init__(self, number, memory):
        self._number, self._memory = number, memory

    def launch(self, stream=None):
        if stream is None:
            raise TypeError("launch() takes a stream")
        emulation().emulated_launch_graph(self._number)


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
        global captured
        captured = []
        emulation().emulated_begin_capture(ctypes.c_void_p(self.ptr))

    def end_capture(self):
        global captured
        memory, captured = captured, None
        return Graph(emulation().emulated_end_capture(), memory)


_null = Stream(null=True)


def get_current_stream(device_id=-1):
    return _current_stream[-1] if _current_stream else _null


def is_available():
    return True
