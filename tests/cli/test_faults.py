"""A full disk, a second process, damaged files, signals: one line, and nothing that was measured is lost."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import sparsemark
from sparsemark import paths
from sparsemark.cli import exits, main
from sparsemark.engines import ENGINES
from sparsemark.errors import UnsupportedError
from sparsemark.formats import FORMATS
from sparsemark.machine.fingerprint import machine_name
from sparsemark.machine.locks import only_process
from sparsemark.machine.temporary import PREFIX
from sparsemark.records.measurement import ERROR, MEASURED, UNSUPPORTED
from sparsemark.specs import Protocol
from tests.toy_study.place import benchmarks, journal_keys, place

SOURCE = Path(sparsemark.__file__).parents[1]
NETWORKS = """
from torch import nn
def build(): return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(180, 2))
"""
BENCH = ("bench", "networks.py:build", "--input", "1,3,8,8", "--engine", "torch", "--json", "out.json")
MASKED = (*BENCH, "--prune", "magnitude:0.5")
NAMES = ["build-dense-seed0-torch", "build-magnitude50-seed0-torch"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with a network in it; few calls, no export."""
    monkeypatch.chdir(tmp_path)
    Path("networks.py").write_text(NETWORKS)
    absent = dataclasses.replace(FORMATS["onnx"], requires=("a_package_nobody_has",))
    monkeypatch.setitem(FORMATS, "onnx", absent)
    few = Protocol(pairs=2, block=2, warmup_calls=1, warmup_seconds=0.0, images=2)
    monkeypatch.setattr(Protocol, "of_rounds", lambda rounds, threads: dataclasses.replace(few, threads=threads))
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Call the command line and return its one line on stderr."""

    def call(*arguments):
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line.strip()]
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.out + captured.err
        return lines[0]

    return call


@pytest.fixture
def broken(monkeypatch):
    """Have an engine fail on files with these letters in their names: `broken("torch", error, "magnitude")`."""

    def spoil(name, error, letters=""):
        engine = ENGINES[name]

        def load(path, threads):
            if letters in path.name:
                raise error
            return engine.load(path, threads)

        monkeypatch.setitem(ENGINES, name, dataclasses.replace(engine, load=load))

    return spoil


def statuses(path="out.json"):
    return {row["name"]: row["extra_info"]["status"] for row in benchmarks(Path(path))}


# --- a measured cell is never lost


def test_a_bench_that_loses_a_measured_cell_keeps_the_earlier_file_and_exits_2(here, broken, refused):
    assert main(MASKED) == 0
    before = Path("out.json").read_bytes()
    broken("torch", RuntimeError("no kernel"), "magnitude")
    line = refused(*MASKED)
    assert line == (
        f"sparsemark bench: out.json: 1 cell was measured earlier and not now: {NAMES[1]} (error: "
        "RuntimeError: no kernel; its result is kept in out.previous.json)"
    )
    assert statuses() == {NAMES[0]: MEASURED, NAMES[1]: ERROR}
    assert Path("out.previous.json").read_bytes() == before
    assert refused(*MASKED) == line, "until it is measured again"


def test_a_cell_that_is_unsupported_now_is_said_and_kept_and_no_failure(here, broken, capsys):
    """As where a package is missing that was there before."""
    assert main(MASKED) == 0
    before = Path("out.json").read_bytes()
    broken("torch", UnsupportedError("no operator"), "magnitude")
    capsys.readouterr()
    assert main(MASKED) == 0
    assert f"1 cell was measured earlier and not now: {NAMES[1]} (unsupported: no operator" in capsys.readouterr().out
    assert statuses() == {NAMES[0]: MEASURED, NAMES[1]: UNSUPPORTED}
    assert Path("out.previous.json").read_bytes() == before


def test_a_run_that_loses_a_measured_cell_keeps_the_earlier_file_and_exits_2(tmp_path, broken, monkeypatch, capsys):
    monkeypatch.chdir(place(tmp_path))
    assert main(["run", "toy.toml"]) == 0
    result = paths.run(machine_name(), "toy")
    before = result.read_bytes()
    paths.journal(paths.study_work("toy")).unlink()
    broken("torch", RuntimeError("no kernel"))
    capsys.readouterr()
    assert main(["run", "toy.toml"]) == 2
    captured = capsys.readouterr()
    assert "cells were measured earlier and not now: toy-" in captured.err.splitlines()[-1]
    assert captured.out.splitlines()[-1].startswith("not everything was measured: 4 error of ")
    assert result.with_name("toy.previous.json").read_bytes() == before
    assert set(statuses(result).values()) == {MEASURED, ERROR}


def test_the_last_line_names_the_cell_that_broke(here, broken, capsys):
    broken("torch", RuntimeError("no kernel"), "magnitude")
    assert main(MASKED) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"not everything was measured: 1 error of 2; the first: {NAMES[1]}: RuntimeError: no kernel"


# --- resumption is said


def test_what_was_taken_from_the_journal_is_said(here, capsys, monkeypatch):
    from sparsemark.study.pipeline import Pipeline

    plain = Pipeline.measure

    def interrupted(self, cell, *more):
        if cell.name == NAMES[1]:
            raise KeyboardInterrupt
        return plain(self, cell, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "measure", interrupted)
        assert main(MASKED) == 130
    assert "taken from" not in capsys.readouterr().out
    assert main(MASKED) == 0
    day = benchmarks(Path("out.json"))[0]["extra_info"]["measured_at"][:10]
    assert f"1 of 2 cells taken from out.json.unfinished.jsonl, measured {day}" in capsys.readouterr().out.splitlines()


def test_a_damaged_line_of_the_journal_is_said_and_measured_again(here, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sparsemark.cli.bench._keep_artifacts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*MASKED, "--artifacts", "kept"]) == 130
    journal = Path("out.json.unfinished.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b'"magnitude"', b'"magnitudo"', 1))
    capsys.readouterr()
    assert main(MASKED) == 0
    captured = capsys.readouterr()
    assert captured.err == f"{journal}: 1 line is damaged and passed over; what stood there is measured again\n"
    assert "1 of 2 cells taken from" in captured.out
    assert set(statuses().values()) == {MEASURED}


# --- the disk is full for the artifacts


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_results_are_there_before_artifacts_and_no_file_is_left_in_part(here, refused):
    """A limit on the size of files: the result is smaller than an artifact."""
    Path("networks.py").write_text(NETWORKS.replace("nn.Linear(180, 2)", "nn.Linear(180, 3000)"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    plain = shutil.copyfile

    def full(source, target):
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
        try:
            return plain(source, target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.copyfile", lambda a, b: full(a, b) if "kept" in str(b) else plain(a, b))
        line = refused(*MASKED, "--artifacts", "kept")
    assert line == ("sparsemark bench: kept/build-dense-seed0.safetensors: cannot be written: File too large")
    assert set(statuses().values()) == {MEASURED}
    assert list(Path("kept").iterdir()) == []
    assert main([*MASKED, "--artifacts", "kept"]) == 0
    assert len(list(Path("kept").iterdir())) == 2
    assert not Path("out.json.unfinished.jsonl").exists()


# --- two processes


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_a_second_bench_for_the_same_file_is_refused(here, refused):
    lock = paths.bench_lock(Path("out.json"))
    with only_process(lock, "sparsemark bench other.py:build --json out.json"):
        line = refused(*BENCH)
    assert line == (
        f"sparsemark bench: out.json.lock: held by process {os.getpid()}: sparsemark bench other.py:build --json "
        "out.json; wait for it to end, or stop it"
    )
    assert not Path("out.json").exists()
    assert main(BENCH) == 0
    assert not lock.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_a_second_run_of_the_same_study_is_refused(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(place(tmp_path))
    with only_process(paths.lock(paths.study_work("toy")), "sparsemark run toy.toml"):
        assert f"held by process {os.getpid()}: sparsemark run toy.toml" in refused("run", "toy.toml")
    assert not Path("toy.log").exists()


# --- what cannot be, is refused before it is tried


def test_more_threads_than_processors(here, refused, monkeypatch):
    monkeypatch.setattr("sparsemark.machine.placement.allowed_cpus", lambda: [0, 1])
    assert refused(*BENCH, "--threads", "64") == (
        "sparsemark bench: --threads 64: this process may use 2 processors; expected at most 2"
    )
    study = place(here) / "toy.toml"
    study.write_text(study.read_text().replace("pairs = 6", "pairs = 6\nthreads = 64"))
    assert "toy.toml: protocol.threads: 64: this process may use 2 processors" in refused("run", "toy.toml")


@pytest.mark.parametrize("sizes", ["1,3,100000000,100000000", "1,99999999999999999999999999"])
def test_an_input_larger_than_the_memory(sizes, here, refused):
    line = refused(*(sizes if one == "1,3,8,8" else one for one in BENCH))
    assert f"--input: 32 inputs of {sizes} take " in line
    assert "expected smaller sizes" in line
    study = place(here) / "toy.toml"
    study.write_text(study.read_text().replace("input = [1, 1, 16, 16]", f"input = [{sizes}]"))
    assert f"toy.toml: model[0].input: an input of {sizes} takes " in refused("run", "toy.toml")


MANY = 40_000
DEEP = {
    "lists": "a = " + "[" * MANY + "]" * MANY,
    "open lists": "a = " + "[" * MANY,
    "tables": "a = " + "{a=" * MANY + "1" + "}" * MANY,
    "keys": "a" + ".a" * 5000 + " = 1",
    "headers": "[a" + ".a" * 5000 + "]",
    "a model": "name = 'x'\n[[model" + ".a" * MANY + "]]",
    "a long value": f"name = 'x'\nmodel = '{'x' * 10**6}'",
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_deep_study_file_is_one_short_line(kind, here, refused):
    Path("deep.toml").write_text(DEEP[kind])
    line = refused("run", "deep.toml")
    assert line.startswith("sparsemark run: deep.toml: ")
    assert len(line) < 500


def identity(sizes=(1, 3, 8, 8)):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("inxx", "outx")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["inxx"], ["outx"], name="node")], "grap", values[:1], values[1:]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def with_tensor(**fields):
    model = identity()
    model.graph.initializer.append(TensorProto(name="weight", **fields))
    return model.SerializeToString()


WHOLE = identity().SerializeToString()
ELSEWHERE = onnx.StringStringEntryProto(key="location", value="no.bin")
BAD = {
    **{
        f"UTF-8 in {name.decode()}": WHOLE.replace(name, b"\xff\xfe" + name[2:])
        for name in (b"inxx", b"outx", b"node", b"grap", b"Identity")
    },
    "cut": WHOLE[: len(WHOLE) // 2],
    "empty": b"",
    "text": b"This is not a network.\n" * 9,
    "zeros": bytes(1000),
    "huge weight": with_tensor(data_type=1, dims=[10**6, 10**6], raw_data=b"1234"),
    "huge weight without data": with_tensor(data_type=1, dims=[10**9, 10**9]),
    "negative size": with_tensor(data_type=1, dims=[-5], raw_data=b"1234"),
    "unknown type": with_tensor(data_type=77, dims=[1], raw_data=b"1234"),
    "huge input": identity((1, 3, 10**8, 10**8)).SerializeToString(),
    "data elsewhere": with_tensor(data_type=1, dims=[1], data_location=1, external_data=[ELSEWHERE]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("more", [(), ("--input", "1,3,8,8")], ids=["", "with a shape"])
def test_a_bad_onnx_file_is_one_line(kind, more, here, refused):
    if (kind, bool(more)) == ("huge input", True):
        pytest.skip("then the shape does not fit, which another test covers")
    Path("bad.onnx").write_bytes(BAD[kind])
    line = refused("bench", "bad.onnx", "--engine", "onnxruntime", "--json", "out.json", *more)
    assert line.startswith("sparsemark bench: bad.onnx: ")
    assert "nothing was measured" not in line
    assert not Path("out.json").exists()


def test_a_folder_called_like_an_onnx_file_is_one_line(here, refused):
    Path("bad.onnx").mkdir()
    assert "bad.onnx: cannot be read: Is a directory" in refused("bench", "bad.onnx", "--json", "out.json")


# --- checkpoints


def test_a_damaged_checkpoint_of_the_users_is_refused_and_one_in_the_work_folder_made_again(
    tmp_path, monkeypatch, refused, capsys
):
    monkeypatch.chdir(place(tmp_path))
    assert main(["run", "toy.toml"]) == 0
    path = paths.checkpoint(paths.WEIGHTS, "toy-magnitude50-seed0")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    capsys.readouterr()
    assert refused("run", "toy.toml").startswith(f"sparsemark run: {path}: damaged: its weights do not have the digest")
    path.write_bytes(whole)
    assert main(["run", "toy.toml"]) == 0


# --- signals


RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sparsemark.cli import main
sys.exit(main(sys.argv[1:]))
"""
TASK = """
import os, subprocess, time
from pathlib import Path
import numpy as np
def images(part): return np.zeros((4, 3, 8, 8), np.float32)
def score(outputs, part):
    if Path("wait").exists():
        Path("child").write_text(str(subprocess.Popen(["sleep", "300"]).pid))
        time.sleep(300)
    return 1.0
"""


def start(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted"), (signal.SIGHUP, 129, "terminated")],
)
def test_a_signal_leaves_neither_child_nor_folder_and_the_command_goes_on(number, code, word, tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "wait").touch()
    command = (*BENCH, "--task", "task.py", "--rounds", "16")
    process = start(tmp_path, *command)
    child = int(wait_for(tmp_path / "child", process))
    assert runs(child)
    assert list((tmp_path / "tmp").glob(f"{PREFIX}*"))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (
        code, "", f"sparsemark bench: {word}; the same command goes on from here\n",
    )  # fmt: skip
    assert not runs(child)
    assert not list((tmp_path / "tmp").glob(f"{PREFIX}*"))
    assert not (tmp_path / "out.json.lock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_terminated_run_goes_on_where_it_was(tmp_path):
    folder = place(tmp_path)
    journal = folder / paths.journal(paths.study_work("toy"))
    process = start(folder, "run", "toy.toml")
    deadline = time.monotonic() + 120
    while len(journal_keys(journal)) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == exits.TERMINATED == 143
    assert err.splitlines()[-1] == "sparsemark run: terminated; the same command goes on from here"
    done = journal_keys(journal)
    again = start(folder, "run", "toy.toml")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    where = re.escape(str(paths.journal(paths.study_work("toy"))))
    assert re.search(rf"^{len(done)} of 6 cells taken from {where}, measured \d", out, re.MULTILINE)
    assert journal_keys(journal)[: len(done)] == done
    result = json.loads((folder / paths.run(machine_name(), "toy")).read_bytes())
    assert len(result["benchmarks"]) == 6


@pytest.mark.parametrize("swallow", [ImportError("half imported"), SystemExit(1)])
def test_an_interrupt_that_a_library_made_another_error_of_is_an_interrupt(swallow, monkeypatch, capsys, interruptible):
    def execute(options):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise swallow from None

    monkeypatch.setattr("sparsemark.cli.doctor.execute", execute)
    assert main(["doctor"]) == 143
    assert capsys.readouterr().err == "sparsemark doctor: terminated; the same command goes on from here\n"
