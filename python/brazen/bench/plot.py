# SPDX-License-Identifier: BSD-3-Clause
"""The roofline of one machine: bytes a second each operation reaches, as a part of B, and the roof its arithmetic allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .tables import Results


def roofline(data: dict[str, Any], path: str | Path) -> None:
    """Writes a PNG: one bar an operation, forward and backward side by side, a tick where its own roof lies."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("--plot needs matplotlib; pip install 'brazen[demo]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    results = Results(data)
    measured = [case for case in results.cases if results.get(case, "forward", "stream", "copy_fraction") is not None]
    if not measured:
        raise ValueError("--plot: no operation was measured beyond the caches")
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 1.2 + 0.24 * len(measured)), sharey=True, layout="constrained")
    copy = data["copy"]
    for panel, direction, colour in zip(panels, ("forward", "backward"), ("#4477aa", "#cc6677")):
        for place, case in enumerate(measured):
            fraction = results.get(case, direction, "stream", "copy_fraction")
            over = results.get(case, direction, "stream", "of_roof")
            if fraction is None:
                continue
            panel.barh(place, fraction, height=0.7, color=colour)
            if over is not None:
                panel.plot([min(fraction * over, 1.0)] * 2, [place - 0.42, place + 0.42], color="black", linewidth=1.6)
        panel.axvline(1.0, color="grey", linewidth=0.8, linestyle="--")
        panel.set_title(direction, fontsize=10)
        panel.set_xlabel("fraction of B")
        panel.set_xlim(0, 1.15)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(measured)), measured, fontsize=8)
    panels[0].set_ylim(len(measured) - 0.4, -0.6)
    of = data["machine"]
    size = data["sizes"]["stream"] / 2**20
    figure.suptitle(
        f"{of['processor']}, {of['isa']}, {of['threads']} threads: {size:g} M float32, B = {copy[copy['best']]:g} GB/s\nblack: the roof of the operation",
        fontsize=10,
    )
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
