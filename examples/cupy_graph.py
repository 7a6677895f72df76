# SPDX-License-Identifier: BSD-3-Clause
"""Fused operations on CuPy arrays: on a stream of one's own, then as a CUDA graph that is captured once and played often."""

import brazen as bz
import cupy as cp
import numpy as np

rng = np.random.default_rng(0)
x, residual = (cp.asarray(rng.standard_normal((256, 64), dtype="float32")) for _ in range(2))
scale, shift = cp.asarray(np.ones(64, "float32")), cp.asarray(np.zeros(64, "float32"))
y, gradient = cp.empty((256, 64), "float32"), cp.empty((256, 64), "float32")


def step():
    """batch norm -> add -> relu, forward and backward, into memory that stays where it is: a graph keeps addresses."""
    _, saved = bz.batch_norm(x, scale, shift, add=residual, activation="relu", out=y)
    return bz.batch_norm.backward(y, saved, dx=gradient)


# Kernels follow the current stream; nothing waits for the device until its result is asked for.
stream = cp.cuda.Stream(non_blocking=True)
with stream:
    step()
stream.synchronize()
expected = cp.asnumpy(gradient)

# Captured kernels are recorded, not run; each launch of the graph then costs what one kernel costs.
with stream:
    stream.begin_capture()
    kept = step()
    graph = stream.end_capture()
    for _ in range(10):
        graph.launch(stream)
stream.synchronize()
assert (cp.asnumpy(gradient) == expected).all()  # the same bits, however it ran
print("10 steps of a graph gave the bits of a call")
