# SPDX-License-Identifier: BSD-3-Clause
"""Float32 weights behind 16-bit parameters: the steps are float32's, the parameters their rounding, the state holds them."""

import brazen as bz
import ml_dtypes
import numpy as np
import optim_cases
import pytest
from emulation import build
from test_cuda_emulated import cupy  # noqa: F401
from test_optim_lists import different, everything

SHAPES = [(7,), (5, 13), (0,), (1031,), (3, 70)]
NARROW = {"float16": np.dtype("float16"), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def narrow(dtype, seed=0):
    return [array.astype(NARROW[dtype]) for array in optim_cases.arrays(SHAPES, seed=seed)]


def gradients(step, dtype):
    return [grad.astype(NARROW[dtype]) for grad in optim_cases.gradients(step, SHAPES)]


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", bz.optim.names())
def test_steps_are_float32_s(name, dtype):
    params = narrow(dtype)
    twins = [param.astype("float32") for param in params]
    options = {"lr": 1e-3, "clip_norm": 1.0, "ema": 0.9, "max_norm": 3.0, "skip_nonfinite": True}
    opt = bz.optim.get(name)(params, master_weights=True, **options)
    other = bz.optim.get(name)(twins, **options)
    for step in range(6):
        report, wanted = opt.step(gradients(step, dtype)), other.step(gradients(step, dtype))
        assert report.grad_norm == wanted.grad_norm
    assert not different(everything(opt, opt.masters), everything(other, twins))
    assert not different(opt.averages, other.averages)
    assert not different(params, [twin.astype(NARROW[dtype]) for twin in twins])
    assert opt.params is params


def test_small_steps_are_not_lost():
    for masters, moved in ((False, 0), (True, 100)):
        weight = np.ones(1, "float16")
        opt = bz.optim.SGD([weight], lr=1e-4, master_weights=masters)
        for _ in range(100):
            opt.step([np.ones(1, "float16")])
        assert weight.item() == pytest.approx(1 - moved * 1e-4, abs=5e-4) and (weight.item() == 1) is not masters


def test_only_16_bit_parameters_have_them():
    params = {"half": np.ones(3, "float16"), "single": np.ones(3, "float32")}
    opt = bz.optim.AdamW(params, lr=0.1, master_weights=True)
    opt.step({"half": np.ones(3, "float16"), "single": np.ones(3, "float32")})
    assert opt.masters["single"] is None and opt.masters["half"].dtype == np.float32
    assert (params["single"] == opt.masters["half"]).all() and (params["half"] < 1).all()
    assert "master.half" in opt.state_dict() and "master.single" not in opt.state_dict()
    assert bz.optim.from_config(opt.config()).options["master_weights"] is True


@pytest.mark.parametrize("name", ["sgd", "adamw", "novograd"])
def test_state_round_trip(name):
    params = narrow("bfloat16")
    opt = bz.optim.get(name)(params, lr=1e-3, master_weights=True)
    for step in range(3):
        opt.step(gradients(step, "bfloat16"))
    twins = [param.copy() for param in params]
    again = bz.optim.get(name)(twins, lr=1e-3, master_weights=True)
    again.load_state_dict({key: np.array(value) for key, value in opt.state_dict().items()})
    for step in range(3, 6):
        opt.step(gradients(step, "bfloat16")), again.step(gradients(step, "bfloat16"))
    assert not different([*again.masters, *twins], [*opt.masters, *params])


def test_a_replaced_parameter():
    params = {"w": np.ones(3, "float16")}
    opt = bz.optim.SGD(params, lr=2.0**-13, master_weights=True)
    grads = [np.ones(3, "float16")]
    opt.step(grads)
    # The same values elsewhere: nothing of the float32 weights is lost.
    params["w"] = params["w"].copy()
    opt.step(grads)
    assert (opt.masters["w"] == 1 - 2.0**-12).all()
    params["w"] = np.array([1, 2, 3], "float16")
    opt.step(grads)
    assert (opt.masters["w"] == np.array([1 - 3 * 2.0**-13, 2 - 2.0**-13, 3 - 2.0**-13])).all()
    for other in (np.ones(3), np.ones(4, "float16")):
        params["w"] = other
        with pytest.raises(ValueError, match="expected float16 and .* as it had when it was bound"):
            opt.step(grads)


def test_what_is_refused():
    with pytest.raises(ValueError, match="copy_to and master_weights are both given"):
        bz.optim.SGD([np.ones(2, "float16")], copy_to="float32", master_weights=True)
    whole = np.ones(4, "float16")
    with pytest.raises(ValueError, match="1 shares memory with 0"):
        bz.optim.SGD([whole, whole[2:]], master_weights=True)
    with pytest.raises(ValueError, match="0 is not contiguous"):
        bz.optim.SGD([whole[::2]], master_weights=True)
    with pytest.raises(ValueError, match="the gradient of 0 shares memory with its parameter"):
        bz.optim.SGD([whole], master_weights=True).step([whole])
    with pytest.raises(ValueError, match="the parameter 0 shares memory with the gradient of 1"):
        bz.optim.SGD([whole, np.ones(4, "float16")], master_weights=True, zero_grads=True).step([np.ones(4), whole])
    with pytest.raises(ValueError, match="made without master_weights"):
        _ = bz.optim.SGD([whole]).masters


@pytest.mark.skipif(build.compiler() is None, reason="the emulation of CUDA needs g++ (or CXX), which is not here")
@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_on_a_gpu(cupy, name):  # noqa: F811
    params, twins = narrow("bfloat16"), list(map(cupy.on_device, narrow("bfloat16")))
    opt, other = (bz.optim.get(name)(p, master_weights=True, ema=0.9, max_norm=3.0) for p in (params, twins))
    for step in range(3):
        opt.step(gradients(step, "bfloat16")), other.step(list(map(cupy.on_device, gradients(step, "bfloat16"))))
    made = [array.get() for array in [*twins, *other.masters, *other.averages]]
    assert not different(made, [*params, *opt.masters, *opt.averages])


def test_tensors(torch):
    params = [torch.ones(3, dtype=torch.bfloat16)]
    opt = bz.optim.SGD(params, lr=2.0**-12, master_weights=True)
    for _ in range(4):
        opt.step([torch.ones(3, dtype=torch.bfloat16)])
    assert opt.masters[0].tolist() == [1 - 2.0**-10] * 3 and opt.masters[0].dtype is torch.float32
    params[0].data = torch.full((3,), 2.0, dtype=torch.bfloat16)
    opt.step([torch.ones(3, dtype=torch.bfloat16)])
    assert opt.masters[0].tolist() == [2 - 2.0**-12] * 3


def test_under_pytorch_s_contract(torch):
    import brazen.torch as bt

    def made():
        params = [torch.nn.Parameter(torch.from_numpy(p).bfloat16()) for p in optim_cases.arrays([(5, 3), (7,)])]
        return params, bt.AdamW(params, lr=1e-3, master_weights=True)

    def run(params, optimizer, steps):
        for step in steps:
            for p, g in zip(params, optim_cases.gradients(step, [(5, 3), (7,)])):
                p.grad = torch.from_numpy(g).bfloat16()
            optimizer.step()

    params, optimizer = made()
    run(params, optimizer, range(3))
    assert all(kept["master"].dtype is torch.float32 for kept in optimizer.state.values())
    twins, again = made()
    with torch.no_grad():
        for twin, p in zip(twins, params):
            twin.copy_(p)
    again.load_state_dict(optimizer.state_dict())
    run(params, optimizer, range(3, 6)), run(twins, again, range(3, 6))
    for p, twin in zip(params, twins):
        assert torch.equal(p, twin) and torch.equal(optimizer.state[p]["master"], again.state[twin]["master"])
        assert torch.equal(optimizer.state[p]["master"].bfloat16(), p.detach())
