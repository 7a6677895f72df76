# SPDX-License-Identifier: BSD-3-Clause
"""Claim I7: batch norm regularises by the noise of its batches' statistics, less with larger batches. The standard
deviation of the batch mean, sigma / sqrt(m), over many batches of N(0, 1); and of the outputs for one and the same sample."""

import brazen as bz
import common
import numpy as np


def findings(quick):
    batches, channels = (50, 64) if quick else (500, 256)
    for size, printed in ((8, 0.352), (32, 0.176), (128, 0.088), (512, 0.043)):
        net = bz.nn.Sequential([bz.nn.BatchNorm()]).build(input_shape=channels, seed=0)
        means, outputs = [], []
        for number in range(batches):
            x = bz.random.normal((size, channels), seed=number)
            x[0] = 1.0
            y, _ = net(x, training=True)
            outputs.append(y[0].copy())
            means.append(x[1:].mean(axis=0) * (size - 1) / size)
        means = np.array(means) * np.sqrt(size / (size - 1))  # of m samples, one of which was held fixed
        measured, expected = float(means.std()), 1 / np.sqrt(size)
        # The printed figures are of one run; the standard error of ours is measured / sqrt(2 batches channels).
        bound = 5 * expected / np.sqrt(2 * means.size)
        yield common.Finding(
            f"batches of {size}: deviation of the mean (printed {printed})", f"{expected:.4f}", f"{measured:.4f}",
            abs(measured - expected) < bound,
        )  # fmt: skip
        noise = float(np.array(outputs).std(axis=0).mean())
        yield common.Finding(f"batches of {size}: deviation of one sample's output", "", f"{noise:.3f}")


if __name__ == "__main__":
    common.show(__doc__, findings)
