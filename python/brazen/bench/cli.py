# SPDX-License-Identifier: BSD-3-Clause
"""The command line of the benchmarks: parses, measures, prints, writes. No number is computed here."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from . import peers, results, tables
from .case import WrongResult

RESULTS = Path("bench/results")


def parser() -> argparse.ArgumentParser:
    """Every option, for the help text and its test."""
    command = argparse.ArgumentParser(
        prog="python -m brazen bench",
        description="Measures each operation as a fraction of the copy bandwidth B and against its peers, after checking its result.",
    )
    command.add_argument("op", nargs="*", help="operations, such as gelu swiglu; all of them by default")
    command.add_argument(
        "--peer", nargs="+", metavar="NAME", help=f"{', '.join(peers.PEERS)}; by default those installed but compile"
    )
    command.add_argument(
        "--json", metavar="F", help="write the results there (rows it holds of other operations are kept)"
    )
    command.add_argument("--plot", metavar="F", help="write a roofline PNG there")
    command.add_argument("--quick", action="store_true", help="8 M elements, few rounds: about a minute")
    command.add_argument(
        "--elements",
        type=int,
        metavar="N",
        help="elements of the large arrays, 32 M by default (8 arrays of 4 bytes each)",
    )
    command.add_argument(
        "--compare",
        nargs="?",
        const="",
        metavar="F",
        help="fail if a ratio recorded in F (this machine's file by default) fell by > 10 %%",
    )
    return command


def parse(argv: list[str]) -> argparse.Namespace:
    """The options. An operation that stands after the peers (`--peer reference gelu`) is an operation all the same."""
    import brazen

    given = parser().parse_args(argv)
    if given.peer:
        named = {name: name.partition(".")[0] in brazen.activations() for name in given.peer}
        given.op += [name for name, operation in named.items() if operation]
        given.peer = [name for name, operation in named.items() if not operation]
        if not given.peer:
            raise ValueError(f"bench: --peer {' '.join(named)} names no peer; the peers are {', '.join(peers.PEERS)}")
    return given


def main(argv: list[str] | None = None) -> int:
    """0, or 1 where a result was wrong or a recorded ratio fell, or 2 for arguments that cannot be meant."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        given = parse(argv)
        present, _ = peers.choose(given.peer)
        if peers.needs_new_process(present):
            return subprocess.run(
                [sys.executable, "-m", "brazen.bench", *argv], env={**os.environ, "THP_MEM_ALLOC_ENABLE": "1"}
            ).returncode
        return _run(given)
    except (ValueError, ImportError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except WrongResult as error:
        print(f"bench: wrong result: {error}", file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    from .session import Session, Sizes

    if given.elements is not None and given.elements < 4096:
        raise ValueError(f"--elements is {given.elements}; expected at least 4096")
    for option, path in (("--json", given.json), ("--plot", given.plot)):  # minutes of measuring are not to be lost
        if path and not Path(path).parent.is_dir():
            raise ValueError(f"{option}: the folder {Path(path).parent} does not exist")
    recorded = results.load(given.compare or own_file()) if given.compare is not None else None
    sizes = Sizes(stream=given.elements) if given.elements else None
    if recorded and not sizes:
        sizes = Sizes(stream=recorded["sizes"]["stream"])
    session = Session(given.peer, quick=given.quick, sizes=sizes)
    items = list(session.items(given.op))
    for line in session.absent:
        print(line)
    data = results.document(session, [])
    print(tables.machine(tables.Results(data)), flush=True)
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        if sys.stderr.isatty():
            print(
                f"\r{number + 1} of {len(items)}: {' '.join(part for part in item if part):<50}",
                end="",
                file=sys.stderr,
                flush=True,
            )
        rows.append(session.row(item))
    data["rows"] = rows
    if sys.stderr.isatty():
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
    _print(tables.Results(data))
    if given.json:
        old = results.load(given.json) if Path(given.json).exists() else None
        results.save(given.json, results.merge(old, data))
    if given.plot:
        from .plot import roofline

        roofline(data, given.plot)
    return _compare(recorded, data, session) if recorded else 0


def _print(shown: tables.Results) -> None:
    for title, table in (
        ("", tables.activations),
        ("16 bits", tables.sixteen),
        ("Workloads", tables.workloads),
        ("What was asked", tables.bars),
    ):
        head, rows = table(shown)
        rows = [row for row in rows if "not measured" not in row]
        if rows and len(head) > 1:
            print(f"\n{title}" if title else "", tables.text((head, rows)), sep="\n")
    for bar, names in tables.misses(shown)[1]:
        print(textwrap.fill(f"Missed: {bar}: {names}", 120, initial_indent="\n", subsequent_indent="    "))


def own_file() -> Path:
    """Where this machine's recorded results stand, seen from the repository's root."""
    path = RESULTS / f"{results.machine_name(results.machine())}.json"
    if not path.exists():
        raise ValueError(f"--compare: {path} does not exist; record it with `make bench`, or name a file")
    return path


def _compare(recorded: dict[str, Any], data: dict[str, Any], session) -> int:
    from .compare import confirmed

    worse = confirmed(recorded, data, session.row)
    for drop in worse:
        print(drop)
    print(f"compare: {len(worse)} recorded ratios fell by more than 10 %")
    return 1 if worse else 0
