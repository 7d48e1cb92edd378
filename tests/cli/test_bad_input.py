"""A caller's mistake is one line that names the file or option and what was expected, and exit code 2."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from sparsemark.cli import main
from sparsemark.formats import FORMATS
from sparsemark.networks.onnx_model import onnx_inputs
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.specs import InputSpec, Protocol
from tests.synthetic import accuracy, cell
from tests.toy_study.place import benchmarks, journal_keys, place

SOURCE = Path(__file__).parents[2] / "src"

NETWORKS = """
import torch
from torch import nn
def build(): return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.LazyLinear(2))
def fits_eight(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
def needs_width(width): return nn.Linear(width, 1)
def fails(): raise RuntimeError("out of\\nluck")
def leaves(): raise SystemExit(7)
def makes_a_list(): return [1, 2]
NUMBER = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with a file of networks in it."""
    monkeypatch.chdir(tmp_path)
    Path("networks.py").write_text(NETWORKS)
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Call the command line and return its one line on stderr."""

    def call(*arguments, code=2):
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line.strip()]
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.out + captured.err
        assert lines[0].startswith(f"sparsemark {arguments[0]}: ")
        return lines[0]

    return call


@pytest.fixture
def refused_by_argparse(capsys):
    """The same for what argparse finds: usage, then the error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        assert exit_.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return call


@pytest.fixture
def quick(monkeypatch):
    """Few calls, no warm-up, no export: these tests are not about time."""
    absent = dataclasses.replace(FORMATS["onnx"], requires=("a_package_nobody_has",))
    monkeypatch.setitem(FORMATS, "onnx", absent)
    few = Protocol(pairs=2, block=2, warmup_calls=1, warmup_seconds=0.0, images=2)
    monkeypatch.setattr(Protocol, "of_rounds", lambda rounds, threads: few)


def process(*arguments, stdout=subprocess.PIPE):
    """The command in a process of its own, as a user starts it."""
    command, environment = (
        [sys.executable, "-m", "sparsemark.cli", *arguments],
        os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    return subprocess.run(command, check=False, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def measured(monkeypatch):
    """Names of the cells that were timed."""
    from sparsemark.study.pipeline import Pipeline

    names = []
    plain = Pipeline.measure

    def measure(self, cell, *more):
        names.append(cell.name)
        return plain(self, cell, *more)

    monkeypatch.setattr(Pipeline, "measure", measure)
    return names


# --- the study file


def study(text: str = "", **replaced: str) -> Path:
    """A study file in the working directory: the toy study, with lines replaced and text added."""
    path = place(Path.cwd()) / "toy.toml"
    content = path.read_text()
    for old, new in replaced.items():
        line = next(line for line in content.splitlines() if line.startswith(f"{old} = "))
        content = content.replace(line, new, 1)
    path.write_text(content + text)
    return path


def test_there_is_no_such_study(here, refused):
    assert "nowhere.toml: cannot be read" in refused("run", "nowhere.toml")


def test_the_study_is_a_folder(here, refused):
    assert f"{here}: cannot be read" in refused("run", here)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b'name = "a"\nname = "b"'])
def test_the_study_is_not_toml(content, here, refused):
    Path("bad.toml").write_bytes(content)
    assert "bad.toml: not TOML" in refused("run", "bad.toml")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"text": "[extra]\n"}, "extra: unknown field 'extra'"),
        ({"text": "[[prune]]\nsparsty = [0.5]\n"}, "sparsty: unknown field 'sparsty'; did you mean 'sparsity'?"),
        ({"pairs": "pears = 6"}, "protocol.pears: unknown field 'pears'; did you mean 'pairs'?"),
        ({"reference": 'refrence = "network.py:build"'}, "model[0].refrence: unknown field"),
        ({"reference": ""}, "model[0].reference: missing"),
        ({"name": ""}, "name: missing, expected text"),
        ({"name": 'name = "a/b"'}, "name: 'a/b', expected letters"),
        ({"name": "name = 3"}, "name: 3, expected text"),
        ({"text": '[[prune]]\nmethod = "none"\nmodel = ["tyo"]\n'}, "model: unknown model 'tyo'; did you mean 'toy'?"),
        ({"text": '[[prune]]\nmethod = "none"\nmodel = "toy"\n'}, "model: 'toy', expected a list"),
        ({"method": 'method = "magnitud"'}, "prune[0].method: unknown pruner 'magnitud'; did you mean 'magnitude'?"),
        ({"engines": 'engines = ["torhc"]'}, "prune[0].engines: unknown engine 'torhc'; did you mean 'torch'?"),
        ({"controls": 'controls = ["onnx"]'}, "prune[0].controls: unknown engine 'onnx'; did you mean 'onnxruntime'?"),
        ({"sparsity": "sparsity = [1.0]"}, "prune[1]: sparsity 1 of 'magnitude': expected a fraction in [0, 1)"),
        ({"sparsity": "sparsity = [-0.1]"}, "prune[1]: sparsity -0.1"),
        ({"sparsity": "sparsity = [nan]"}, "prune[1]: sparsity nan"),
        ({"sparsity": "sparsity = 0.5"}, "prune[1].sparsity: 0.5, expected a list"),
        ({"sparsity": 'sparsity = ["half"]'}, "prune[1].sparsity[0]: 'half', expected a number"),
        ({"sparsity": ""}, "prune[1].sparsity: missing"),
        ({"sparsity": "sparsity = [0.5]\nround_to = 8"}, "prune[1]: round_to 8 of 'magnitude': expected none, only"),
        ({"pairs": "pairs = 0"}, "protocol pairs 0: expected a whole number from 1"),
        ({"pairs": "pairs = 2.5"}, "protocol.pairs: 2.5, expected a whole number"),
        ({"warmup_seconds": "warmup_seconds = nan"}, "protocol.warmup_seconds: nan, expected a number from 0"),
        ({"input": "input = [1, 0, 16, 16]"}, "(1, 0, 16, 16): expected positive sizes"),
        ({"input": 'input = "1,1,16,16"'}, "model[0].input: '1,1,16,16', expected a list"),
        ({"hooks": "hooks = 1"}, "hooks: 1, expected text"),
        ({"text": '[[model]]\nname = "toy"\nreference = "a.py:b"\ninput = [1]\n'}, "[1].name: 'toy' is there twice"),
    ],
)  # fmt: skip
def test_the_study_names_the_field_and_what_was_expected(changed, named, here, refused):
    line = refused("run", study(**changed))
    assert "toy.toml: " in line
    assert named in line
    assert not Path("toy.log").exists(), "nothing is trained before the whole file is understood"


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", "at least one [[model]]"), ("model = []", "at least one [[model]]"), ("model = 3", "a list")],
)
def test_the_study_has_no_model(content, expected, here, refused):
    Path("empty.toml").write_text(f'name = "x"\n{content}')
    line = refused("run", "empty.toml")
    assert "model: " in line
    assert f"expected {expected}" in line


def test_images_for_a_study_without_hooks(here, refused):
    assert "toy names no hooks" in refused("run", study(hooks=""), "--data", "images")


def test_the_hooks_are_not_there(here, refused):
    assert "nowhere.py: no such file" in refused("run", study(hooks='hooks = "nowhere.py:open"'))


def test_a_foreign_checkpoint_lies_where_a_studys_weights_should(here, refused):
    path = study()
    weights = Path("models/weights/toy-dense-seed0.safetensors")
    weights.parent.mkdir(parents=True)
    save_file({"weight": np.zeros(3, np.float32)}, weights)
    assert f"{weights}: header.sparsemark: missing" in refused("run", path)
    weights.write_bytes(b"12345")
    assert f"{weights}: damaged, or not safetensors" in refused("run", path)


# --- the user's own model


def bench(reference, *more):
    return ("bench", reference, "--json", "out.json", *more)


@pytest.mark.parametrize(
    ("prune", "named"),
    [
        ("magnitude:1", "sparsity 1 of 'magnitude': expected a fraction in [0, 1)"),
        ("magnitude:90", "sparsity 90 of 'magnitude'"),
        ("magnitude:-0.1", "sparsity -0.1 of 'magnitude'"),
        ("magnitude:nan", "sparsity nan of 'magnitude'"),
        ("magnitude", "--prune 'magnitude': expected METHOD:SPARSITY"),
        ("magnitude:", "--prune 'magnitude:': expected METHOD:SPARSITY"),
        ("magnitude:half", "--prune 'magnitude:half': expected METHOD:SPARSITY"),
        ("channels:0.5:x", "--prune 'channels:0.5:x': expected METHOD:SPARSITY"),
        ("magnitude:0.5:8", "round_to 8 of 'magnitude': expected none, only methods that remove channels"),
        ("channels:0.5:0", "round_to 0 of 'channels': expected a whole number from 1"),
        ("magnitud:0.5", "unknown pruner 'magnitud'; did you mean 'magnitude'?"),
        (":0.5", "unknown pruner ''"),
        ("none:0.5", "sparsity 0.5 of 'none'"),
    ],
)
def test_a_prune_option_is_malformed(prune, named, here, refused):
    assert named in refused(*bench("networks.py:build", "--prune", prune))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--engine", "torch", "--engine", "onxruntime"), "unknown engine 'onxruntime'; did you mean 'onnxruntime'?"),
        (("--rounds", "0"), "rounds 0: expected a whole number from 1"),
        (("--threads", "0"), "threads 0: expected a whole number from 1"),
        (("--input", "1,0,4,4"), "input shape (1, 0, 4, 4): expected positive sizes"),
    ],
)
def test_an_option_is_out_of_range_before_anything_is_measured(more, named, here, refused):
    assert named in refused(*bench("networks.py:build", *more))
    assert not list(Path.cwd().glob("out.json*"))


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("networks.py", "'networks.py': expected file.py:factory, package.module:factory or model.onnx"),
        ("networks.py:", "'networks.py:': expected file.py:factory"),
        ("nowhere.py:build", "nowhere.py: no such file"),
        ("nowhere.module:build", "nowhere.module: importing it failed: ModuleNotFoundError"),
        ("broken.py:build", "broken.py: importing it failed: ZeroDivisionError"),
        ("unparsable.py:build", "unparsable.py: importing it failed: SyntaxError"),
        ("networks.py:biuld", "networks.py: unknown factory 'biuld'; did you mean 'build'?"),
        ("networks.py:NUMBER", "networks.py:NUMBER: expected something to call, found int"),
        ("networks.py:needs_width", "networks.py:needs_width: the factory needs width"),
        ("networks.py:fails", "networks.py:fails: the factory failed: RuntimeError: out of luck"),
        ("networks.py:leaves", "networks.py:leaves: the factory failed: SystemExit: 7"),
        ("networks.py:makes_a_list", "expected the factory to return a torch.nn.Module, got list"),
    ],
)  # fmt: skip
def test_a_factory_cannot_be_used(reference, named, here, refused):
    Path("broken.py").write_text("1 / 0\n")
    Path("unparsable.py").write_text("def build(:\n")
    assert named in refused(*bench(reference, "--input", "1,3,8,8"))


def test_an_input_shape_does_not_fit_and_the_network_says_why(here, refused):
    line = refused(*bench("networks.py:fits_eight", "--input", "1,3,9,9"))
    assert "networks.py:fits_eight: input 1,3,9,9 does not fit this network" in line
    assert "192" in line, "what the network said"


def test_an_onnx_file_is_missing_damaged_or_of_another_shape(here, refused):
    assert "nowhere.onnx: cannot be read: No such file" in refused(*bench("nowhere.onnx"))
    assert "nowhere.onnx: cannot be read: No such file" in refused(*bench("nowhere.onnx", "--input", "1,3,8,8"))
    Path("damaged.onnx").write_bytes(b"\x08\xff not protobuf")
    assert "damaged.onnx: expected an ONNX model" in refused(*bench("damaged.onnx"))
    assert "damaged.onnx: expected an ONNX model" in refused(*bench("damaged.onnx", "--input", "1,3,8,8"))
    Path("empty.onnx").write_bytes(b"")
    assert "empty.onnx: " in refused(*bench("empty.onnx"))


@pytest.mark.parametrize(
    ("sizes", "declared"),
    [(("n", 3, "h", "w"), "any,3,any,any"), ((1, 3, 8, None), "1,3,8,any"), ((), "no sizes")],
)
def test_an_onnx_file_leaves_more_than_the_batch_open(sizes, declared, here, refused):
    save_identity(sizes)
    line = refused(*bench("open.onnx"))
    assert line.endswith(f"open.onnx: declares an input of {declared}; say which sizes with --input")


def test_an_open_batch_is_one(here):
    save_identity(("n", 3, 8, 8))
    assert onnx_inputs("open.onnx") == (InputSpec((1, 3, 8, 8)),)


def save_identity(sizes):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "open", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), "open.onnx")


@pytest.mark.parametrize(
    ("option", "value"), [("--input", "1,three"), ("--input", ""), ("--rounds", "many"), ("--threads", "1.5")]
)
def test_an_option_is_not_a_number(option, value, here, refused_by_argparse):
    assert f"argument {option}: " in refused_by_argparse(*bench("networks.py:build", option, value))


def test_the_result_file_must_be_named(here, refused_by_argparse):
    assert "--json" in refused_by_argparse("bench", "networks.py:build")


def test_a_command_is_unknown(refused_by_argparse):
    assert "COMMAND" in refused_by_argparse("bnech")


@pytest.mark.parametrize("out", ["file/out.json", "folder"])
def test_the_result_cannot_be_written_and_nothing_is_measured_in_vain(out, here, refused, quick, measured):
    Path("file").touch()
    Path("folder").mkdir()
    line = refused("bench", "networks.py:build", "--input", "1,3,8,8", "--json", out)
    assert f"{out}: cannot be written" in line
    assert measured == []


# --- result files


@pytest.fixture
def run_file(here):
    Run((cell(scores=accuracy(0.9)),)).save(Path("run.json"))
    return Path("run.json")


def info(document):
    return document["benchmarks"][0]["extra_info"]


def foreign(change) -> bytes:
    document = json.loads(Path("run.json").read_bytes())
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (lambda: b"", "expected JSON"),
        (lambda: Path("run.json").read_bytes()[:1000], "expected JSON"),
        (lambda: b"\xff\xfe\x00", "expected JSON"),
        (lambda: b"[" * 100_000, "expected JSON"),
        (lambda: b"<html></html>", "expected JSON"),
        (lambda: b"[1, 2]", "benchmarks: expected the list"),
        (lambda: b'{"benchmarks": {}}', "benchmarks: expected the list"),
        (lambda: b'{"benchmarks": [1, null]}', "no entry has extra_info.schema"),
        (lambda: foreign(lambda d: info(d).clear()), "no entry has extra_info.schema"),
        (lambda: foreign(lambda d: info(d).update(schema=99)), "extra_info.schema is 99"),
        (lambda: foreign(lambda d: info(d).update(status="fine")), "extra_info.status is 'fine'"),
        (lambda: foreign(lambda d: info(d).update(accuracy="high")), "extra_info.accuracy is 'high'"),
        (lambda: foreign(lambda d: d["benchmarks"][0]["stats"].update(data="fast")), "stats.data"),
        (lambda: foreign(lambda d: d["benchmarks"][0]["stats"].update(data=[-1.0])), "stats.data holds -1.0"),
        (lambda: foreign(lambda d: d.update(machine_info="mine")), "machine_info is str"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["report", "compare", "gate"])
def test_a_result_file_cannot_be_used(command, content, named, run_file, refused):
    Path("bad.json").write_bytes(content())
    before = {"report": (), "compare": (run_file,), "gate": ("--baseline", run_file)}[command]
    line = refused(command, *before, "bad.json")
    assert "bad.json: " in line
    assert named in line


@pytest.mark.parametrize("command", [("report",), ("compare", "run.json"), ("gate", "--baseline", "run.json")])
def test_a_result_file_is_missing(command, run_file, refused):
    assert "nowhere.json: cannot be read: No such file" in refused(*command, "nowhere.json")
    assert ": cannot be read: Is a directory" in refused(*command, ".")


def test_a_journal_without_a_whole_line_is_refused(here, refused):
    Path("torn.jsonl").write_bytes(b'{"key": "a", "bench')
    assert "torn.jsonl: expected lines of sparsemark's journal" in refused("report", "torn.jsonl")


def test_a_report_format_is_unknown(run_file, refused):
    assert "--format 'pdf': expected one of table, markdown, csv, html" in refused(
        "report", run_file, "--format", "pdf"
    )


def test_a_report_cannot_be_written(run_file, refused):
    Path("file").touch()
    assert "file/report.md: cannot be written" in refused("report", run_file, "--output", "file/report.md")


needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@needs_full_disk
def test_the_disk_is_full_where_a_report_should_go(run_file, refused):
    line = refused("report", run_file, "--format", "markdown", "--output", "/dev/full")
    assert "/dev/full: cannot be written: No space left on device" in line
    assert Path("/dev/full").is_char_device()


@needs_full_disk
def test_the_disk_is_full_where_stdout_goes(run_file):
    with Path("/dev/full").open("wb") as full:
        done = process("report", "run.json", stdout=full)
    assert (done.returncode, done.stderr) == (2, "sparsemark report: No space left on device\n")


def test_a_closed_pipe_is_no_error(run_file):
    read, write = os.pipe()
    os.close(read)
    done = process("report", "run.json", "--format", "csv", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_a_result_may_go_to_an_open_file_and_nothing_is_left_beside_it(here, quick):
    with Path("out.json").open("wb") as file:
        name = f"/dev/fd/{file.fileno()}"
        assert main(["bench", "networks.py:build", "--input", "1,3,8,8", "--engine", "torch", "--json", name]) == 0
    assert [row["name"] for row in benchmarks(Path("out.json"))] == ["build-dense-seed0-torch"]
    assert not Path(f"{name}.unfinished.jsonl").exists()


# --- a full disk in the middle of a measurement


CELLS = ["build-dense-seed0-torch", "build-magnitude50-seed0-torch", "build-magnitude90-seed0-torch"]
TWO_MASKS = ("--prune", "magnitude:0.5", "--prune", "magnitude:0.9")
THREE_CELLS = bench("networks.py:build", "--input", "1,3,8,8", "--engine", "torch", *TWO_MASKS)


def test_the_disk_is_full_for_the_journal_and_what_was_measured_stays(here, refused, quick, measured, monkeypatch):
    """The third line is torn; the next run takes the first two and measures the third cell alone."""
    journal = Path("out.json.unfinished.jsonl")

    def no_space(descriptor):
        if len(journal_keys(journal)) == 3:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - 20)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("sparsemark.records.checked_lines.os", SimpleNamespace(write=os.write, fsync=no_space))
        line = refused(*THREE_CELLS)
    assert f"{journal}: cannot be written: No space left on device" in line
    assert measured == CELLS
    assert not Path("out.json").exists()
    assert len(journal_keys(journal)) == 2

    measured.clear()
    assert main(THREE_CELLS) == 0
    assert measured == CELLS[2:]
    assert [row["name"] for row in benchmarks(Path("out.json"))] == CELLS
    assert not journal.exists()


def test_the_disk_is_full_for_the_result_and_what_was_measured_stays(here, refused, quick, measured, monkeypatch):
    plain = Path.replace

    def no_space(self, target):
        if Path(target).name == "out.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_space)
        assert "out.json: cannot be written: No space left on device" in refused(*THREE_CELLS)
    assert sorted(path.name for path in Path.cwd().glob("*out.json*")) == ["out.json.unfinished.jsonl"]

    measured.clear()
    assert main(THREE_CELLS) == 0
    assert measured == []
    assert [row["name"] for row in benchmarks(Path("out.json"))] == CELLS


def test_an_older_result_survives_a_failed_write(here, refused, monkeypatch):
    Run((cell(),)).save(Path("out.json"))
    before = Path("out.json").read_bytes()

    def no_space(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", no_space)
    assert "cannot be written" in refused("report", "out.json", "--format", "csv", "--output", "out.json")
    assert Path("out.json").read_bytes() == before


# --- as a user sees it, in a process of its own


@pytest.mark.parametrize("arguments", [("run", "nowhere.toml"), ("bench", "nowhere.py:build", "--json", "out.json")])
def test_no_traceback_reaches_the_terminal(arguments, here):
    done = process(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert arguments[1].partition(":")[0] in done.stderr


def test_a_row_without_status_is_named_by_its_place(here, refused):
    Run((cell(), Measurement("broken", "error", "no reason"))).save(Path("run.json"))
    document = json.loads(Path("run.json").read_bytes())
    (broken,) = document["sparsemark"]["unmeasured"]
    del broken["name"], broken["extra_info"]["cell"]
    Path("run.json").write_text(json.dumps(document))
    assert "run.json: sparsemark.unmeasured[0]: 'name' is missing" in refused("report", "run.json")
