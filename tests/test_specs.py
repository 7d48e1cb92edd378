"""Specs are refused where they make no sense, and name what they describe without ambiguity."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.errors import UserError
from sparsemark.pruning import PRUNERS
from sparsemark.specs import AA, WITHOUT_SPARSITY, Cell, ModelSpec, Protocol, PruneSpec, Variant, removes_channels

MODEL = ModelSpec("cnn", "models.py:cnn", (1, 3, 8, 8))
SPARSE = [method for method in PRUNERS if method not in WITHOUT_SPARSITY]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("none", PruneSpec()),
        ("all-ones", PruneSpec("all-ones")),
        ("magnitude:0.9", PruneSpec("magnitude", 0.9)),
        ("magnitude-layerwise:0", PruneSpec("magnitude-layerwise", 0.0)),
        ("channels:0.5:16", PruneSpec("channels", 0.5, 16)),
        ("channels:5e-1:", PruneSpec("channels", 0.5, 1)),
    ],
)
def test_prune_is_read_from_the_command_line(text, spec):
    assert PruneSpec.parse(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        *("magnitude", "magnitude:", "magnitude:x", "magnitude:1", "magnitude:-0.1", "magnitude:90", "magnitude:nan"),
        *("channels:0.5:x", "channels:0.5:0", "channels:0.5:-8", "channels:0.5:1.5", "channels:0.5:8:8"),
        *("magnitude:inf", "none:0.5", "all-ones:0.1"),
        *("magnitude:0.5:8", "random:0.5:2", "filters:0.5:2", "none::8", "all-ones::8"),
    ],
)
def test_prune_that_makes_no_sense_is_one_line(text):
    with pytest.raises(UserError) as caught:
        PruneSpec.parse(text)
    assert text.partition(":")[0] in str(caught.value)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(SPARSE), st.integers(0, 999), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_prune_survives_its_own_text_and_different_ones_have_different_labels(method, thousandths, round_to):
    spec = PruneSpec(method, thousandths / 1000, round_to if removes_channels(method) else 1)
    assert PruneSpec.parse(f"{spec.method}:{spec.sparsity}:{spec.round_to}") == spec
    other = dataclasses.replace(spec, sparsity=(thousandths + 1) % 1000 / 1000)
    assert other.label != spec.label


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (PruneSpec(), "dense"),
        (PruneSpec("all-ones"), "all-ones"),
        (PruneSpec("magnitude", 0.29), "magnitude29"),
        (PruneSpec("magnitude", 0.995), "magnitude99.5"),
        (PruneSpec("channels", 0.5, 16), "channels50r16"),
    ],
)
def test_label(spec, label):
    assert spec.label == label


def test_names_hold_what_distinguishes_cells():
    variant = Variant(MODEL, PruneSpec("magnitude", 0.9), seed=3)
    assert variant.name == "cnn-magnitude90-seed3"
    assert Cell(variant, "torch").name == "cnn-magnitude90-seed3-torch"
    assert Cell(variant, "torch", threads=2, control=AA).name == "cnn-magnitude90-seed3-torch-2t-aa"


@pytest.mark.parametrize("name", ["", "a-b", "../a", "a b", ".a", "ä"])
def test_model_name_must_do_as_a_file_name(name):
    with pytest.raises(UserError, match="model name"):
        ModelSpec(name, "m:f", (1, 3))


@pytest.mark.parametrize("shape", [(), (0, 3), (1, -1)])
def test_input_shape_must_have_sizes(shape):
    with pytest.raises(UserError, match="input shape"):
        ModelSpec("a", "m:f", shape)


@pytest.mark.parametrize("field", ["threads", "pairs", "block", "images"])
def test_protocol_needs_at_least_one_of_each(field):
    with pytest.raises(UserError, match=f"protocol {field} 0"):
        Protocol(**{field: 0})


@given(st.integers(1, 500))
@settings(max_examples=40, deadline=None)
def test_rounds_asked_for_are_a_lower_bound_within_one_block(rounds):
    protocol = Protocol.of_rounds(rounds, threads=1)
    assert rounds <= protocol.rounds < rounds + protocol.block


def test_no_rounds_are_refused():
    with pytest.raises(UserError, match="rounds 0"):
        Protocol.of_rounds(0, threads=1)


@pytest.mark.parametrize("spec", [MODEL, PruneSpec(), Protocol(), Variant(MODEL), Cell(Variant(MODEL), "torch")])
def test_specs_are_frozen_and_hashable(spec):
    hash(spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(spec, dataclasses.fields(spec)[0].name, None)
