# SPDX-License-Identifier: BSD-3-Clause
"""Forked children and several callers, each with a deadline: what a mutant of the pool would hang on. Run by run.py."""

from __future__ import annotations

import os
import signal
import sys
import threading

import brazen as bz
import numpy as np

SIZE = 400_000


def main() -> int:
    signal.alarm(60)
    bz.set_num_threads(3)
    x = np.linspace(-5, 5, SIZE, dtype="float32")
    bz.set_num_threads(1)
    expected = bz.tanh(x)
    bz.set_num_threads(3)
    wrong = []
    for _ in range(200):
        wrong.append(not np.array_equal(bz.tanh(x, out=np.zeros_like(x)), expected))
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if all(np.array_equal(bz.tanh(x), expected) for _ in range(20)) else 1)
    wrong.append(os.waitpid(child, 0)[1] != 0)

    def work():
        for _ in range(50):
            wrong.append(not np.array_equal(bz.tanh(x, out=np.zeros_like(x)), expected))

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
