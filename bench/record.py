# SPDX-License-Identifier: BSD-3-Clause
"""Adds what a build target measured to this machine's results: `python bench/record.py wheel_megabytes=3.1 …`."""

import sys

from brazen.bench import results
from brazen.bench.bars import BARS
from brazen.bench.cli import own_file

METRICS = [bar.metric for bar in BARS if bar.kind == "build"]


def main(argv):
    try:
        given = {name: float(value) for name, _, value in (part.partition("=") for part in argv)}
        if not given or not set(given) <= set(METRICS):
            raise ValueError(
                f"record: {' '.join(argv) or 'nothing'} given; expected name=number, names {', '.join(METRICS)}"
            )
        results.record_build(own_file(), given)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
