# SPDX-License-Identifier: BSD-3-Clause
"""Draws docs/schedules.png, every pure schedule over 100 steps: `python tools/draw_schedules.py [file.png]`."""

from __future__ import annotations

import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from brazen import schedules as s

STEPS = 101
PANELS = [
    s.constant(1.0),
    s.step(1.0, step_size=25, gamma=0.5),
    s.multi_step(1.0, milestones=[20, 30, 80], gamma=0.4),
    s.piecewise(boundaries=[15, 50, 75], values=[0.4, 1.0, 0.6, 0.1]),
    s.exponential(1.0, rate=0.04),
    s.per_epoch(1.0, learning_rate_decay=0.97),
    s.inverse_time(1.0, decay_rate=0.1),
    s.inverse_sqrt(1.0),
    s.linear(1.0, end_lr=0.1, total_iters=70),
    s.polynomial(1.0, total_iters=90, power=2),
    s.cosine(1.0, T_max=90),
    s.cosine_restarts(1.0, T_0=14, T_mult=2),
    s.cyclic(0.0, 1.0, step_size_up=12, mode="triangular2"),
    s.cyclic(0.0, 1.0, step_size_up=12, mode="cosine"),
    s.one_cycle(1.0, total_steps=100),
    s.one_cycle(1.0, total_steps=100, three_phase=True, anneal_strategy="linear"),
    s.warmup(s.cosine(1.0, T_max=85), warmup_steps=15),
    s.chain([s.constant(1.0), s.step(0.5, step_size=15, gamma=0.5)], milestones=[40]),
    s.lambda_lr(lambda epoch: 0.8 ** (epoch // 10)),
]


def plateau_values() -> list[float]:
    """On a loss that stops falling at 20 and at 50."""
    plateau = s.reduce_on_plateau(1.0, factor=0.5, patience=8)
    return [plateau.step(max(10 - t, -10) if t < 40 else max(30 - t, -20)) for t in range(STEPS)]


def title(schedule) -> str:
    shown = [f"{key}={value}" for key, value in schedule.arguments.items() if isinstance(value, int | float | str)]
    given = {
        "exponential": ["rate=0.04"],
        "cyclic": shown[-2:-1],
        "one_cycle": shown[-1:],
        "cosine_restarts": ["T_mult=2"],
    }
    return "\n".join([schedule.name, ", ".join(given.get(schedule.name, []))]).strip()


def main(path: pathlib.Path) -> None:
    named = [(title(schedule), schedule.values(STEPS)) for schedule in PANELS]
    named.append(("reduce_on_plateau", plateau_values()))
    figure, axes = plt.subplots(4, 5, figsize=(12, 8), sharex=True, sharey=True, layout="constrained")
    for axis, (text, values) in zip(axes.flat, named, strict=True):
        axis.plot(range(STEPS), values, color="#b5651d", linewidth=1.6)
        axis.set_title(text, fontsize=9)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("step or epoch", fontsize=8)
    axes[0, 0].set_ylim(-0.03, 1.08)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    docs = pathlib.Path(__file__).resolve().parents[1] / "docs"
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else docs / "schedules.png")
