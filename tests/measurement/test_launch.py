"""A launch: what a fresh process loads, checks and returns, and how its failures come back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsemark import engines
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.measurement import launch as launching
from sparsemark.measurement.launch import HERE as HERE_
from sparsemark.measurement.launch import InTurnError, LaunchError, Place, launch, launch_in_turn
from sparsemark.measurement.launch_data import CHECKED, LaunchData
from sparsemark.measurement.parity import ParityError
from sparsemark.networks.reference import Reference
from sparsemark.specs import Cell, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from tests.toy_study.place import HERE

FEW = Protocol(pairs=3, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    shutil.copy(HERE / "network.py", folder)
    return folder


@pytest.fixture(scope="module")
def jobs(work):
    """Jobs of the toy network by engine; each checked in this process, as a study does."""
    model = ModelSpec("toy", f"{work / 'network.py'}:build", (1, 1, 16, 16))
    pipeline = Pipeline(lambda variant: None, FEW, Places(work / "weights", work), 0)

    def make(engine):
        cell = Cell(Variant(model, Pruning.of("magnitude", 0.5)), engines.ENGINES[engine].formats[0], engine)
        checked = pipeline.check(cell)
        assert checked.job is not None, checked.row.reason
        return checked.job

    return {engine: make(engine) for engine in ("onnxruntime", "torch")}


def test_raw_seconds_come_back_in_blocks_with_the_memory_of_the_candidate(jobs):
    found = launch(jobs["onnxruntime"], 60)
    assert (len(found.timing.samples_s), len(found.timing.reference_s)) == (6, 6)
    assert all(seconds > 0 for seconds in found.timing.samples_s + found.timing.reference_s)
    assert found.timing.block == 2
    assert 10e6 < found.peak_rss_bytes < 1e9


def test_only_what_the_engines_need_is_loaded(jobs):
    """torch in the process changes threads, memory and caches of whatever is timed beside it."""
    job = jobs["onnxruntime"]
    script = (
        "import sys, msgspec\n"
        "from sparsemark.measurement.launch import Job\nfrom sparsemark.measurement.worker import run\n"
        "run(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))\n"
        "print([name for name in ('torch', 'onnx', 'scipy', 'pandas', 'rich', 'numba') if name in sys.modules])\n"
    )
    import msgspec

    found = subprocess.run(
        [sys.executable, "-c", script], input=msgspec.json.encode(job), capture_output=True, check=True
    )
    assert found.stdout.decode().split("\n")[-2] == "[]"


def test_another_file_than_the_one_that_was_checked_is_not_timed(jobs, tmp_path):
    side = jobs["onnxruntime"].candidate
    copy = tmp_path / "network.onnx"
    copy.write_bytes(Path(side.path).read_bytes()[:-1] + b"\0")
    changed = replace(jobs["onnxruntime"], candidate=replace(side, path=str(copy)))
    with pytest.raises(UserError, match="changed since it passed the parity check"):
        launch(changed, 60)
    copy.unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        launch(changed, 60)


def test_what_does_not_agree_there_is_not_timed(jobs, tmp_path):
    """The same bytes, checked here; another process computes something else, as another plan might."""
    job = jobs["onnxruntime"]
    side = job.candidate
    data, name = LaunchData.load(Path(side.data)), side.outputs
    wrong = replace(data, outputs={**data.outputs, name: tuple(2 * one + 1 for one in data.outputs[name])})
    wrong.save(tmp_path / "wrong.npz")
    with pytest.raises(ParityError, match="allowed 1e-05"):
        launch(replace(job, candidate=replace(side, data=str(tmp_path / "wrong.npz"))), 60)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 torn"])
def test_damaged_data_is_one_line(jobs, tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    side = replace(jobs["onnxruntime"].candidate, data=str(path))
    with pytest.raises(UserError, match=rf"^{path}: cannot be read: [^\n]*; run the same command again$"):
        launch(replace(jobs["onnxruntime"], candidate=side), 60)


def test_an_engine_that_cannot_be_loaded_there_is_unsupported(jobs):
    side = replace(jobs["onnxruntime"].candidate, engine="scipy-csr")
    with pytest.raises((UnsupportedError, UserError, LaunchError)):
        launch(replace(jobs["onnxruntime"], candidate=side), 60)


def _standing_in(monkeypatch, tmp_path, source):
    """Have launches run this program in place of the worker."""
    script = tmp_path / "worker.py"
    script.write_text(source)
    real = subprocess.Popen

    def popen(command, **options):
        return real([sys.executable, str(script), *command[4:]], **options)

    monkeypatch.setattr(launching.subprocess, "Popen", popen)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the process was ended by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the process was ended by SIGKILL"),
        ("import sys; print('low', file=sys.stderr); sys.exit(3)", "the process ended with code 3: low"),
        ("pass", "the process ended with code 0"),
    ],
)
def test_a_crash_says_how_it_ended(jobs, tmp_path, monkeypatch, source, expected):
    _standing_in(monkeypatch, tmp_path, source)
    with pytest.raises(LaunchError) as caught:
        launch(jobs["onnxruntime"], 60)
    assert str(caught.value) == expected


def test_a_hang_is_killed(jobs, tmp_path, monkeypatch):
    _standing_in(
        monkeypatch,
        tmp_path,
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)",
    )
    with pytest.raises(LaunchError, match="no answer within 2 s"):
        launch(jobs["onnxruntime"], 2)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists() or sys.platform != "linux"


@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupt_while_reading_begins_ends_the_launch(begun, jobs, monkeypatch):
    """The process waits for its job, which nobody writes any more, and the reader for the end of the process."""
    plain = threading.Thread.start

    def start(thread):
        if begun:
            plain(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        launch(jobs["onnxruntime"], 60)


def test_two_launches_take_turns_and_return_blocks_that_were_neighbours(jobs):
    made = launch_in_turn((jobs["onnxruntime"], jobs["onnxruntime"]), 60)
    first, second = (one.in_turn for one in made)
    assert first.block == second.block
    assert len(first.samples_s) == len(second.samples_s) >= 12 * first.block
    assert all(len(one.timing.samples_s) == 6 and one.peak_rss_bytes > 10e6 for one in made)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("dies", "said"), [(True, "was ended by SIGKILL"), (False, "no answer within 5 s")])
def test_of_two_launches_the_one_that_failed_is_named(jobs, tmp_path, which, dies, said):
    """The other one sees only that its partner is gone, or waits for it."""
    end = "os.kill(os.getpid(), 9)" if dies else "time.sleep(600)"
    places = [HERE_, HERE_]
    places[which] = Failing(tmp_path, end)
    with pytest.raises(InTurnError, match=said) as caught:
        launch_in_turn((jobs["onnxruntime"], jobs["onnxruntime"]), 60 if dies else 5, places=tuple(places))
    assert caught.value.which == which


class Failing(Place):
    """Where a launch reads its job and ends, or hangs."""

    def __init__(self, folder, end):
        super().__init__()
        object.__setattr__(self, "script", folder / "worker.py")
        self.script.write_text(f"import os, sys, time\nsys.stdin.read()\n{end}\n")

    def command(self, answer):
        return [sys.executable, str(self.script)]


def test_notices_reach_the_reader_and_other_lines_do_not(jobs, tmp_path, monkeypatch):
    _standing_in(
        monkeypatch, tmp_path, "import sys; print('sparsemark: waiting', file=sys.stderr); print('x', file=sys.stderr)"
    )
    said = []
    with pytest.raises(LaunchError, match="code 0: x"):
        launch(jobs["onnxruntime"], 60, said.append)
    assert said == ["waiting"]


def test_a_killed_command_leaves_no_process_behind(jobs, tmp_path):
    """SIGKILL of the command: the kernel ends the launch with it."""
    import msgspec

    script = (
        "import sys, msgspec\nfrom dataclasses import replace\nfrom sparsemark.measurement.launch import Job, launch\n"
        "job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)\n"
        "launch(replace(job, protocol=replace(job.protocol, warmup_seconds=60.0)), 60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    parent.stdin.write(msgspec.json.encode(jobs["onnxruntime"]))
    parent.stdin.close()
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 60
    while not (found := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (child,) = map(int, found)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


# --- data


def test_data_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((2, 3)).astype(np.float32), rng.integers(0, 9, (2, 1))) for _ in range(12)]
    outputs = (rng.standard_normal((24, 5)), rng.standard_normal((12, 1)))
    order = tuple(int(i) for i in rng.permutation(12))
    steps = (0.25, 1e-9)
    references = {
        "net": Reference(outputs, order),
        "net-int8": Reference(outputs, order, steps=steps, moved=(0.5, 0.0)),
    }
    data = LaunchData.of(batches[:3], batches, references)
    data.save(tmp_path / "data.npz")
    again = LaunchData.load(tmp_path / "data.npz")
    for before, after in ((batches[:3], again.timed), ([batches[i] for i in order[:CHECKED]], again.checked)):
        for one, other in zip(before, after, strict=True):
            for array, same in zip(one, other, strict=True):
                np.testing.assert_array_equal(array, same)
                assert array.dtype == same.dtype
    reference = again.reference("net")
    assert (reference.steps, reference.moved) == ((), ())
    assert (again.reference("net-int8").steps, again.reference("net-int8").moved) == (steps, (0.5, 0.0))
    np.testing.assert_array_equal(reference.outputs[0], outputs[0][: 2 * CHECKED])
    np.testing.assert_array_equal(reference.outputs[1], outputs[1][:CHECKED])
    assert reference.chosen == (0, 1, 2, 3)
