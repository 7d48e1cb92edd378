"""Linters of a CSR file: which layers each looks at, and what it changes. None asserts on time."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from sparsemark.direct.network import Network
from sparsemark.direct.peak import Peak
from sparsemark.direct.runtime.machine_code import load
from sparsemark.measurement.explanation import csr_linters, layers_alone
from sparsemark.measurement.explanation.changes import widened
from sparsemark.measurement.explanation.csr_file import plan_file, timed_file
from tests.small_networks import artifact


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    load()  # not again for the empty cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def opened(name, prune="none"):
    path = artifact(name, prune, "csr").path
    found, _ = timed_file(path, *plan_file(path, None), Peak(4e10, 3e10))
    return found


def test_odd_widths_are_named_and_those_of_the_image_stay():
    looked_at = opened("plain")
    advice = csr_linters.alignment(looked_at)
    assert advice.layers == ("0.0", "3.0")  # 6 channels made, 6 read
    assert len(advice.before_s) == len(advice.after_s)
    first, second = looked_at.windows
    weight, source = widened(first, 4, inputs=False)
    assert (weight.shape, source) == ((8, 3, 3, 3), (1, 3, 16, 12))
    weight, source = widened(second, 4, inputs=True)
    assert (weight.shape, source[1]) == ((8, 8, 3, 3), 8)
    assert (weight != 0).all()


def test_depthwise_and_strided_layers_with_zeros_are_named():
    advice = csr_linters.separable(opened("mobile", "magnitude:0.9"))
    assert advice.facts["kinds"] == "depthwise and strided"
    assert advice.layers == ("0.0", "1.0")
    assert csr_linters.separable(opened("plain", "magnitude:0.9")) is None


def test_subnormal_weights_are_counted():
    looked_at = opened("plain")
    assert csr_linters.subnormals(looked_at) is None
    next(iter(looked_at.graph.matrices.values())).data[:2] = (1e-40, -1e-40)
    assert csr_linters.subnormals(looked_at).facts == {"count": 2}


def test_a_dense_first_layer_is_named_where_the_network_is_sparse():
    looked_at = opened("plain", "magnitude:0.9")
    assert csr_linters.first_layer(opened("plain")) is None
    from dataclasses import replace

    layers = [
        replace(layer, density=1.0, left=layer.multiply_adds) if layer.name == "0.0" else replace(layer, left=0)
        for layer in looked_at.explanation.layers
    ]
    (first, *others) = looked_at.windows
    first = replace(first, layer=next(layer for layer in layers if layer.name == "0.0"), weight=first.weight + 1)
    work = sum(layer.multiply_adds for layer in layers)
    # Work elsewhere, so that the network as a whole is sparse.
    layers[-1] = replace(layers[-1], multiply_adds=9 * work, density=0.0)
    changed = replace(
        looked_at, explanation=replace(looked_at.explanation, layers=tuple(layers)), windows=(first, *others)
    )
    advice = csr_linters.first_layer(changed)
    assert advice.layers == ("0.0",)
    assert advice.facts["network"] < 0.5 < advice.facts["density"] == 1


def test_layers_beyond_the_cache_are_those_whose_activations_are_larger(monkeypatch):
    looked_at = opened("plain")
    monkeypatch.setattr(layers_alone, "second_level_cache", lambda: 1000)
    assert csr_linters.cache(looked_at).layers == ("0.0", "3.0")
    monkeypatch.setattr(layers_alone, "second_level_cache", lambda: None)
    assert csr_linters.cache(looked_at) is None


def test_a_layer_alone_has_the_work_of_the_layer(monkeypatch):
    window = opened("mobile").windows[0]
    made = []

    class Kept(Network):
        def __init__(self, graph, *more):
            super().__init__(graph, *more)
            made.append(graph)

    monkeypatch.setattr("sparsemark.measurement.explanation.csr_file.Network", Kept)
    call = csr_linters.layer_alone(window.weight, window.attributes, window.source)
    call()
    (graph,) = made
    assert window.source == (1, 3, 16, 12)
    assert np.array_equal(graph.matrices["w"].toarray().reshape(window.weight.shape), window.weight)
