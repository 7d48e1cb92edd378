"""DeepSparse runs in an environment of its own, behind a pipe; a package of its name stands in for it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from sparsemark import engines
from sparsemark.engines import deep_sparse
from sparsemark.errors import UnsupportedError
from tests.engines.sources import artifact_without_export, onnx_source

FAKE = """
import os
import numpy as np
__version__ = os.environ.get("FAKE_VERSION", "1.8.0")
class Engine:
    fraction_of_supported_ops = float(os.environ.get("FAKE_SUPPORTED", "1"))
    def __init__(self, model, batch_size, num_cores):
        print("a banner")
        import onnx
        model = onnx.load(model)
        self.about = [model.ir_version, model.opset_import[0].version, batch_size, num_cores, os.getpid()]
        if "FAKE_ERROR" in os.environ:
            raise RuntimeError(os.environ["FAKE_ERROR"])
    def run(self, inputs):
        (image,) = inputs
        if image.flat[0] == 13:
            os._exit(3)
        silent = [os.environ[name] for name in ("NM_DISABLE_ANALYTICS", "ORT_DISABLE_TELEMETRY")]
        return [image * 2, image.sum(axis=(1, 2, 3)), np.array(self.about), np.array(silent == ["True", "1"])]
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Opt in to an interpreter whose DeepSparse doubles its input and says what it was given."""
    package = tmp_path / "site" / "deepsparse"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv(deep_sparse.PYTHON, sys.executable)
    monkeypatch.setenv(deep_sparse.LICENCE, "accepted")
    return onnx_source(tmp_path, [helper.make_node("Relu", ["x"], ["y"])]).path


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid, seconds=10):
    until = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.mark.parametrize(
    ("python", "licence", "reason"),
    [
        (None, None, "opt-in: set SPARSEMARK_DEEPSPARSE_PYTHON to .* and SPARSEMARK_DEEPSPARSE_LICENCE=accepted"),
        (None, "accepted", "opt-in: set SPARSEMARK_DEEPSPARSE_PYTHON to .* deepsparse==1.8.0"),
        ("no-such-python", "accepted", "SPARSEMARK_DEEPSPARSE_PYTHON names no program"),
        (sys.executable, None, "opt-in: set SPARSEMARK_DEEPSPARSE_LICENCE=accepted once you have read its licence"),
        (sys.executable, "yes", "opt-in: set SPARSEMARK_DEEPSPARSE_LICENCE=accepted once you have read its licence"),
    ],
)
def test_deepsparse_says_how_to_opt_in(python, licence, reason, monkeypatch):
    for name, value in ((deep_sparse.PYTHON, python), (deep_sparse.LICENCE, licence)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(subprocess, "Popen", pytest.fail)
    with pytest.raises(UnsupportedError, match=f"deepsparse: {reason}"):
        engines.load(artifact_without_export("deepsparse"), "deepsparse", 1)


def test_deepsparse_answers_through_the_pipe_and_ends_when_it_is_let_go(fake, capfd):
    predict = deep_sparse.load(fake, 1)
    image = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    doubled, total, about, silent = predict(image)
    np.testing.assert_array_equal(predict(image + 1)[0], 2 * image + 2)
    np.testing.assert_array_equal(doubled, 2 * image)
    assert (doubled.dtype, total.tolist(), silent.item()) == (np.float32, [image.sum()], True)
    assert about.tolist()[:4] == [8, 17, 1, 1], "IR, opset, batch, threads"
    with pytest.raises(ValueError, match="expected"):
        predict(image[:, :1])
    assert is_alive(about[4])
    del predict
    gc.collect()
    assert not is_alive(about[4])
    assert capfd.readouterr() == ("", "")


def test_deepsparse_runs_where_its_caller_is_timed(fake):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    pid = deep_sparse.load(fake, 1)(np.zeros((1, 2, 4, 4), np.float32))[2][4]
    before = sorted(os.sched_getaffinity(0))
    predict = deep_sparse.load(fake, 1)
    child = int(predict(np.zeros((1, 2, 4, 4), np.float32))[2][4])
    assert child != pid
    assert os.sched_getaffinity(child) == {before[-1]}
    assert sorted(os.sched_getaffinity(0)) == before


def test_deepsparse_that_dies_is_an_error_and_no_wait(fake):
    predict = deep_sparse.load(fake, 1)
    with pytest.raises(RuntimeError, match="its process has ended"):
        predict(np.full((1, 2, 4, 4), 13, np.float32))
    with pytest.raises((RuntimeError, OSError)):
        predict(np.zeros((1, 2, 4, 4), np.float32))


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("FAKE_ERROR", "no such\noperator", "deepsparse: RuntimeError: no such operator"),
        ("FAKE_VERSION", "1.9.0", "deepsparse: SPARSEMARK_DEEPSPARSE_PYTHON has version 1.9.0, expected 1.8.0"),
        ("FAKE_SUPPORTED", "0", "deepsparse: it runs no operator of this network itself"),
        ("PYTHONPATH", "", "deepsparse: ModuleNotFoundError: No module named 'deepsparse'"),
        (deep_sparse.PYTHON, "false", "deepsparse: its process ended with 1 before it answered"),
    ],
)
def test_deepsparse_that_does_not_start_is_one_line(variable, value, reason, fake, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UnsupportedError) as caught:
        deep_sparse.load(fake, 1)
    assert str(caught.value) == reason


def test_deepsparse_ends_with_the_process_that_started_it(fake):
    code = (
        "import os, sys, signal, numpy as np\nfrom pathlib import Path\nfrom sparsemark.engines import deep_sparse\n"
        "predict = deep_sparse.load(Path(sys.argv[1]), 1)\n"
        "print(predict(np.zeros((1, 2, 4, 4), np.float32))[2][4], flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folders = [os.environ["PYTHONPATH"], str(Path(engines.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, "-c", code, fake], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == -9, done.stderr
    assert ends(int(done.stdout))
