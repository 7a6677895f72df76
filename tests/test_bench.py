# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark harness at tiny sizes: every operation once, its JSON, its refusals, its comparison and its report."""

import copy
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import brazen
import numpy as np
import pytest
from brazen import bench
from brazen.bench import activations, bars, compare, results, tables
from brazen.bench.case import Side, WrongResult
from brazen.bench.session import Session, Sizes, items
from brazen.bench.timing import Effort, fastest, geometric_mean, interleaved
from brazen.bench.workloads import workloads

ROOT = Path(__file__).resolve().parent.parent
BRIEF = Effort(rounds=1, seconds=0.0005, calls=1, settle=0.0)
TINY = Sizes(stream=16384, cache=4096, call=1000, line=(256, 512), workloads=False)


def script(name):
    """A file of bench/ as a module."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def session():
    return Session(["reference"], sizes=TINY, effort=BRIEF)


@pytest.fixture(scope="module")
def data(session):
    """Every operation, direction and kind but the import, measured once."""
    rows = [session.row(item) for item in session.items() if item[3] != "import"]
    return results.check(results.document(session, rows))


def test_every_operation_becomes_a_row(data):
    rows = {kind: [row for row in data["rows"] if (row["kind"] == "workload") == kind] for kind in (False, True)}
    assert {(row["case"], row["direction"]) for row in rows[True]} == {
        key for key, workload in workloads().items() if workload.runnable
    }
    measured = {(row["case"].partition(".")[0], row["direction"]) for row in rows[False]}
    assert measured == {(name, direction) for name in brazen.activations() for direction in ("forward", "backward")}
    expected = {
        "stream": "copy_fraction",
        "half": "of_float32",
        "cache": None,
        "call": "of_numpy_maximum",
        "workload": "of_copy",
    }
    for row in data["rows"]:
        assert expected[row["kind"]] is None or row["metrics"][expected[row["kind"]]] > 0, row
    assert all(row["metrics"]["reference"] > 0 for row in data["rows"] if row["kind"] == "stream")


def test_bytes_are_what_must_move(data):
    by = {results.key(row): row for row in data["rows"]}
    n = TINY.stream
    for case, direction, dtype, kind, expected in [
        ("gelu", "forward", "float32", "stream", 8 * n),
        ("gelu", "backward", "float32", "stream", 12 * n),
        ("gelu", "forward", "float16", "half", 4 * n),
        ("linear", "backward", "float32", "stream", 8 * n),
        ("swiglu", "forward", "float32", "stream", 6 * n),
        ("swiglu", "backward", "float32", "stream", 10 * n),
    ]:
        assert by[case, direction, dtype, kind]["bytes"] == expected, (case, direction)


def test_results_survive_the_file(data, tmp_path):
    path = tmp_path / "machine.json"
    results.save(path, data)
    assert results.load(path) == json.loads(json.dumps(data))
    assert not list(tmp_path.glob("*.part"))
    results.record_build(path, {"wheel_megabytes": 3.5})
    kept = results.merge(results.load(path), {**data, "rows": data["rows"][:1]})
    assert len(kept["rows"]) == len(data["rows"]) + 1
    assert bars.judge(next(bar for bar in bars.BARS if bar.key == "wheel"), kept["rows"]).met


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(schema=7), "schema is 7"),
        (lambda data: data.pop("copy"), "copy is NoneType"),
        (lambda data: data["rows"][3].pop("metrics"), "row 3: metrics"),
        (lambda data: data["rows"][0].update(kind="?"), "kind is '?'"),
        (lambda data: data["rows"][0]["metrics"].update(l1_ns=float("nan")), "l1_ns is nan"),
    ],
)
def test_a_file_of_another_shape_is_refused(data, change, message):
    changed = copy.deepcopy(data)
    change(changed)
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        results.check(changed)


def test_no_host_name_and_no_path_go_in(data):
    text = json.dumps(data)
    assert os.uname().nodename not in text or len(os.uname().nodename) < 3
    assert str(Path.home()) + "/" not in text
    assert "/" not in results.machine_name(data["machine"])


GELU, GELU_TANH = brazen.gelu, brazen.gelu_tanh


class Wrong:
    """A brazen.gelu that is wrong in one way, for the harness to refuse."""

    def __init__(self, fault):
        self.fault = fault

    def __call__(self, x, out=None):
        if self.fault == "unwritten":
            GELU(x[:-1], out=out[:-1])
        elif self.fault == "other":
            GELU_TANH(x, out=out)
            out *= 1.001
        elif self.fault == "last":
            GELU(x, out=out)
            out[-1, -1] += 1
        return out

    backward = staticmethod(GELU.backward)


@pytest.mark.parametrize("fault", ["unwritten", "other", "last"])
def test_a_wrong_result_is_refused_before_a_clock_runs(monkeypatch, session, fault):
    monkeypatch.setattr(brazen, "gelu", Wrong(fault))
    with pytest.raises(WrongResult, match="gelu forward float32: "):
        session.row(("gelu", "forward", "float32", "stream"))


def test_a_wrong_result_ends_the_command(monkeypatch, capsys):
    monkeypatch.setattr(brazen, "gelu", Wrong("other"))
    assert bench.main(["gelu", "--quick", "--elements", "4096", "--peer", "reference"]) == 1
    assert "wrong result: gelu forward" in capsys.readouterr().err


def test_the_command_writes_and_merges(tmp_path, capsys):
    path = tmp_path / "run.json"
    for name in ("relu", "maxout"):
        assert bench.main([name, "--quick", "--elements", "4096", "--peer", "reference", "--json", str(path)]) == 0
    assert {row["case"] for row in results.load(path)["rows"]} == {"relu", "maxout"}
    shown = capsys.readouterr().out
    assert "fraction of B" in shown and "maxout" in shown and "What was asked" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobenius"], "unknown operation frobenius; the operations are adabelief"),
        (["relu", "--peer", "frobenius"], "unknown peer frobenius; the peers are reference, torch"),
        (["--peer", "relu"], "--peer relu names no peer; the peers are reference, torch"),
        (["relu", "--json", "nowhere/run.json"], "--json: the folder nowhere does not exist"),
        (["relu", "--plot", "nowhere/run.png"], "--plot: the folder nowhere does not exist"),
        (["relu", "--elements", "3"], "--elements is 3; expected at least 4096"),
        (["relu", "--compare", "nowhere.json"], "nowhere.json"),
    ],
)
def test_arguments_that_cannot_be_meant(capsys, arguments, message):
    assert bench.main([*arguments, *([] if "--peer" in arguments else ["--peer", "reference"])]) == 2
    assert message in capsys.readouterr().err


def test_operations_may_stand_after_the_peers():
    from brazen.bench import cli

    given = cli.parse(["--peer", "reference", "gelu", "prelu.channels"])
    assert given.peer == ["reference"] and given.op == ["gelu", "prelu.channels"]
    given = cli.parse(["relu", "--peer", "torch", "gelu"])
    assert given.peer == ["torch"] and given.op == ["relu", "gelu"]


def test_an_absent_peer_is_named_with_what_installs_it(monkeypatch):
    from brazen.bench import peers

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    present, absent = peers.choose(["torch", "jax"])
    assert present == [] and absent == [
        "torch: not installed; pip install 'brazen[peers]'",
        "jax: not installed; pip install 'brazen[jax]'",
    ]


def test_pytorch_runs_with_huge_pages(tmp_path):
    """Also where a process has already imported PyTorch with its slow allocator: it is run again."""
    pytest.importorskip("torch", reason="PyTorch is not installed; pip install 'brazen[peers]'")
    path = tmp_path / "torch.json"
    code = f"import torch, sys; from brazen import bench; sys.exit(bench.main(['gelu', '--quick', '--elements', '8192', '--peer', 'torch', '--json', {str(path)!r}]))"
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    rows = results.load(path)["rows"]
    gelu = next(row for row in rows if row["case"] == "gelu" and row["kind"] == "stream")
    assert {"torch_preallocated", "torch_allocating"} <= set(gelu["metrics"])
    assert "nn.gelu" in gelu["how"]["torch_preallocated"]


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", activations.names())
def test_pytorch_computes_the_same(name, direction):
    """A peer that computes something else would be a meaningless ratio."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install 'brazen[peers]'")
    from brazen.bench import peers

    with torch.inference_mode():
        peers.start(["torch"], 1)
        case = activations.make(name, direction, activations.Workspace(4096, "float32", 1), ("torch",))
        ours = case.ours["allocating"]()
        for column in case.peers.get("torch", {}).values():
            for side in column:
                value = side()
                if isinstance(value, torch.Tensor):
                    np.testing.assert_allclose(value.numpy(), ours, rtol=2e-3, atol=1e-4, err_msg=str(side))
        torch.set_grad_enabled(True)


def test_a_degraded_file_fails_the_comparison(data, tmp_path, capsys):
    worse = copy.deepcopy(data)
    row = next(row for row in worse["rows"] if row["kind"] == "stream")
    row["metrics"]["copy_fraction"] *= 0.85
    row["metrics"]["of_roof"] *= 1.05
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    results.save(before, data)
    results.save(after, worse)
    main = script("compare").main
    assert main([str(before), str(before)]) == 0
    assert main([str(after), str(before)]) == 0  # better is not a failure
    assert main([str(before), str(after)]) == 1
    assert "copy_fraction was" in capsys.readouterr().out
    assert main(["nowhere.json", str(before)]) == 2


def test_a_suspicious_ratio_is_measured_again(data):
    worse = copy.deepcopy(data)
    worse["rows"][0]["metrics"]["copy_fraction"] *= 0.5
    by = {results.key(row): row for row in data["rows"]}
    asked = []

    def again(which):
        asked.append(which)
        return by[which]

    assert compare.drops(data, worse) and not compare.confirmed(data, worse, again)
    assert asked == [results.key(worse["rows"][0])]
    bad = {results.key(row): row for row in worse["rows"]}
    assert compare.confirmed(data, worse, lambda which: bad[which])


def test_the_report_is_the_same_twice(data, tmp_path):
    folder, document = tmp_path / "results", tmp_path / "page.md"
    results.save(folder / "here.json", data)
    report = script("report")
    document.write_text(
        "".join(f"# {name}\n<!-- bench:{name} -->\nSTALE\n<!-- /bench -->\nprose\n" for name in report.BLOCKS)
    )
    arguments = [str(document), "--results", str(folder)]
    assert report.main([*arguments, "--check"]) == 1
    assert report.main(arguments) == 0
    once = document.read_text()
    assert "STALE" not in once and once.count("prose") == len(report.BLOCKS) and "| gelu |" in once
    assert report.main(arguments) == 0 and document.read_text() == once
    assert report.main([*arguments, "--check"]) == 0
    results.save(folder / "there.json", data)
    assert report.main(arguments) == 2  # which of the two?


def test_the_documents_are_current():
    assert script("report").main(["--check"]) == 0, "run python bench/report.py"


def test_the_plot_is_drawn(data, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; pip install 'brazen[demo]'")
    from brazen.bench.plot import roofline

    roofline(data, tmp_path / "roof.png")
    assert (tmp_path / "roof.png").stat().st_size > 10_000


def test_bars_judge_each_and_means():
    def row(case, **metrics):
        return {"case": case, "direction": "forward", "dtype": "float32", "kind": "stream", "metrics": metrics}

    rows = [row("a", of_roof=1.0, reference=20.25), row("b", of_roof=1.2, reference=4.0)]
    by = {bar.key: bar for bar in bars.BARS}
    roof = bars.judge(by["roof"], rows)
    assert not roof.met and roof.value == 1.2 and [bars.label(miss) for miss in roof.misses] == ["b"]
    mean = bars.judge(by["reference-mean"], rows)
    assert mean.met and mean.value == pytest.approx(9.0) and not mean.misses
    assert bars.judge(by["cache"], rows).met is None


def test_a_side_runs_its_statement_and_nothing_else():
    log = []
    side = Side("log.append(1)", "log.append(0)", log=log)
    side.loop(2)
    assert log == [1, 1]
    rounds = interleaved([side, Side("None")], Effort(rounds=2, seconds=0.001, calls=3, settle=0.0))
    assert len(rounds) == 2 and all(len(seconds) == 2 for seconds in rounds)
    assert log.count(0) >= 6
    slow, quick = Side("sleep(0.002)", sleep=__import__("time").sleep), Side("None")
    assert fastest([slow, quick]) is quick
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_the_items_are_the_registry():
    names = {item[0].partition(".")[0] for item in items() if item[3] == "stream"}
    assert names == set(brazen.activations())


def test_the_demo_prints_every_activation(capsys, monkeypatch):
    from brazen.demo import activations as demo

    assert demo.main(elements=8192) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name} " in shown for name in brazen.activations())


def test_import_brings_in_no_peer_and_little_time():
    from brazen.bench.session import import_time

    assert import_time(1)["extra_ms"] < 1000  # the bar of 30 ms is judged where the machine is quiet


def test_tables_align():
    assert tables.text((["a", "b"], [["long name", "1.0"]])) == "a            b\nlong name  1.0"
    assert tables.markdown((["a", "b"], [["x", "1"]])) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_keras_on_jax_takes_the_same_steps(run_python):
    """Both ways lower the loss of one batch; JAX with what Keras compiles is there only where both are installed."""
    if not all(importlib.util.find_spec(name) for name in ("keras", "jax")):
        pytest.skip("Keras and JAX are not installed: pip install 'brazen[keras,jax]'")
    said = run_python(
        """
import numpy as np
from brazen.bench import keras_peer, peers
present, absent = peers.choose(["keras"])
peers.start(present, 1)
random = np.random.default_rng(0)
x, labels = random.standard_normal((64, 20), dtype=np.float32), random.integers(0, 4, 64)
for side in keras_peer.training_step(x, labels, (32, 4)):
    first = float(side())
    for _ in range(60):
        last = float(side())
    print(side.note, last < 0.9 * first)
""",
        timeout=300,
    )
    assert said.count("True") == 2 and "train_on_batch" in said, said
