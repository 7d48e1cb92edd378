"""Every engine agrees with float64 on every network it accepts, keeps what it has answered, and says what it lacks."""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo.utils
import torch._inductor.config
from onnx import TensorProto, helper

from sparsemark import engines, formats
from sparsemark.engines import ENGINES, deep_sparse, ncnn_net, onnx_runtime, open_vino, torch_compile
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats.base import Artifact, Weights
from sparsemark.measurement import parity
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.reference import float64_outputs
from sparsemark.networks.source import Source
from sparsemark.registry import availability, missing
from sparsemark.specs import ModelSpec, Variant
from tests.small_networks import CASES, artifact, batches, images, reference

ELSEWHERE = {
    "torch-compile": bool(shutil.which(os.environ.get("CXX", "g++"))),
    "deepsparse": not deep_sparse.not_opted_in(),
}
"""Whether there is what an engine needs beside its modules."""

INSTALLED = [name for name, engine in ENGINES.items() if not missing(engine.requires) and ELSEWHERE.get(name, True)]

COMPILED = [("unet", "none"), ("residual", "none")]
"""What torch-compile is tested on: it takes seconds for each network."""

REFUSED = {"deepsparse": {"mobile": "runs no operator", "odd": "No Previous Version of Gelu"}}
"""Networks that an engine does not take, and why."""

AGREEMENT = [
    pytest.param(engine, *case, id="-".join((engine, *case)))
    for engine in INSTALLED
    for case in (COMPILED if engine == "torch-compile" else CASES)
]


def network_of(engine, usual):
    return usual if engine != "torch-compile" or (usual, "none") in COMPILED else COMPILED[0][0]


@functools.cache
def compiled(network, threads):
    return engines.load(artifact(network, "none", "dense"), "torch-compile", threads)


def load(engine, network, prune="none", threads=1):
    if engine == "torch-compile":
        return compiled(network_of(engine, network), threads)
    return engines.load(artifact(network, prune, ENGINES[engine].formats[0]), engine, threads)


@pytest.mark.parametrize(("engine", "network", "prune"), AGREEMENT)
def test_engine_agrees_with_float64(engine, network, prune):
    if network in REFUSED.get(engine, ()):
        with pytest.raises(UnsupportedError, match=REFUSED[engine][network]):
            load(engine, network, prune)
        return
    verified = parity.check(load(engine, network, prune), batches(network), reference(network, prune))
    assert verified.parity.max_rel <= parity.TOLERANCE


@pytest.mark.parametrize("engine", INSTALLED)
def test_answer_is_a_tuple_of_float32_arrays_and_survives_the_next_call(engine):
    predict = load(engine, "unet")
    first, second = images("unet", 2)
    answer = predict(first)
    assert isinstance(answer, tuple)
    assert [output.dtype for output in answer] == [np.float32, np.float32]
    kept = [output.copy() for output in answer]
    again = predict(second)
    assert not np.allclose(again[1], kept[1])
    for output, copy in zip(answer, kept, strict=True):
        np.testing.assert_array_equal(output, copy)


@pytest.mark.parametrize("engine", INSTALLED)
def test_answer_does_not_depend_on_earlier_calls_and_leaves_the_input_alone(engine):
    predict = load(engine, "residual")
    first, second = images("residual", 2)
    before = first.copy()
    answer = predict(first)[0].copy()
    predict(second)
    np.testing.assert_array_equal(predict(first)[0], answer)
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("engine", INSTALLED)
def test_one_engine_answers_two_callers_at_once(engine):
    predict = load(engine, "plain", "magnitude:0.9")
    inputs = images(network_of(engine, "plain"), 8)
    expected = [predict(image)[0].copy() for image in inputs]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            for got, alone in zip(pool.map(lambda image: predict(image)[0], inputs), expected, strict=True):
                np.testing.assert_allclose(got, alone, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("engine", INSTALLED)
def test_more_threads_give_the_same_answer_or_a_reason(engine):
    if engine == "scipy-csr":
        with pytest.raises(UnsupportedError, match="runs on one thread"):
            load(engine, "plain", threads=2)
    else:
        network = network_of(engine, "plain")
        parity.check(load(engine, network, threads=2), batches(network), reference(network, "none"))


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_library_is_a_reason_and_no_import_error(engine, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lacking = ENGINES[engine].requires[0].replace("_", "-")
    some = artifact_without_export(engine)
    with pytest.raises(UnsupportedError, match=f"{lacking} is not installed"):
        engines.load(some, engine, 1)
    rows = {row.name: row.absent for row in availability(ENGINES, "engine")}
    assert rows[engine] == f"{lacking} is not installed"


def artifact_without_export(engine):
    return Artifact(Path("never-read"), ENGINES[engine].formats[0], "", Weights(0, 0), 0)


def test_unknown_engine_gets_the_nearest_name():
    with pytest.raises(UserError, match="unknown engine 'onnxruntim'; did you mean 'onnxruntime'"):
        engines.load(artifact_without_export("onnxruntime"), "onnxruntim", 1)


def onnx_source(tmp_path, nodes, shape=(1, 2, 4, 4), rank=4, domains=()):
    """An ONNX file of a user's, and the source it makes."""
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)]
    graph = helper.make_graph(nodes, "user", values, results)
    imports = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    path = tmp_path / "user.onnx"
    path.write_bytes(model.SerializeToString())
    return Source(ModelSpec("user", str(path), shape), path)


@pytest.mark.parametrize("engine", [name for name in INSTALLED if "csr" in ENGINES[name].formats])
def test_operator_that_csr_does_not_know_is_named_with_its_node(engine, tmp_path):
    source = onnx_source(tmp_path, [helper.make_node("Det", ["x"], ["y"], name="the_node")], (1, 2, 2), 1)
    exported = formats.export(source, "csr", tmp_path / "user")
    with pytest.raises(UnsupportedError, match="Det at the_node"):
        engines.load(exported, engine, 1)


def needs(engine):
    return pytest.mark.skipif(engine not in INSTALLED, reason=f"{engine} is not installed")


def dense_source(tmp_path, forward, shape=(1, 3, 8, 8)):
    """The dense file of a convolution whose `forward` ends in the given lines."""
    code = tmp_path / "own.py"
    code.write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Conv2d):\n"
        f"    def forward(self, x):\n        y = super().forward(x)\n        {forward}\n"
        "def build():\n    return Net(3, 4, 3, padding=1)\n"
    )
    model = ModelSpec("own", f"{code}:build", shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = torch.nn.Conv2d(3, 4, 3).state_dict()
    save_checkpoint(tmp_path / "own.safetensors", Checkpoint(Header(Variant(model)), state))
    return Source(model, tmp_path / "own.safetensors")


# --- torch-compile


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@needs("torch-compile")
def test_torch_compile_compiles_when_loaded_and_never_again():
    before = graphs()
    predict = torch_compile.load(artifact("mlp", "none", "dense").path, 1)
    assert graphs() == before + 1
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            parity.check(predict, batches("mlp"), reference("mlp", "none"))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert graphs() == before + 1


def test_torch_compile_gives_every_network_a_code_of_its_own():
    """Or the ninth network of a class would find the compiler's places for it taken."""
    made = [torch_compile._own_function(torch.nn.Identity()) for _ in range(2)]
    assert made[0].__code__ is not made[1].__code__
    assert made[0](3) == 3


def test_torch_compile_without_a_compiler_is_one_line(tmp_path):
    path = dense_source(tmp_path, "return torch.softmax(y, 1)").path
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}),
        pytest.raises(UnsupportedError, match=r"torch\.compile: .*No working C\+\+ compiler found") as caught,
    ):
        torch_compile.load(path, 1)
    assert "\n" not in str(caught.value)


def test_torch_compile_refuses_a_network_that_is_no_one_graph(tmp_path):
    path = dense_source(tmp_path, "return y * 2 if float(y.sum()) > 0 else y").path
    with pytest.raises(UnsupportedError, match=r"torch\.compile: .*data-dependent") as caught:
        torch_compile.load(path, 1)
    assert "\n" not in str(caught.value)


# --- openvino


@needs("openvino")
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_computes_in_float32_on_as_many_threads_as_asked(threads):
    import openvino

    compiled = open_vino.compile_model(artifact("plain", "none", "onnx").path, threads)
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


@needs("openvino")
def test_openvino_tells_nobody_that_it_was_imported(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom sparsemark.engines import open_vino\n"
        "open_vino.load(Path(sys.argv[1]), 1)\nassert not [n for n, m in sys.modules.items() if 'telemetry' in n "
        "and m is not None and not n.startswith('openvino.')]\n"
    )
    path = artifact("mlp", "none", "onnx").path
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(Path(engines.__file__).parents[2])}
    environment.pop("CI", None)
    subprocess.run([sys.executable, "-c", code, path], check=True, env=environment)
    assert not list(tmp_path.iterdir())


@needs("openvino")
def test_openvino_says_what_it_cannot_run(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], name="theirs", domain="com.example")
    with pytest.raises(UnsupportedError, match="openvino: ") as caught:
        open_vino.load(onnx_source(tmp_path, [node], domains=["com.example"]).path, 1)
    assert "\n" not in str(caught.value)


# --- ncnn


@needs("ncnn")
def test_ncnn_borrows_no_memory_that_is_gone():
    """A `Mat` borrows its array: what is made of an image must not go before the call, nor an answer after it."""
    first, second = images("unet", 2)
    predict = load("ncnn", "unet")
    expected = [output.copy() for output in predict(first)]
    answer = predict(np.asfortranarray(first))
    for _ in range(3):
        predict(second + 0)
        gc.collect()
    del predict
    gc.collect()
    for output, copy in zip(answer, expected, strict=True):
        np.testing.assert_array_equal(output, copy)


@needs("ncnn")
def test_ncnn_converts_without_a_word_and_leaves_nothing(tmp_path, monkeypatch, capfd):
    path = artifact("residual", "none", "dense").path.resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ncnn_net.load(path, 1)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@needs("ncnn")
@pytest.mark.parametrize(
    ("forward", "shape", "reason"),
    [
        ("return y[:, :2, ::2]", (1, 3, 8, 8), "ncnn: Tensor.slice at "),
        ("return y", (2, 3, 8, 8), r"ncnn: takes one float32 image a call, and the input is 2,3,8,8"),
        ("return y + self.nowhere", (1, 3, 8, 8), "ncnn: tracing: AttributeError"),
    ],
)
def test_ncnn_says_what_it_cannot_run(forward, shape, reason, tmp_path, capfd):
    with pytest.raises(UnsupportedError, match=reason) as caught:
        ncnn_net.load(dense_source(tmp_path, forward, shape).path, 1)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@needs("ncnn")
def test_ncnn_whose_converter_fails_says_so(monkeypatch):
    import pnnx

    monkeypatch.setattr(pnnx, "EXEC_PATH", "false")
    with pytest.raises(UnsupportedError, match="ncnn: pnnx ended with 1: no reason given"):
        ncnn_net.load(artifact("mlp", "none", "dense").path, 1)


# --- deepsparse, with a package of its name in its place

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


def test_operator_of_another_domain_is_not_taken_for_onnxs_own(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], name="theirs", domain="com.example")
    exported = formats.export(onnx_source(tmp_path, [node], domains=["com.example"]), "csr", tmp_path / "user")
    with pytest.raises(UnsupportedError, match=r"com\.example\.Relu at theirs"):
        engines.load(exported, "torch-csr", 1)


def test_second_output_of_a_node_is_refused_when_loaded(tmp_path):
    node = helper.make_node("MaxPool", ["x"], ["y", "where"], name="pool", kernel_shape=[2, 2])
    exported = formats.export(onnx_source(tmp_path, [node]), "csr", tmp_path / "user")
    with pytest.raises(UnsupportedError, match="MaxPool at pool: 2 outputs"):
        engines.load(exported, "torch-csr", 1)


def test_onnxruntime_says_what_it_cannot_run(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(UnsupportedError, match="onnxruntime: ") as caught:
        onnx_runtime.load(path, 1)
    assert "\n" not in str(caught.value)


def test_network_without_tensors_of_its_own_among_its_outputs_is_read_as_far_as_they_go(tmp_path):
    """A `None` among the outputs, as an auxiliary head leaves in eval mode, is passed over."""
    code = tmp_path / "auxiliary.py"
    code.write_text(
        "from torch import nn\nclass Net(nn.Linear):\n"
        "    def forward(self, x):\n        return {'out': super().forward(x), 'aux': None}\n"
        "def build():\n    return Net(3, 2)\n"
    )
    model = ModelSpec("aux", f"{code}:build", (1, 3))
    state = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    save_checkpoint(tmp_path / "aux.safetensors", Checkpoint(Header(Variant(model)), state))
    source = Source(model, tmp_path / "aux.safetensors")
    batch = [(np.ones((1, 3), np.float32),)]
    predict = engines.load(formats.export(source, "dense", tmp_path / "exported"), "torch", 1)
    verified = parity.check(predict, batch, float64_outputs(source, batch))
    assert verified.parity.max_abs == 0
