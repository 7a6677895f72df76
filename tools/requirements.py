# SPDX-License-Identifier: BSD-3-Clause
"""Prints the requirements of the named extras of pyproject.toml, so that they can be installed before the package is built."""

from __future__ import annotations

import pathlib
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:  # pip carries a reader of its own; nothing else is installed yet
    from pip._vendor import tomli as tomllib


def main(extras: list[str]) -> None:
    project = tomllib.loads((pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    print("\n".join(requirements))


if __name__ == "__main__":
    main(sys.argv[1:])
