# SPDX-License-Identifier: BSD-3-Clause
"""A second opinion: our float32 error against the float64 truth is not larger than PyTorch's, give or take one ulp.

It catches a definition that differs from everybody else's, and accuracy lost against the library people come from.
"""

import numpy as np
import op_table
import pytest
import samples
from tolerance import tolerance

# PyTorch's name and parameters; ours with parameters to match where the defaults differ.
PEERS = {
    "relu": ("relu", {}), "relu6": ("relu6", {}), "leaky_relu": ("leaky_relu", {}), "elu": ("elu", {}), "celu": ("celu", {}),
    "selu": ("selu", {}), "gelu": ("gelu", {}), "gelu_tanh": ("gelu", {"approximate": "tanh"}), "silu": ("silu", {}),
    "mish": ("mish", {}), "sigmoid": ("sigmoid", {}), "log_sigmoid": ("logsigmoid", {}), "tanh": ("tanh", {}),
    "softplus": ("softplus", {"threshold": 100}), "softsign": ("softsign", {}), "hard_sigmoid": ("hardsigmoid", {}),
    "hard_tanh": ("hardtanh", {}), "hard_silu": ("hardswish", {}), "hard_shrink": ("hardshrink", {}), "soft_shrink": ("softshrink", {}),
    "tanh_shrink": ("tanhshrink", {}), "threshold": ("threshold", {"threshold": 0.5, "value": -1.25}),
}  # fmt: skip


@pytest.mark.parametrize("case", [c for c in op_table.CASES if c.name in PEERS], ids=lambda case: case.id)
def test_errors_side_by_side(case, torch):
    name, parameters = PEERS[case.name]
    function = getattr(torch.nn.functional, name)
    ours_parameters = case.parameter_sets[0]
    x = np.concatenate([samples.dense("float32", -30, 30, 60001), samples.dense("float32", -2, 2, 20001)])
    x = x[np.isfinite(x)]
    tensor = torch.from_numpy(x.copy()).requires_grad_(case.direction == "backward")
    theirs = function(tensor, **parameters)
    if case.direction == "backward":
        theirs.backward(torch.ones_like(theirs))
        theirs = tensor.grad
        ours, truth = (
            case.call(np.ones_like(x), x, parameters=ours_parameters),
            case.truth(np.ones_like(x), x, parameters=ours_parameters),
        )
        kinks = np.isin(x, (-3, -1, -0.5, 0, 0.5, 1, 3, 6))  # where each library chooses a side
        x, ours, theirs, truth = x[~kinks], ours[~kinks], theirs.numpy()[~kinks], truth[~kinks]
    else:
        ours, theirs, truth = (
            case.call(x, parameters=ours_parameters),
            theirs.detach().numpy(),
            case.truth(x, parameters=ours_parameters),
        )
    # Errors in units of what a product near its zero can reach: half an ulp of y, or of x where that is larger.
    unit = tolerance("float32").ulp(truth) + tolerance("float32").unit * np.minimum(1, np.abs(x))
    our_error, their_error = np.abs(ours - truth) / unit, np.abs(theirs - truth) / unit
    assert our_error.max() <= their_error.max() + 1, (our_error.max(), their_error.max(), x[our_error.argmax()])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conventions_of_glu_and_prelu(dtype, torch):
    """Which half is the gate, which axis is the channel's, and the gradients of both: PyTorch's."""
    x = samples.ordinary((4, 6, 5), dtype, 1)
    alpha = samples.ordinary(6, dtype, 2)
    dy_glu, dy_prelu = samples.ordinary((4, 3, 5), dtype, 3), samples.ordinary((4, 6, 5), dtype, 4)
    for name, arrays, parameters, dy in (("glu", [x], {"axis": 1}, dy_glu), ("prelu", [x, alpha], {}, dy_prelu)):
        tensors = [torch.from_numpy(a).clone().requires_grad_() for a in arrays]
        y = torch.nn.functional.glu(*tensors, dim=1) if name == "glu" else torch.prelu(*tensors)
        y.backward(torch.from_numpy(dy))
        forward, backward = (
            next(c for c in op_table.CASES if c.name == name and c.direction == d) for d in ("forward", "backward")
        )
        allowed = 64 * tolerance(dtype).unit  # a handful of roundings of numbers up to 16, a sum of 20 terms
        assert np.abs(forward.call(*arrays, parameters=parameters) - y.detach().numpy()).max() <= allowed * 16
        for ours, theirs in zip(backward.results(dy, *arrays, parameters=parameters), tensors):
            assert np.abs(ours - theirs.grad.numpy()).max() <= allowed * 32
