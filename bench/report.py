# SPDX-License-Identifier: BSD-3-Clause
"""Writes the measured tables into the documents, between `<!-- bench:NAME -->` and `<!-- /bench -->`; the prose around
them is written by hand. `<!-- bench:NAME of FILE -->` names the results to take; `--check` only says whether all are current.
"""

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

from brazen.bench import results, tables

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "docs/performance.md")
_MARKED = re.compile(r"(<!-- bench:([\w-]+)(?: of ([\w.-]+))? -->\n).*?(<!-- /bench -->)", re.DOTALL)

BLOCKS = {
    "machine": tables.machine,
    "bars": lambda of: tables.markdown(tables.bars(of)),
    "misses": lambda of: tables.markdown(tables.misses(of)),
    "activations": lambda of: tables.markdown(tables.short(of)),
    "activations-all": lambda of: tables.markdown(tables.activations(of)),
    "workloads": lambda of: tables.markdown(tables.workloads(of)),
    "half": lambda of: tables.markdown(tables.sixteen(of)),
    "cheap-and-dear": lambda of: tables.markdown(tables.cheap_and_dear(of)),
    "cuda": lambda of: tables.not_on_a_gpu() if of is None else gpu("gpu_record").page(of),
    "cuda-bars": lambda of: "" if of is None else gpu("gpu_record").short(of),
}
OF_GPU = ("cuda", "cuda-bars")


def gpu(name):
    """A module of tools/gpu, which read and draw the record of a GPU; they need none."""
    if name not in sys.modules:
        if str(ROOT / "tools/gpu") not in sys.path:
            sys.path.append(str(ROOT / "tools/gpu"))
        importlib.import_module(name)
    return sys.modules[name]


def read(path):
    """A file of results: of a GPU as it is, of a CPU checked."""
    data = json.loads(path.read_text())
    return data if "rows" not in data and {"prove", "sanitize", "bench"} & set(data) else results.load(path)


def choose(folder, device, named=None):
    """The results of a kind of device, None where there are none; a name settles which of several."""
    files = {path.stem: read(path) for path in sorted(folder.glob(f"{named or '*'}.json"))}
    found = {name: data for name, data in files.items() if (data["machine"]["device"] == "cpu") == (device == "cpu")}
    if len(found) > 1:
        raise ValueError(
            f"report: results of {', '.join(found)}; name one in the marker: <!-- bench:NAME of {next(iter(found))} -->"
        )
    if not found:
        return None
    data = next(iter(found.values()))
    return tables.Results(data) if device == "cpu" else data


def rewritten(text, folder):
    """The text with every marked block drawn anew."""

    def draw(match):
        opening, name, source, closing = match.groups()
        if name not in BLOCKS:
            raise ValueError(f"report: unknown block {name}; the blocks are {', '.join(BLOCKS)}")
        of = choose(folder, "cuda" if name in OF_GPU else "cpu", source)
        body = "Not yet measured." if of is None and name not in OF_GPU else BLOCKS[name](of)
        return f"{opening}\n{body}\n\n{closing}" if body else f"{opening}{closing}"

    return _MARKED.sub(draw, text)


def main(argv=None):
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("documents", nargs="*", help=f"{', '.join(DOCUMENTS)} by default")
    command.add_argument("--results", metavar="DIR", type=Path, default=ROOT / "bench/results")
    command.add_argument("--check", action="store_true", help="write nothing; fail where a document is not current")
    command.add_argument(
        "--plot", metavar="F", help="also draw the roofline of the CPU results, or of a GPU named with --of"
    )
    command.add_argument("--of", metavar="NAME", help="the results to draw, where there are several")
    given = command.parse_args(argv)
    stale = []
    try:
        for path in map(Path, given.documents or [ROOT / name for name in DOCUMENTS if (ROOT / name).exists()]):
            old = path.read_text()
            new = rewritten(old, given.results)
            if new != old:
                stale.append(path.name)
                if not given.check:
                    path.write_text(new)
        if given.plot:
            from brazen.bench.plot import roofline

            of = choose(given.results, "cpu", given.of)
            on_gpu = choose(given.results, "cuda", given.of) if of is None and given.of else None
            if on_gpu is not None:
                gpu("gpu_record").roofline(on_gpu, given.plot)
            elif of is None:
                raise ValueError(f"report: no results in {given.results.name}; record them with `make bench`")
            else:
                roofline(of.data, given.plot)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.check and stale:
        print(f"report: not current: {', '.join(stale)}; run python bench/report.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
