"""OpenVINO computes in float32 on the threads asked for, calls nobody, and says what it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import helper

from sparsemark import engines
from sparsemark.engines import open_vino
from sparsemark.errors import UnsupportedError
from tests.engines.installed import needs
from tests.engines.sources import onnx_source
from tests.small_networks import artifact


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
