"""Channels of an ONNX model in multiples: padded with zeros the same function, rounded a network of such widths."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sparsemark.engines.onnx_runtime import open_session
from sparsemark.errors import UnsupportedError
from sparsemark.networks.onnx_padding import padded, rounded
from tests.networks.onnx_files import model_of, node, run
from tests.small_networks import artifact, example

ROUNDED = {"plain": 1, "residual": 1, "unet": 3, "mobile": 1, "odd": 2}
"""Layers of each network whose channels are no multiple of 8 and more than 4, outputs of the network left out."""


def outputs(model, name):
    session = open_session(model.SerializeToString(), 1)
    return session.run(None, {session.get_inputs()[0].name: example(name).numpy()})


@pytest.mark.parametrize("name", ROUNDED)
def test_what_is_computed_stays_and_widths_become_multiples(name):
    model = onnx.load(artifact(name, "none", "onnx").path)
    before = model.SerializeToString()
    made = padded(model, 8)
    assert model.SerializeToString() == before
    assert len(made.weights) == ROUNDED[name]
    for got, right in zip(outputs(made.model, name), outputs(model, name), strict=True):
        np.testing.assert_allclose(got, right, atol=1e-5 * np.abs(right).max())
    shapes = {tensor.name: tuple(tensor.dims) for tensor in made.model.graph.initializer}
    wide = [shapes[node.input[1]] for node in made.model.graph.node if node.op_type == "Conv"]
    assert sum(shape[0] % 8 == 0 for shape in wide) >= len(made.weights)
    assert not any(shape[0] % 8 and shape[0] > 4 for shape in wide)


def test_a_network_of_fitting_widths_has_nothing_to_pad():
    model = onnx.load(artifact("mlp", "none", "onnx").path)
    with pytest.raises(UnsupportedError, match="multiples of 8"):
        padded(model, 8)


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_widths_are_the_nearest_multiples_and_the_network_runs(name):
    model = onnx.load(artifact(name, "none", "onnx").path)
    made = rounded(model, 8)
    assert made.widths
    assert all(after % 8 == 0 and abs(after - before) <= 4 for before, after in made.widths)
    for got, right in zip(outputs(made.model, name), outputs(model, name), strict=True):
        assert got.shape == right.shape
        assert np.isfinite(got).all()


def test_what_rounding_keeps_is_computed_as_before():
    """The last channels of 18 are left out; those of the pooled ones that are left are as they were."""
    weights = {"w": np.random.default_rng(0).standard_normal((18, 3, 1, 1)).astype(np.float32)}
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["r"]), node("GlobalMaxPool", ["r"], ["p"])]
    nodes.append(node("Flatten", ["p"]))
    model = model_of(nodes, weights, (1, 3, 5, 5), rank=2)
    image = np.random.default_rng(1).standard_normal((1, 3, 5, 5)).astype(np.float32)
    (before,), (after,) = run(model, {"x": image}), run(rounded(model, 8).model, {"x": image})
    assert rounded(model, 8).widths == ((18, 16),)
    np.testing.assert_array_equal(after[:, :16], before[:, :16])
    np.testing.assert_array_equal(after[:, 16:], np.repeat(before[:, :1], 2, axis=1))
