# SPDX-License-Identifier: BSD-3-Clause
"""Where a module's random numbers come from: PyTorch's generator, or a seed of its own and the number of the call."""

from __future__ import annotations

from typing import Any

import torch

from ..graph import seed_from_generator


class Drawing(torch.nn.Module):
    """Without `seed`, each training call takes one from PyTorch's generator: torch.manual_seed decides, activation
    checkpointing repeats it, and the state_dict is PyTorch's.

    With `seed`, call number `step` draws from (seed, step, site), as on NumPy arrays; `step` goes into the state_dict, so that
    a run goes on with the masks it would have drawn. Two modules of one seed want two sites.
    """

    def _set_source(self, seed: int | None, site: int) -> None:
        self.seed, self.site, self.step = seed, site, 0

    def _draw(self) -> dict[str, Any]:
        """The arguments that say which numbers this call draws."""
        if self.seed is None:
            return {"seed": seed_from_generator()}
        if torch._C._current_graph_task_id() != -1:
            raise RuntimeError(
                f"{type(self).__name__}: called again within a backward pass (activation checkpointing), where a seed of its own "
                "would draw another mask; make it without seed=, so that PyTorch's generator repeats the mask"
            )
        self.step += 1
        return {"seed": self.seed, "site": self.site, "step": self.step - 1}

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.seed is not None:
            destination[prefix + "step"] = torch.tensor(self.step)

    def _load_from_state_dict(self, state_dict, prefix, *others):
        if self.seed is not None and prefix + "step" in state_dict:
            state_dict = dict(state_dict)
            self.step = int(state_dict.pop(prefix + "step"))
        super()._load_from_state_dict(state_dict, prefix, *others)
