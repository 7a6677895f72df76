# SPDX-License-Identifier: BSD-3-Clause
"""Hyper-parameters that are changed between two steps count from the next one on, however they are changed."""

import brazen as bz
import numpy as np
import pytest

CHANGES = {
    "lr": lambda optimizer: setattr(optimizer, "lr", 0.5),
    "learning_rate": lambda optimizer: setattr(optimizer, "learning_rate", 0.5),
    "set": lambda optimizer: optimizer.set(betas=(0.5, 0.5)),
    "a group": lambda optimizer: optimizer.groups[0].update(eps=0.1),
    "a schedule": lambda optimizer: setattr(optimizer, "lr", lambda step: 0.5 / step),
    "an option": lambda optimizer: optimizer.options.update(ema=0.5),
    "a penalty": lambda optimizer: optimizer.set(l1=0.5),
    "a decay": lambda optimizer: optimizer.set(weight_decay=0.5, decoupled_weight_decay=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_counts_at_once(name):
    """Beside an optimizer whose settings are worked out at every step."""

    def run(forget, change=True):
        params = [np.ones(3), np.full((2, 2), 2.0)]
        optimizer = bz.optim.Adam(params, lr=0.1, ema=0.9, exclude=["1"])
        for step in range(4):
            if step == 2 and change:
                CHANGES[name](optimizer)
            if forget:
                optimizer._kept.clear()
            optimizer.step([np.full(3, 0.1 * (step + 1)), np.full((2, 2), -0.2)])
        return [*params, *optimizer.averages]

    kept, anew, unchanged = run(False), run(True), run(False, change=False)
    assert all((a == b).all() for a, b in zip(kept, anew))
    assert not all((a == b).all() for a, b in zip(kept, unchanged))
