"""Files of a user's own, dense and ONNX."""

from __future__ import annotations

from pathlib import Path

import torch
from onnx import TensorProto, helper

from sparsemark.engines import ENGINES
from sparsemark.formats.base import Artifact, Weights
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.source import Source
from sparsemark.specs import ModelSpec, Variant


def artifact_without_export(engine):
    return Artifact(Path("never-read"), ENGINES[engine].formats[0], "", Weights(0, 0), 0)


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
