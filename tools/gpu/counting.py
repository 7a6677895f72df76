# SPDX-License-Identifier: BSD-3-Clause
"""A plugin of pytest for step suite: counts outcomes, ends the run in time, writes both to BRAZEN_GPU_COUNTS."""

import json
import os
import time
from pathlib import Path

import pytest


class Counting:
    def __init__(self, path, until):
        self.path, self.until, self.written = path, until, 0.0
        self.counts = {"passed": 0, "failed": 0, "skipped": 0, "collected": 0, "failures": []}

    def pytest_collection_finish(self, session):
        self.counts["collected"] = len(session.items)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
        if report.failed:
            self.counts["failures"].append(f"{report.nodeid}: {str(report.longrepr)[-400:]}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node, ids):
        self.counts["collected"] = len(ids)

    def pytest_runtest_logfinish(self, nodeid, location):
        self.write()  # so that a run that is killed has counted
        if time.time() > self.until:
            # pytest-xdist hands the tests out by itself, and looks at a mark of its own.
            ends = self.session.config.pluginmanager.getplugin("dsession") or self.session
            ends.shouldstop = "no time is left"

    def pytest_sessionstart(self, session):
        self.session = session

    def pytest_sessionfinish(self, session):
        self.write(every=0)

    def write(self, every=5):
        if time.time() - self.written >= every:
            self.written = time.time()
            self.path.write_text(json.dumps(self.counts))


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # of pytest-xdist: the process that starts the others does the counting
        path, until = Path(os.environ["BRAZEN_GPU_COUNTS"]), float(os.environ["BRAZEN_GPU_UNTIL"])
        config.pluginmanager.register(Counting(path, until), "brazen-counting")
