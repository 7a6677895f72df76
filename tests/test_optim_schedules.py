# SPDX-License-Identifier: BSD-3-Clause
"""Schedules inside optimizers: which count they get, what is saved of them, and configs with groups of their own."""

import brazen as bz
import numpy as np
import optim_cases
import pytest
from test_optim_lists import different, everything


def test_a_schedule_of_epochs_gets_epochs():
    weight = np.zeros(1)
    opt = bz.optim.SGD([weight], lr=bz.schedules.step(1.0, step_size=1, gamma=0.5, unit="epoch"))
    with pytest.raises(ValueError, match=r"lr is a schedule of epochs.*set optimizer\.epoch"):
        opt.step([np.ones(1)])
    assert weight.item() == 0 and opt.steps == 0
    for epoch, expected in enumerate((-2, -3)):
        opt.epoch = epoch
        for _ in range(2):
            opt.step([np.ones(1)])
        assert weight.item() == expected
    assert opt.value_of("lr") == 0.5


def test_a_schedule_that_listens_is_saved_with_the_optimizer():
    def made():
        plateau = bz.schedules.reduce_on_plateau(1.0, factor=0.5, patience=0)
        return plateau, bz.optim.SGD([np.zeros(1)], lr=plateau, momentum=0.9)

    plateau, opt = made()
    for loss in (1.0, 1.0, 1.0):
        opt.step([np.ones(1)])
        plateau.step(loss)
    assert plateau.lr == 0.25
    saved = {name: np.array(value) for name, value in opt.state_dict().items()}
    assert set(saved) == {"memory", "momentum_buffer.0", "schedule.0.lr"}
    other, again = made()
    again.load_state_dict(saved)
    assert other.state_dict() == plateau.state_dict() and again.value_of("lr") == 0.25
    with pytest.raises(ValueError, match=r"schedule\.0\.lr is missing"):
        again.load_state_dict({name: value for name, value in saved.items() if not name.startswith("schedule")})


def test_config_keeps_what_groups_set_themselves():
    shapes = [(3,), (4,), (5,)]

    def groups(params, **own):
        return [
            {"params": params[:2], **own},
            {"params": params[2:], "weight_decay": 0.5} if own else {"params": params[2:]},
        ]

    params, twins = optim_cases.arrays(shapes), optim_cases.arrays(shapes)
    opt = bz.optim.AdamW(groups(params, lr=bz.schedules.cosine(0.1, 10)), lr=0.2, clip_norm=1.0, betas=(0.8, 0.9))
    config = opt.config()
    assert config["groups"][1] == {"weight_decay": 0.5} and config["groups"][0]["lr"]["name"] == "cosine"
    again = bz.optim.from_config(config)
    assert again.config() == config, "also before it is bound"
    again.bind(groups(twins))
    assert again.groups == opt.groups and again.config() == config
    for step in range(3):
        opt.step(optim_cases.gradients(step, shapes))
        again.step(optim_cases.gradients(step, shapes))
    assert not different(everything(again, twins), everything(opt, params))
    with pytest.raises(ValueError, match="params are 1 groups; expected 2, as the config says"):
        bz.optim.from_config(config).bind(twins)
    opt.groups[1]["lr"] = 0.01
    assert opt.config()["groups"][1] == {"weight_decay": 0.5, "lr": 0.01}


@pytest.mark.parametrize("name", ["adafactor", "sm3"])
@pytest.mark.parametrize("shape", [(700, 601), (3, 410, 333), (300_001,), (1 << 18, 2)])
def test_one_large_array_is_divided_among_threads(name, shape):
    found = []
    for threads in (1, 2, 5):
        bz.set_num_threads(threads)
        params = optim_cases.arrays([shape, (7, 9)])
        opt = optim_cases.run(name, {}, params, 2)
        found.append([*everything(opt, params), *(array for own in opt._axes for array in own.values())])
    rule = bz.reference.optim.get(name)()
    truth = [array.astype("float64") for array in optim_cases.arrays([shape, (7, 9)])]
    for step in range(2):
        rule.step(truth, [g.astype("float64") for g in optim_cases.gradients(step, [shape, (7, 9)])])
    assert not optim_cases.too_far(found[0][:2], truth, 2, "float32")
    for other in found[1:]:
        assert not different(other, found[0])
