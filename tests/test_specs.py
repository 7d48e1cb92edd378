"""Specs are refused where they make no sense, and name what they describe without ambiguity."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.errors import UserError
from sparsemark.pruning import PRUNERS
from sparsemark.specs import (
    AA,
    DENSE,
    ONE_SHOT,
    SCHEDULES,
    WITHOUT_SPARSITY,
    Cell,
    InputSpec,
    ModelSpec,
    Protocol,
    PruneStep,
    Pruning,
    Variant,
    removes_channels,
    usual_sparsity,
)
from sparsemark.study.asked import prunings

MODEL = ModelSpec("cnn", "models.py:cnn", (1, 3, 8, 8))
SPARSE = [method for method in PRUNERS if usual_sparsity(method) is None]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("none", Pruning()),
        ("all-ones", Pruning.of("all-ones")),
        ("magnitude:0.9", Pruning.of("magnitude", 0.9)),
        ("magnitude-layerwise:0", Pruning.of("magnitude-layerwise", 0.0)),
        ("channels:0.5:16", Pruning.of("channels", 0.5, 16)),
        ("channels:5e-1:", Pruning.of("channels", 0.5, 1)),
        ("channels-taylor:0.5:16", Pruning.of("channels-taylor", 0.5, 16)),
        ("nm24", Pruning.of("nm24", 0.5)),
        ("nm24:0.5", Pruning.of("nm24", 0.5)),
        ("magnitude@a/sensitivity.json:0.8", Pruning((PruneStep("magnitude", 0.8, 1, "a/sensitivity.json"),))),
    ],
)
def test_prune_is_read_from_the_command_line(text, spec):
    assert Pruning.parse(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        *("magnitude", "magnitude:", "magnitude:x", "magnitude:1", "magnitude:-0.1", "magnitude:90", "magnitude:nan"),
        *("channels:0.5:x", "channels:0.5:0", "channels:0.5:-8", "channels:0.5:1.5", "channels:0.5:8:8"),
        *("magnitude:inf", "none:0.5", "all-ones:0.1", "nm24:0.4", "nm24:0", "random-nm24:0.7"),
        *("magnitude@:0.5", "magnitude@a.json", "magnitude@a.json:1"),
        *("magnitude:0.5:8", "random:0.5:2", "filters:0.5:2", "none::8", "all-ones::8"),
    ],
)
def test_prune_that_makes_no_sense_is_one_line(text):
    with pytest.raises(UserError) as caught:
        Pruning.parse(text)
    assert text.partition(":")[0] in str(caught.value)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(SPARSE), st.integers(0, 999), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_prune_survives_its_own_text_and_different_ones_have_different_labels(method, thousandths, round_to):
    spec = Pruning.of(method, thousandths / 1000, round_to if removes_channels(method) else 1)
    assert Pruning.parse(f"{spec.method}:{spec.sparsity}:{spec.round_to}") == spec
    other = Pruning.of(method, (thousandths + 1) % 1000 / 1000, spec.round_to)
    assert other.label != spec.label


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (Pruning(), "dense"),
        (Pruning.of("all-ones"), "all-ones"),
        (Pruning.of("magnitude", 0.29), "magnitude29"),
        (Pruning.of("magnitude", 0.995), "magnitude99.5"),
        (Pruning.of("channels", 0.5, 16), "channels50r16"),
        (Pruning.of("channels-taylor", 0.5, 16), "channels-taylor50r16"),
        (Pruning.of("nm24"), "nm24"),
        (Pruning.of("block4", 0.5), "block4-50"),
        (Pruning.of("magnitude@a/sensitivity.json", 0.8), "magnitude@sensitivity80"),
        (Pruning.of("channels@v2.json", 0.8, 8), "channels@v2-80r8"),
    ],
)
def test_label(spec, label):
    assert spec.label == label


def test_names_hold_what_distinguishes_cells():
    variant = Variant(MODEL, Pruning.of("magnitude", 0.9), seed=3)
    assert variant.name == "cnn-magnitude90-seed3"
    assert Cell(variant, "dense", "torch").name == "cnn-magnitude90-seed3-torch"
    assert Cell(variant, "dense", "torch", threads=2, control=AA).name == "cnn-magnitude90-seed3-torch-2t-aa"


STEPS = st.one_of(
    st.builds(
        lambda method, sparsity, round_to: PruneStep(method, sparsity, round_to if removes_channels(method) else 1),
        st.sampled_from(SPARSE),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 512),
    ),
    st.just(PruneStep("all-ones")),
)


@given(st.lists(STEPS, max_size=4), st.sampled_from(SCHEDULES), st.booleans())
@settings(max_examples=200, deadline=None)
def test_pruning_survives_its_own_text_to_the_last_bit(steps, schedule, aware):
    removes = bool(steps) and steps[-1].method not in WITHOUT_SPARSITY
    spec = Pruning(tuple(steps), schedule if removes else ONE_SHOT, aware and bool(steps))
    assert Pruning.parse(spec.text) == spec


@pytest.mark.parametrize(
    ("text", "label", "method", "sparsity", "round_to"),
    [
        ("channels:0.5:16+magnitude:0.8", "channels50r16+magnitude80", "channels+magnitude", 0.8, 16),
        ("all-ones+random:0.9", "all-ones+random90", "all-ones+random", 0.9, 1),
        ("iterative-magnitude:0.9", "iterative-magnitude90", "magnitude", 0.9, 1),
        ("gradual-magnitude-layerwise:0.995", "gradual-magnitude-layerwise99.5", "magnitude-layerwise", 0.995, 1),
        (
            "gradual-channels:0.3:8+magnitude:0.5",
            "gradual-channels30r8+magnitude50",
            "channels+magnitude",
            0.5,
            8,
        ),
        ("all-ones+qat", "all-ones+qat", "all-ones+qat", 0.0, 1),
        ("block4:0.9+qat", "block4-90+qat", "block4+qat", 0.9, 1),
        ("gradual-block4:0.9+qat", "gradual-block4-90+qat", "block4+qat", 0.9, 1),
        ("channels:0.5:16+nm24+qat", "channels50r16+nm24+qat", "channels+nm24+qat", 0.5, 16),
    ],
)
def test_names_of_composed_and_scheduled_prunings(text, label, method, sparsity, round_to):
    """Method, sparsity and multiple are those of the result file: all methods, the last sparsity."""
    pruning = Pruning.parse(text)
    assert (pruning.label, pruning.text) == (label, text)
    assert (pruning.method, pruning.sparsity, pruning.round_to) == (method, sparsity, round_to)
    assert not pruning.is_dense


def test_order_and_schedule_distinguish_prunings():
    schedules = "magnitude:0.8", "iterative-magnitude:0.8", "magnitude:0.8+qat", "iterative-magnitude:0.8+qat"
    texts = ("channels:0.5+magnitude:0.8", "magnitude:0.8+channels:0.5", *schedules)
    prunings = [Pruning.parse(text) for text in texts]
    assert len(set(prunings)) == len({pruning.label for pruning in prunings}) == len(texts)


def test_dense_is_no_step():
    assert Pruning.of(DENSE) == Pruning.parse(DENSE) == Pruning()
    assert (Pruning().steps, Pruning().method, Pruning().text, Pruning().is_dense) == ((), DENSE, DENSE, True)
    assert not Pruning.of("all-ones").is_dense


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("magnitude:0.5+", "'': expected METHOD:SPARSITY"),
        ("+magnitude:0.5", "'': expected METHOD:SPARSITY"),
        ("", "'': expected METHOD:SPARSITY"),
        ("channels:0.5:16+magnitude", "'magnitude': expected METHOD:SPARSITY"),
        ("channels:0.5+magnitude:2", "sparsity 2 of 'magnitude': expected a fraction in [0, 1)"),
        ("magnitude:0.5+none", "'none': expected alone, it is no step"),
        ("none+none", "'none': expected alone, it is no step"),
        ("iterative-none", "schedule 'iterative': expected a step that removes something"),
        ("gradual-all-ones", "schedule 'gradual': expected a step that removes something"),
        ("gradual-magnitude:0.5+all-ones", "schedule 'gradual': expected a step that removes something"),
        ("iterative-", "'': expected METHOD:SPARSITY"),
        ("iterative-gradual-magnitude", "'gradual-magnitude': expected METHOD:SPARSITY"),
        ("none+qat", "'qat': the dense network is not fine-tuned; expected all-ones+qat"),
        ("qat", "'qat': expected once and last, behind what is pruned, such as block4:0.9+qat"),
        ("qat+magnitude:0.5", "'qat': expected once and last"),
        ("channels:0.5+qat+magnitude:0.5", "'qat': expected once and last"),
        ("magnitude:0.5+qat+qat", "'qat': expected once and last"),
        ("magnitude:0.5+qat:0.5", "'qat': expected once and last"),
        ("magnitude+qat", "'magnitude': expected METHOD:SPARSITY"),
        ("gradual-all-ones+qat", "schedule 'gradual': expected a step that removes something"),
    ],
)
def test_composed_pruning_that_makes_no_sense_is_one_line_that_names_the_step(text, said):
    with pytest.raises(UserError) as caught:
        Pruning.parse(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"--prune {text!r}: ")
    assert str(caught.value).count(repr(text)) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("block4:0.8,0.9+qat", ["block4:0.8+qat", "block4:0.9+qat"]),
        ("channels:0.5:16+magnitude:0.7,0.8+qat", [f"channels:0.5:16+magnitude:{s}+qat" for s in (0.7, 0.8)]),
        ("all-ones+qat", ["all-ones+qat"]),
    ],
)
def test_several_sparsities_are_each_fine_tuned_for_int8(text, texts):
    assert [one.text for one in prunings([text])] == texts


def test_unknown_schedule_is_one_line():
    with pytest.raises(UserError, match="schedule 'slowly': expected one of one-shot, iterative, gradual"):
        Pruning.of("magnitude", 0.5, schedule="slowly")


@pytest.mark.parametrize(
    ("pruning", "fold", "name"),
    [
        (Pruning(), None, "cnn9-dense-seed0"),
        (Pruning.of("magnitude", 0.9), None, "cnn9-magnitude90-seed0"),
        (Pruning.of("channels", 0.5, 16), None, "cnn9-channels50r16-seed0"),
        (Pruning.of("magnitude", 0.9), 2, "cnn9-magnitude90-seed0-fold2"),
        (Pruning.of("magnitude", 0.9), 0, "cnn9-magnitude90-seed0-fold0"),
        (Pruning.parse("iterative-magnitude:0.9"), 1, "cnn9-iterative-magnitude90-seed0-fold1"),
    ],
)
def test_checkpoints_are_named_as_the_committed_ones_and_by_fold_only_where_one_is_chosen(pruning, fold, name):
    variant = Variant(ModelSpec("cnn9", "models/cnn.py:cnn9", (1, 3, 128, 128)), pruning, seed=0, fold=fold)
    assert variant.name == name
    assert variant.dense == dataclasses.replace(variant, pruning=Pruning())


@pytest.mark.parametrize(
    ("fields", "suffix"),
    [
        ({}, "onnxruntime"),
        ({"precision": "int8"}, "onnxruntime-int8"),
        ({"threads": 2}, "onnxruntime-2t"),
        ({"control": AA}, "onnxruntime-aa"),
        ({"precision": "int8", "threads": 4, "control": AA}, "onnxruntime-int8-4t-aa"),
    ],
)
def test_cell_is_named_by_engine_and_by_what_is_not_usual(fields, suffix):
    variant = Variant(MODEL, Pruning.of("magnitude", 0.9), fold=1)
    assert Cell(variant, "onnx", "onnxruntime", **fields).name == f"cnn-magnitude90-seed0-fold1-{suffix}"


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


@pytest.mark.parametrize(
    "spec",
    [MODEL, PruneStep("magnitude", 0.5), Pruning(), Protocol(), Variant(MODEL), Cell(Variant(MODEL), "dense", "torch")],
)
def test_specs_are_frozen_and_hashable(spec):
    hash(spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(spec, dataclasses.fields(spec)[0].name, None)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1,3,8,8", InputSpec((1, 3, 8, 8))),
        ("4", InputSpec((4,))),
        ("ids=1,12:int64", InputSpec((1, 12), "int64", "ids")),
        ("x=y=2,3:bool", InputSpec((2, 3), "bool", "x=y")),
    ],
)
def test_inputs_survive_their_own_text(text, spec):
    assert InputSpec.parse(text) == spec
    assert spec.text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected \\[NAME=\\]SIZES"),
        ("1,x", "expected \\[NAME=\\]SIZES"),
        ("1,0", "expected positive sizes"),
        ("1,3:float16", "input dtype 'float16': expected one of float32, int64"),
        ("1,3:int64:x", "input dtype 'int64:x'"),
    ],
)
def test_inputs_that_make_no_sense_are_one_line(text, said):
    with pytest.raises(UserError, match=said):
        InputSpec.parse(text)


def test_a_bare_shape_is_one_float32_input():
    assert ModelSpec("m", "f:g", (1, 4)) == ModelSpec("m", "f:g", (InputSpec((1, 4)),))
    assert ModelSpec("m", "f:g", (1, 4)).takes_one_image
    assert not ModelSpec("m", "f:g", (InputSpec((1, 4), "int64"),)).takes_one_image
    assert ModelSpec("m", "f:g", (InputSpec((2, 4)), InputSpec((2, 5)))).input_shape == (2, 4)
