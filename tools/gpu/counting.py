# SPDX-License-Identifier: BSD-3-Clause
"""A plugin of pytest for step suite: counts outcomes, ends the run in time, writes both to BRAZEN_GPU_COUNTS."""

import json
import os
import time
from pathlib import Path


class Counting:
    def __init__(self, path, until):
        self.path, self.until = path, until
        self.counts = {"passed": 0, "failed": 0, "skipped": 0, "collected": 0, "failures": []}

    def pytest_collection_finish(self, session):
        self.counts["collected"] = len(session.items)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
        if report.failed:
            self.counts["failures"].append(f"{report.nodeid}: {str(report.longrepr)[-400:]}")

    def pytest_runtest_logfinish(self, nodeid, location):
        if time.time() > self.until:
            self.session.shouldstop = "no time is left"

    def pytest_sessionstart(self, session):
        self.session = session

    def pytest_sessionfinish(self, session):
        self.path.write_text(json.dumps(self.counts))


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # of pytest-xdist: the process that starts the others does the counting
        path, until = Path(os.environ["BRAZEN_GPU_COUNTS"]), float(os.environ["BRAZEN_GPU_UNTIL"])
        config.pluginmanager.register(Counting(path, until), "brazen-counting")
