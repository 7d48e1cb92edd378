"""Operators of ONNX Runtime's own set have a float64 reference that agrees with it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from sparsemark.networks.onnx_reference import OnnxInFloat64
from tests.networks.onnx_files import RUNTIME, array, model_of, node, run

U8 = np.random.default_rng(0).integers(0, 120, (6, 3)).astype(np.uint8)
NIBBLES = np.random.default_rng(1).integers(0, 256, (5, 2, 8)).astype(np.uint8)
ZEROS = np.random.default_rng(2).integers(0, 256, (5, 1)).astype(np.uint8)


def mine(op, inputs, **attributes):
    return node(op, inputs, domain=RUNTIME, **attributes)


FLOATS = {
    "FusedConv": (
        mine("FusedConv", ["x", "w", "b"], activation="LeakyRelu", activation_params=[0.2], pads=[1, 1, 1, 1]),
        {"w": array(3, 2, 3, 3), "b": array(3)},
        (1, 2, 5, 6),
    ),
    "FusedConv with a sum": (
        mine("FusedConv", ["x", "w", "", "z"], activation="Relu"),
        {"w": array(3, 2, 1, 1), "z": array(1, 3, 5, 6)},
        (1, 2, 5, 6),
    ),
    "FusedGemm": (
        mine("FusedGemm", ["x", "w", "c"], transB=1, alpha=0.5, beta=2.0, activation="Relu"),
        {"w": array(3, 6), "c": array(3)},
        (2, 6),
    ),
    "FusedMatMul": (mine("FusedMatMul", ["x", "w"], transA=1, transB=1, alpha=0.3), {"w": array(3, 6)}, (6, 2)),
    "MatMulNBits": (
        mine("MatMulNBits", ["x", "w", "s", "z"], K=30, N=5, bits=4, block_size=16),
        {"w": NIBBLES, "s": array(10), "z": ZEROS.ravel()},
        (2, 30),
    ),
    "MatMulNBits without zero points": (
        mine("MatMulNBits", ["x", "w", "s"], K=32, N=5, bits=4, block_size=16),
        {"w": NIBBLES, "s": array(10)},
        (2, 32),
    ),
    "DynamicQuantizeMatMul": (
        mine("DynamicQuantizeMatMul", ["x", "w", "s", "z", "b"]),
        {"w": U8, "s": np.float32(0.1), "z": np.uint8(3), "b": array(3)},
        (2, 6),
    ),
    "Gelu": (mine("Gelu", ["x"]), {}, (2, 6)),
    "BiasGelu": (mine("BiasGelu", ["x", "b"]), {"b": array(6)}, (2, 6)),
    "FastGelu": (mine("FastGelu", ["x", "b"]), {"b": array(6)}, (2, 6)),
    "QuickGelu": (mine("QuickGelu", ["x"], alpha=1.5), {}, (2, 6)),
    "SimplifiedLayerNormalization": (
        node("SimplifiedLayerNormalization", ["x", "s"], epsilon=1e-3, axis=-1),
        {"s": array(6)},
        (2, 6),
    ),
    "LayerNormalization before it was ONNX's": (
        node("LayerNormalization", ["x", "s", "b"], epsilon=1e-3),
        {"s": array(6), "b": array(6, seed=3)},
        (2, 6),
    ),
    "SkipLayerNormalization": (
        mine("SkipLayerNormalization", ["x", "k", "s", "b", "a"], epsilon=1e-3),
        {"k": array(1, 2, 6), "s": array(6, seed=1), "b": array(6, seed=2), "a": array(6, seed=3)},
        (1, 2, 6),
    ),
    "SkipSimplifiedLayerNormalization": (
        mine("SkipSimplifiedLayerNormalization", ["x", "k", "s"], epsilon=1e-3),
        {"k": array(1, 2, 6), "s": array(6, seed=1)},
        (1, 2, 6),
    ),
    "there and back": (
        [
            mine("QuantizeLinear", ["x", "s", "z"]),
            mine("DequantizeLinear", ["y", "s", "z"]),
        ],
        {"s": np.float32(0.03), "z": np.uint8(100)},
        (2, 6),
    ),
}


def check(model, image, tmp_path, limit=2e-6, steps=0):
    (expected,) = run(model, {"x": image})
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    (found,) = OnnxInFloat64(path)((image,))
    assert found.shape == expected.shape
    if expected.dtype.kind == "f":
        assert found.dtype == np.float64
        assert np.abs(found - expected).max() <= limit * np.abs(expected).max()
    else:
        assert found.dtype == expected.dtype
        # A tie may be rounded either way in float32.
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= steps
        assert np.mean(found != expected) <= 0.1


@pytest.mark.parametrize("name", FLOATS)
def test_operator_agrees(name, tmp_path):
    nodes, constants, shape = FLOATS[name]
    nodes = nodes if isinstance(nodes, list) else [nodes]
    if len(nodes) == 2:
        nodes[0].output[0] = nodes[1].input[0] = "q"
    model = model_of(nodes, constants, shape, opset=12, rank=len(shape))
    check(model, array(*shape, seed=9), tmp_path, 1e-5)


SCALES = {"s": np.float32(0.05), "z": np.uint8(110), "t": np.float32(0.07), "u": np.uint8(90)}
INTEGERS = {
    "QLinearAdd": (mine("QLinearAdd", ["x", "s", "z", "k", "t", "u", "t", "z"]), {"k": U8.T.copy()}),
    "QLinearMul": (mine("QLinearMul", ["x", "s", "z", "k", "t", "u", "t", "z"]), {"k": U8.T.copy()}),
    "QLinearSigmoid": (mine("QLinearSigmoid", ["x", "s", "z", "t", "u"]), {}),
    "QLinearLeakyRelu": (mine("QLinearLeakyRelu", ["x", "s", "z", "t", "u"], alpha=0.3), {}),
    "QLinearConcat": (mine("QLinearConcat", ["t", "u", "x", "s", "z", "k", "t", "z"], axis=0), {"k": U8.T.copy()}),
    "QGemm": (mine("QGemm", ["x", "s", "z", "w", "t", "u", "", "t", "u"]), {"w": U8}),
    "QGemm to floats": (mine("QGemm", ["x", "s", "z", "w", "t", "u"], transB=1), {"w": U8.T.copy()}),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_quantised_operator_agrees(name, tmp_path):
    one, constants = INTEGERS[name]
    used = {key: value for key, value in (constants | SCALES).items() if key in one.input}
    kind = TensorProto.FLOAT if "floats" in name else TensorProto.UINT8
    model = model_of([one], used, (3, 6), dtype=TensorProto.UINT8, outputs={"y": kind})
    check(model, np.random.default_rng(5).integers(60, 160, (3, 6)).astype(np.uint8), tmp_path, steps=1)
