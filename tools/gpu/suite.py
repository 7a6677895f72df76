# SPDX-License-Identifier: BSD-3-Clause
"""The reduced suite that runs under compute-sanitizer: every kernel once, vectors, elements, remainders, reductions."""

import os
import time

import brazen as bz
import device
import numpy as np
import op_table
import samples
import whole

DTYPES = ("float32", "bfloat16", "float64")


def of_table(send, receive, cases):
    for case in cases:
        for dtype in DTYPES:
            for shape in [(3, 1037), (2, 5, 16)]:
                arrays = [samples.ordinary(s, dtype, seed) for seed, s in enumerate(case.shapes(shape))]
                wide = [np.repeat(a, 2, -1)[..., ::2] for a in arrays]
                for given in (arrays, wide):
                    for result in case.results(*map(send, given)):
                        receive(result)
                yield


def of_reductions(send, receive):
    for dtype in DTYPES:
        calls = [*whole.over_rows((5, 1037), dtype), *whole.over_channels((9, 5, 130), dtype)]
        for _, call in [*calls, *whole.over_channels((70, 33), dtype, whole.channels_last)]:
            for result in call(send):
                if result is not None:
                    receive(result)
            yield


def of_lists(send, receive):
    """Every rule, with clipping, averages and copies; random fills."""
    for name in bz.optim.names():
        params = [send(np.ones(shape, "float32")) for shape in ((1030, 3), (7,))]
        grads = [send(np.full(shape, 0.5, "float32")) for shape in ((1030, 3), (7,))]
        optimizer = bz.optim.get(name)(params, clip_norm=1.0, ema=0.9, copy_to="bfloat16")
        for _ in range(2):
            optimizer.step(grads, scale=2.0)
        receive(params[0])
        yield
    like = send(np.ones(1, "float32"))
    for fill in (bz.random.uniform, bz.random.normal):
        receive(fill((3, 1037), seed=1, like=like))
        yield


def main(cupy, cases=None, until=None):
    """As much as fits until then; the last line says how much that was."""
    receive, done = device.from_cupy, 0

    def send(array):
        return device.on_cupy(cupy, np.asarray(array))

    # In turns, so that a short time still meets every kind.
    turns = [of_reductions(send, receive), of_lists(send, receive), of_table(send, receive, cases or op_table.CASES)]
    while turns and (until is None or time.time() < until):
        for turn in list(turns):
            try:
                next(turn)
                done += 1
            except StopIteration:
                turns.remove(turn)
    print(f"suite done: {done} calls{', the rest had no time' if turns else ''}")


if __name__ == "__main__":
    main(device.library("cupy"), until=float(os.environ.get("BRAZEN_GPU_UNTIL", "inf")))
