# SPDX-License-Identifier: BSD-3-Clause
"""The command line: `python -m brazen info | selftest | bench | demo | train`, and `--version`. Each command lives in its own module."""

from __future__ import annotations

import argparse
import json
import sys

from ._doctor import __version__, describe, info


def show_info(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("brazen info", description="What this installation can do, and why not more.")
    parser.add_argument("--json", action="store_true", help="the dictionary of brazen.info()")
    facts = info()
    print(json.dumps(facts, indent=2) if parser.parse_args(arguments).json else describe(facts))
    return 0


def run_selftest(arguments: list[str]) -> int:
    from .selftest import main

    return main(arguments)


def run_bench(arguments: list[str]) -> int:
    from .bench import main

    return main(arguments)


def run_demo(arguments: list[str]) -> int:
    from .demo import main

    return main(arguments)


def run_train(arguments: list[str]) -> int:
    from .train.job import main

    return main(arguments)


COMMANDS = {"info": show_info, "selftest": run_selftest, "bench": run_bench, "demo": run_demo, "train": run_train}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser("brazen", description="Fused training kernels for NumPy and CuPy arrays.")
    parser.add_argument(
        "command",
        choices=COMMANDS,
        help="info: the doctor; selftest: every op checked here; bench; demo; train: your data, by a config",
    )
    parser.add_argument("--version", action="version", version=f"brazen {__version__}")
    given = sys.argv[1:] if arguments is None else arguments
    return COMMANDS[parser.parse_args(given[:1]).command](given[1:])


if __name__ == "__main__":
    raise SystemExit(main())
