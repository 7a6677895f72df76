# SPDX-License-Identifier: BSD-3-Clause
"""The pool among processes, threads and signals: fork in all its forms, many callers at once, SIGINT, environment, affinity.

It catches a child that waits for threads it does not have, a pool two callers share by accident, a lost signal, a GIL that
is never released, and settings that are ignored without a word.
"""

import hashlib
import multiprocessing
import os
import threading
import time

import brazen as bz
import numpy as np
import pytest
from brazen import _core

PARALLEL = 2_000_000  # elements: enough work to wake every thread
SECONDS = 10  # a process that takes longer hangs


def _work(seed=0):
    """Parallel elementwise calls and a parallel sum; the hash of all bits."""
    x = np.random.default_rng(seed).normal(0, 3, PARALLEL).astype("float32")
    dx, dalpha = bz.prelu.backward(x, x, np.full(1, 0.25, "float32"))
    return hashlib.sha256(bz.gelu(x).tobytes() + dx.tobytes() + dalpha.tobytes()).hexdigest()


def _answer(queue, seed):
    queue.put(_work(seed))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_start_methods(method):
    bz.set_num_threads(3)
    expected = _work()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    start = time.monotonic()
    children = [context.Process(target=_answer, args=(queue, 0)) for _ in range(2)]
    for child in children:
        child.start()
    answers = [queue.get(timeout=SECONDS) for _ in children]
    for child in children:
        child.join(SECONDS)
        assert child.exitcode == 0
    assert answers == [expected] * 2 and time.monotonic() - start < SECONDS
    assert _work() == expected, "the parent's pool works on"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pool(method):
    bz.set_num_threads(2)
    start = time.monotonic()
    expected = [_work(seed) for seed in range(4)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(_work, range(4)).get(timeout=SECONDS) == expected
    assert time.monotonic() - start < 2 * SECONDS


@pytest.mark.timeout(60)
def test_fork_while_another_thread_computes():
    """The child is born while the pool is busy; it must not wait for the region it will never see the end of."""
    bz.set_num_threads(3)
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [_work() for _ in iter(stop.is_set, True)])
    expected = _work(5)
    busy.start()
    try:
        for _ in range(5):
            context = multiprocessing.get_context("fork")
            queue = context.SimpleQueue()
            child = context.Process(target=_answer, args=(queue, 5))
            child.start()
            child.join(SECONDS)
            assert child.exitcode == 0, "the forked child hangs"
            assert queue.get() == expected
    finally:
        stop.set()
        busy.join()


@pytest.mark.timeout(60)
def test_a_forked_child_has_workers_of_its_own(run_python):
    """Its parent's are not there: a child that took them for its own would compute alone from then on."""
    script = """
import os, test_processes as t
import brazen as bz
bz.set_num_threads(3)
t._work()
if (child := os.fork()) == 0:
    before = len(os.listdir("/proc/self/task"))
    t._work()
    os._exit(0 if before == 1 and len(os.listdir("/proc/self/task")) == 3 else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run_python(script, timeout=2 * SECONDS) == "0"


@pytest.mark.timeout(60)
def test_fork_of_a_fork(run_python):
    script = """
import os, test_processes as t
import brazen as bz
bz.set_num_threads(3)
want = t._work()
if (child := os.fork()) == 0:
    if (grandchild := os.fork()) == 0:
        os._exit(0 if t._work() == want else 1)
    os._exit(os.waitpid(grandchild, 0)[1] or t._work() != want)
print(os.waitpid(child, 0)[1], t._work() == want)
"""
    assert run_python(script, timeout=2 * SECONDS) == "0 True"


@pytest.mark.timeout(120)
def test_eight_python_threads_at_once():
    """Every operation family, each thread with data of its own, against the serial bits; instruction set untouched."""
    bz.set_num_threads(2)
    arrays = [np.random.default_rng(seed).normal(0, 3, 300_000).astype("float32") for seed in range(8)]
    alpha = np.full(1, 0.25, "float32")

    def digest(x):
        parts = [
            bz.gelu(x),
            bz.tanh.backward(x, x),
            bz.swiglu(x),
            bz.maxout.backward(x[::2], x),
            bz.relu(x[:100]),
            *bz.prelu.backward(x, x, alpha),
        ]
        return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()

    expected = [digest(x) for x in arrays]
    wrong, barrier = [], threading.Barrier(8)

    def call(number):
        barrier.wait()
        for _ in range(15):
            if digest(arrays[number]) != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_thread_count_may_change_during_calls():
    x = np.random.default_rng(0).normal(0, 3, 400_000).astype("float32")
    expected, stop = bz.silu(x).tobytes(), threading.Event()

    def change():
        for k in range(10**9):
            if stop.is_set():
                return
            bz.set_num_threads(1 + k % 9)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        assert all(bz.silu(x).tobytes() == expected for _ in range(60))
    finally:
        stop.set()
        changer.join()


def test_the_gil_is_released_on_big_arrays():
    """A second Python thread makes progress during one long call."""
    bz.set_num_threads(1)
    x = np.ones(60_000_000, "float32")
    out = np.empty_like(x)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    time.sleep(0.05)
    before, start = counted[0], time.monotonic()
    _core.Kernel("math.sin")(x, out)
    seconds, made = time.monotonic() - start, counted[0] - before
    stop.set()
    counter.join()
    assert seconds > 0.02, "too short a call to tell"
    assert made >= 3, f"{made} steps of 1 ms during {seconds * 1e3:.0f} ms"


@pytest.mark.timeout(60)
def test_interrupts_are_answered_at_once(run_python):
    """SIGINT in a loop of calls, from another process' point of view."""
    script = """
import os, signal, threading, time
import numpy as np, brazen as bz
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
bz.set_num_threads(2)
x = np.ones(1_000_000, "float32")
sent = [0.0]
def send():
    time.sleep(0.5)
    sent[0] = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=send).start()
try:
    while True:
        bz.gelu(x, out=x)
except KeyboardInterrupt:
    print(round((time.monotonic() - sent[0]) * 1000))
"""
    assert float(run_python(script, timeout=2 * SECONDS)) < 200


def test_environment_of_the_thread_count(run_python):
    script = "import brazen as bz; print(bz.num_threads())"
    assert run_python(script, env={"BRAZEN_NUM_THREADS": "3"}) == "3"
    assert (
        run_python(
            "import brazen as bz; bz.set_num_threads(5); bz.set_num_threads(None); print(bz.num_threads())",
            env={"BRAZEN_NUM_THREADS": "3"},
        )
        == "3"
    )
    cpus = len(os.sched_getaffinity(0))
    for unset in ("", "0"):
        assert 1 <= int(run_python(script, env={"BRAZEN_NUM_THREADS": unset})) <= cpus


@pytest.mark.parametrize("value", ["many", "-2", "2.5", "3 threads"])
def test_a_thread_count_that_is_none_is_an_error(run_python, value):
    done = run_python("import brazen as bz; bz.num_threads()", env={"BRAZEN_NUM_THREADS": value}, check=False)
    assert done.returncode != 0 and "BRAZEN_NUM_THREADS" in done.stderr and value in done.stderr


def test_affinity(run_python):
    script = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import test_processes as t, brazen as bz
from brazen import _core
print(bz.num_threads(), _core.available_cpus(), t._work())
"""
    assert run_python(script, timeout=2 * SECONDS, env={"BRAZEN_NUM_THREADS": ""}).split() == ["1", "1", _work()]


@pytest.mark.parametrize("name", _core.isas())
def test_environment_of_the_instruction_set(run_python, name):
    script = "import brazen as bz, test_processes as t; print(bz.info()['isa'], t._work())"
    assert run_python(script, env={"BRAZEN_ISA": name}).split() == [name, _work()]


def test_an_unknown_instruction_set_is_an_error(run_python):
    for script in ("import brazen as bz, numpy as np; bz.relu(np.ones(3))", "import brazen as bz; bz.info()"):
        done = run_python(script, env={"BRAZEN_ISA": "avx9"}, check=False)
        assert (
            done.returncode != 0 and "instruction set 'avx9' is not one this build and machine can run" in done.stderr
        )


def test_importing_imports_no_heavy_library(run_python):
    script = "import sys, brazen; print(*(m for m in ('cupy', 'torch', 'matplotlib', 'scipy', 'ml_dtypes', 'jax') if m in sys.modules))"
    assert run_python(script) == ""
