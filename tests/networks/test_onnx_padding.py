"""Channels of an ONNX model padded with zeros: the same function, in other widths."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sparsemark.engines.onnx_runtime import open_session
from sparsemark.errors import UnsupportedError
from sparsemark.networks.onnx_padding import padded
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
