# SPDX-License-Identifier: BSD-3-Clause
"""Every operation measured, and every bar judged: `make bench`. A wrong result fails; a missed bar is reported."""

import pytest
from brazen.bench.bars import BARS, label
from brazen.bench.bars import judge as verdict_on
from brazen.bench.session import half_dtypes, items

ITEMS = list(items(half=half_dtypes()))


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: "-".join(part for part in item if part).replace(" ", "-"))
def test_measure(item, run, judge, benchmark):
    if run.session.quick and item not in set(run.session.items()):
        pytest.skip("not part of a quick run")
    row = run.measure(item)
    benchmark.extra_info.update(op=label(row), bytes=row.get("bytes"), kind=row["kind"], **row["metrics"])
    if row["kind"] == "import":
        benchmark.pedantic(lambda: None, rounds=1)
    else:
        benchmark.pedantic(run.session.main_side(item), rounds=3, warmup_rounds=1)
    missed = [
        f"{bar.text}: asked {bar.asked:g}, measured {row['metrics'][bar.metric]:.3g}"
        for bar in BARS
        if not bar.mean and bar.rows([row]) and not bar.holds(row["metrics"][bar.metric])
    ]
    if missed:
        judge("; ".join(missed))


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.key)
def test_bar(bar, run, judge):
    verdict = verdict_on(bar, run.data()["rows"])
    if verdict.value is None:
        pytest.skip("not measured")
    if not verdict.met:
        names = ", ".join(f"{label(row)} {row['metrics'][bar.metric]:.3g}" for row in verdict.misses)
        judge(f"{bar.text}: asked {bar.asked:g}, measured {verdict.value:.3g}" + (f"; {names}" if names else ""))
