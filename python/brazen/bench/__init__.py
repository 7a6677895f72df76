# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark harness users run on their own machines: `python -m brazen bench`. It needs NumPy only; every peer is
imported when it is asked for.

case.py       what is compared: statements on arrays
activations.py, torch_peer.py, jax_peer.py   the cases of a family, and what its peers call
timing.py     how long: interleaved blocks, medians of ratios, the copy bandwidth B
session.py    one run: which cases, at which sizes, into rows of metrics
bars.py       what is asked of those metrics
results.py    the JSON of one machine; compare.py two of them; tables.py and plot.py show one
"""

from __future__ import annotations

__all__ = ["demo", "main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; see `python -m brazen bench --help`."""
    from .cli import main as run

    return run(argv)


def demo() -> int:
    """Prints the table of `python -m brazen demo`."""
    from ..demo.activations import main as run

    return run()
