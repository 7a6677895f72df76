# SPDX-License-Identifier: BSD-3-Clause
"""The reduced suite that runs under compute-sanitizer: every kernel once, vectors, elements, remainders, reductions."""

import device
import numpy as np
import op_table
import samples


def main(cupy, cases=None):
    for case in cases or op_table.CASES:
        for dtype in ("float32", "bfloat16", "float64"):
            for shape in [(3, 1037), (2, 5, 16)]:
                arrays = [samples.ordinary(s, dtype, seed) for seed, s in enumerate(case.shapes(shape))]
                results = case.results(*(device.on_cupy(cupy, a) for a in arrays))
                wide = [np.repeat(a, 2, -1)[..., ::2] for a in arrays]
                results += case.results(*(device.on_cupy(cupy, a) for a in wide))
                for result in results:
                    device.from_cupy(result)
    print("suite done")


if __name__ == "__main__":
    main(device.library("cupy"))
