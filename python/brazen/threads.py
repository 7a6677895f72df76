# SPDX-License-Identifier: BSD-3-Clause
"""How many threads the CPU kernels use. The count changes no result, only the time."""

from . import _core


def num_threads() -> int:
    """Threads a call may use: `BRAZEN_NUM_THREADS`, or else the CPUs this process may run on."""
    return _core.num_threads()


def set_num_threads(threads: int | None) -> None:
    """Sets the number of threads; None returns to the default.

    >>> set_num_threads(1); num_threads()
    1
    >>> set_num_threads(None)
    """
    if threads is not None and threads < 1:
        raise ValueError(f"set_num_threads: threads is {threads}; expected a positive number, or None for the default")
    _core.set_num_threads(threads or 0)
