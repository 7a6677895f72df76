# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark run under pytest: one session measures, the JSON of this machine is written at its end."""

import pytest
from brazen.bench import results
from brazen.bench.cli import RESULTS
from brazen.bench.session import Session


def pytest_addoption(parser):
    group = parser.getgroup("brazen")
    group.addoption(
        "--quick", action="store_true", help="8 M elements and few rounds; writes no results unless told where"
    )
    group.addoption(
        "--compile", action="store_true", help="torch.compile too: a second for each way to call, more at first"
    )
    group.addoption("--strict-bars", action="store_true", help="fail, not only report, where a bar is missed")
    group.addoption("--results", metavar="F", help="where to write; bench/results/<machine>.json by default")


class Run:
    """Rows measured so far, and those of the file they will be written to."""

    def __init__(self, options):
        peers = ["reference", "torch", "compile", "jax"] if options.getoption("--compile") else None
        self.session = Session(peers, quick=options.getoption("--quick"))
        default = None if options.getoption("--quick") else RESULTS / f"{results.machine_name(results.machine())}.json"
        given = options.getoption("--results")
        self.path = options.rootpath / (given or default) if given or default else None
        self.rows = []

    def data(self):
        new = results.document(self.session, self.rows)
        old = results.load(self.path) if self.path and self.path.exists() else None
        return results.merge(old, new)

    def measure(self, item):
        row = self.session.row(item)
        self.rows.append(row)
        return row


@pytest.fixture(scope="session")
def run(pytestconfig):
    run = Run(pytestconfig)
    yield run
    if run.rows and run.path:
        results.save(run.path, run.data())


@pytest.fixture(scope="session")
def judge(pytestconfig):
    """Reports a missed bar: an expected failure with its figures, or a failure under --strict-bars."""
    return pytest.fail if pytestconfig.getoption("--strict-bars") else pytest.xfail
