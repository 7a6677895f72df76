# SPDX-License-Identifier: BSD-3-Clause
"""Claim A15: "exp() is a bit compute expensive", "ReLU very computationally efficient": the bytes a second that cheap and
dear activations reach, against the copy bandwidth. `--quick` for small arrays. tests/test_techniques.py says what a claim is."""

import sys

from brazen.bench import results, tables
from brazen.bench.session import Session

NAMES = ["relu", "leaky_relu", "elu", "tanh", "sigmoid"]


def main(argv):
    session = Session(["reference"], quick="--quick" in argv)
    rows = [session.row(item) for item in session.items(NAMES) if item[3] == "stream"]
    of = tables.Results(results.document(session, rows))
    print(tables.machine(of), end="\n\n")
    print(tables.text(tables.cheap_and_dear(of)))


if __name__ == "__main__":
    main(sys.argv[1:])
