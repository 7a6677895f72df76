# SPDX-License-Identifier: BSD-3-Clause
"""`make demo`: what this machine does with brazen. The doctor, a network trained on digits, the table of activations."""

from __future__ import annotations

import argparse

from .. import _doctor, checkpoint


def main(arguments: list[str] | None = None) -> int:
    """The doctor; training on real digits, with its model and figures in a directory; the speed of the kernels."""
    parser = argparse.ArgumentParser("brazen demo", description=main.__doc__)
    parser.add_argument("--out", default="demo", metavar="DIR", help="receives the model and the figures (demo)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights, the order and the masks (0)")
    given = parser.parse_args(arguments)
    print(_doctor.describe(_doctor.info()), end="\n\n", flush=True)
    from . import activations, digits

    try:
        status = digits.main(given.out, given.seed)
    except ImportError as missing:
        print(missing)
        status = 0
    except checkpoint.DirectoryInUse as busy:
        print(busy)
        return 1
    if status:
        return status
    print(flush=True)
    return activations.main()
