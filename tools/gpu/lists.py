# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers and the functions over lists on a GPU: what the tests ask of their emulation, and a captured step."""

from types import SimpleNamespace

import numpy as np
from stages import step


@step
def optimizers(work):
    """Every rule, its options and the functions over lists on CuPy arrays, to the bit; steps inside a captured graph."""
    import device
    import test_cuda_optim as tests
    from tolerance import DTYPES

    cupy = device.library("cupy")
    there = SimpleNamespace(on_device=lambda a: device.on_cupy(cupy, a), ndarray=cupy.ndarray)
    calls = [(tests.test_every_rule, case) for case in tests.CASES]
    calls += [(tests.test_16_bits, (dtype, more)) for dtype in ("float16", "bfloat16") for more in ("plain", "all")]
    calls += [(tests.test_dtypes_are_free, (grad, param)) for grad in DTYPES for param in DTYPES]
    calls += [(tests.test_sizes, (size,)) for size in (0, 1, 31, 32, 33, 1023, 1024, 1025, 8191, 8193)]
    calls += [(tests.test_functions, (dtype,)) for dtype in DTYPES]
    alone = (tests.test_many_tensors_and_groups, tests.test_a_long_list_is_folded_twice, tests.test_loss_scale,
             tests.test_nonfinite_gradients_change_nothing, tests.test_state_round_trip_between_devices,
             tests.test_scalars_on_the_device, tests.test_bound_and_replaced_arrays, tests.test_reports_outlive_later_steps)  # fmt: skip
    calls += [(test, ()) for test in alone]
    for done, (test, given) in enumerate(calls):
        if work.left() < 10:
            return {"note": f"{done} of {len(calls)} tests"}
        test(there, *given)
    captured(cupy)
    return {"note": f"all {len(calls)} tests, and a captured step"}


def captured(cupy):
    """A graph of one step, launched again and again, goes on as eager steps of the CPU do."""
    import brazen as bz

    weights, twin = [cupy.ones(5000, "float32")], [np.ones(5000, "float32")]
    lr, grad = cupy.array(0.1), cupy.full(5000, 0.25, "float32")
    opt, other = bz.optim.AdamW(weights, lr=lr, clip_norm=1.0), bz.optim.AdamW(twin, lr=0.1, clip_norm=1.0)
    opt.bind_grads([grad])
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        opt.step()
        stream.begin_capture()
        opt.step()
        graph = stream.end_capture()
        other.step([grad.get()])
        for launch in range(5):
            lr[...] = other.lr = 0.1 / (launch + 2)
            graph.launch(stream)
            other.step([grad.get()])
        stream.synchronize()
    if not (weights[0].get() == twin[0]).all() or opt.steps != 6:
        raise AssertionError("a captured step differs from an eager one")
