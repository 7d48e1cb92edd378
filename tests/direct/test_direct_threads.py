"""Several threads for one image, several callers of one network; interrupts, forks and the end of the process."""

from __future__ import annotations

import _thread
import dataclasses
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import sparsemark
from sparsemark.direct.runtime import runner
from sparsemark.direct.runtime.runner import Runner
from tests.direct.checks import (
    alike,
    chain,
    noise,
    opened,
    pyramid,
)
from tests.direct.graphs import (
    Prepared,
    expected,
)


def test_same_answer_from_one_two_and_three_threads():
    for graph in (chain(5), chain(2, 5, (3, 70)), *(pyramid(),)):
        prepared = Prepared(graph)
        image = noise(*graph.input_shape)
        for choices in prepared.ways():
            answers = [prepared.runner(choices, threads)(image) for threads in (1, 2, 3)]
            for others in answers[1:]:
                for one, other in zip(answers[0], others, strict=True):
                    np.testing.assert_array_equal(one, other)


def test_threads_have_equal_shares_and_a_caller_without_helpers_does_them_all():
    """In a process that can be ended: who waits for a share that nobody takes waits for ever."""
    code = (
        "import numpy as np\n"
        "from sparsemark.direct import isa\n"
        "from sparsemark.direct.runtime.runner import Runner\n"
        "from tests.direct.checks import noise, pyramid\n"
        "from tests.direct.graphs import Prepared\n"
        "prepared, threads = Prepared(pyramid()), 3\n"
        "for choices in prepared.ways():\n"
        "    program = prepared.program(choices, threads)\n"
        "    outputs = tuple(tensor for tensor, _ in prepared.lowered.outputs)\n"
        "    wanted = Runner(prepared.program(choices), 1)(noise(1, 3, 32, 32), outputs)\n"
        "    run = Runner(program, threads)\n"
        "    run._wakes = []\n"
        "    for one, other in zip(run(noise(1, 3, 32, 32), outputs), wanted, strict=True):\n"
        "        np.testing.assert_array_equal(one, other)\n"
        "    *shares, done = (run._counters[:, : threads + 1, 0] - [1, 1, 1, 0]).T\n"
        "    units, groups = program.table[:, [isa.UNITS, isa.GROUPS]].T\n"
        "    parts = np.where(groups < threads, units, groups)\n"
        "    assert (sum(shares) == units).all() and (done == units).all()\n"
        "    most = -(-parts // threads) * (units // np.maximum(parts, 1))\n"
        "    assert (np.max(shares, axis=0) <= most).all(), (shares, most)\n"
    )
    source, root = Path(sparsemark.__file__).parents[1], Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(root)])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_callers_at_once_both_get_their_own_answer(threads, no_contest, quick):
    graph = chain(4)
    run = opened(graph, threads)
    images = [noise(*graph.input_shape, seed=n) for n in range(8)]
    answers = [run(image)[0] for image in images]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            for got, alone in zip(pool.map(lambda image: run(image)[0], images), answers, strict=True):
                np.testing.assert_array_equal(got, alone)


def test_two_callers_that_plan_at_once(no_contest, quick):
    graph = chain(2)
    run = opened(dataclasses.replace(graph, input_shape=None), 2)
    images = [noise(1, 4, 5 + n % 3, 9, seed=n) for n in range(12)]
    with ThreadPoolExecutor(3) as pool:
        for image, got in zip(images, pool.map(run, images), strict=True):
            alike(got, expected(graph, image))


def test_threads_and_memory_of_a_network_go_with_it():
    """Who loads one network after the other keeps neither the threads nor the arenas of those that are gone."""
    prepared = Prepared(chain(2))
    before = set(threading.enumerate())
    run = Runner(prepared.program(next(prepared.ways()), 3), 3)
    run(noise(1, 4, 12, 20))
    watched = weakref.ref(run)
    del run
    for _ in range(100):
        gc.collect()
        if watched() is None and not set(threading.enumerate()) - before:
            break
        time.sleep(0.01)
    assert watched() is None
    assert not set(threading.enumerate()) - before


class InterruptsOnce:
    """A lock; Ctrl-C comes right after it was released for the first time."""

    def __init__(self, lock):
        self.lock, self.released = lock, False

    def locked(self):
        return self.lock.locked()

    def release(self):
        self.lock.release()
        if not self.released:
            self.released = True
            time.sleep(0.02)  # the helper is on its way
            raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["waking", "at work", "waiting"])
def test_call_that_is_interrupted_leaves_no_thread_in_the_next_one(moment, interruptible, monkeypatch):
    """A helper still at work for an earlier call would take work, and memory, of a later one.

    Ctrl-C comes to the caller while it wakes the helper, while it does its own share, or once that is done and the
    helper is still at work.
    """
    prepared = Prepared(chain(2))
    run = Runner(prepared.program(next(prepared.ways()), 2), 2)
    image, caller, interrupted, at_work = noise(1, 4, 12, 20), threading.get_ident(), [], set()

    def interrupt(*, by_caller):
        if moment != "waking" and not interrupted and by_caller == (moment == "at work"):
            interrupted.append(True)
            _thread.interrupt_main()

    def execute(*arguments):
        if threading.get_ident() == caller:
            while not at_work:
                time.sleep(0.001)
            interrupt(by_caller=True)
            return
        at_work.add(threading.get_ident())
        time.sleep(0.05)
        interrupt(by_caller=False)
        time.sleep(0.15)
        at_work.discard(threading.get_ident())

    monkeypatch.setattr(run, "_execute", execute)
    if moment == "waking":
        monkeypatch.setattr(run, "_wakes", [InterruptsOnce(lock) for lock in run._wakes])
    with pytest.raises(KeyboardInterrupt):
        run(image)
    assert not at_work
    for _ in range(3):
        run(image)
        assert not at_work


def test_call_that_was_left_open_by_an_interrupt_is_closed_by_the_next_one():
    """Between two lines of a call nothing can hold an interrupt off: the next call tidies up."""
    prepared = Prepared(chain(2))
    run = Runner(prepared.program(next(prepared.ways()), 2), 2)
    image = noise(1, 4, 12, 20)
    (wanted,) = run(image, (prepared.lowered.outputs[0][0],))
    run._open = True
    runner._wake(run._wakes)
    for _ in range(20):
        (got,) = run(image, (prepared.lowered.outputs[0][0],))
        np.testing.assert_array_equal(got, wanted)
        assert not run._open
        assert not run._busy


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_process_runs_too():
    """A fork takes none of the threads along, and nobody may wait for them there."""
    prepared = Prepared(chain(2))
    run = prepared.runner(next(prepared.ways()), 2)
    image = noise(1, 4, 12, 20)
    wanted = run(image)[0]
    child = os.fork()
    if not child:
        try:
            os._exit(0 if np.array_equal(run(image)[0], wanted) else 1)
        finally:
            os._exit(2)
    status = 0
    for _ in range(2000):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("hangs")
    assert status == 0
    np.testing.assert_array_equal(run(image)[0], wanted)


def test_helpers_do_nothing_when_the_process_ends():
    """What is left to do at exit takes a while; a runner that was never called has no image that could be read."""
    code = (
        "import atexit, os, time\n"
        "atexit.register(time.sleep, 0.5)\n"
        "from sparsemark.direct.runtime.runner import Runner\n"
        "from tests.direct.checks import chain\n"
        "from tests.direct.graphs import Prepared\n"
        "prepared = Prepared(chain(1))\n"
        "run = Runner(prepared.program(next(prepared.ways()), 3), 3)\n"
        "run._execute = lambda *arguments: os.write(1, b'at work')\n"
    )
    source, root = Path(sparsemark.__file__).parents[1], Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(root)])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == ""
