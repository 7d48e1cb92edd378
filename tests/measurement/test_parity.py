"""Nothing that answers wrongly gets a Verified, and nothing else makes one."""

from __future__ import annotations

import copy
import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sparsemark.errors import UserError
from sparsemark.measurement import parity
from sparsemark.measurement.parity import TOLERANCE, Parity, ParityError, Verified, decisions
from sparsemark.networks.reference import Reference, spread
from sparsemark.records.scores import Score

WEIGHTS = np.random.default_rng(0).standard_normal((6, 4))
IMAGES = [np.random.default_rng(seed).standard_normal((1, 6)).astype(np.float32) for seed in range(7)]
EXPECTED = (np.concatenate([image @ WEIGHTS for image in IMAGES]), np.concatenate(IMAGES)[:, :1].astype(np.float64))


def right(image):
    """A network of two outputs: four classes, and one value."""
    return (image @ WEIGHTS).astype(np.float32), image[:, :1]


def of(expected, chosen=None):
    """A reference of these outputs, one row a batch."""
    return Reference(tuple(expected), tuple(range(len(expected[0])) if chosen is None else chosen))


def check(predict, images, expected, dense=None, score=None):
    """`parity.check` for networks of one input, on outputs for all images."""
    dense = None if dense is None else of(dense)
    return parity.check(
        predict, [(image,) for image in images], of(expected, range(len(images))), dense=dense, score=score
    )


def refused(predict, images=IMAGES, expected=EXPECTED):
    with pytest.raises(ParityError) as caught:
        check(predict, images, expected)
    return caught.value


def test_right_answers_pass_and_are_measured():
    found = check(right, IMAGES, EXPECTED)
    assert found.predict is right
    assert 0 < found.parity.max_rel <= TOLERANCE
    assert found.parity.agreement == 1
    assert found.parity.disagreements == ""
    assert found.parity.images == len(IMAGES)


def test_wrong_weight_is_refused_with_its_size():
    wrong = WEIGHTS.copy()
    wrong[2, 1] += 1e-3
    error = refused(lambda image: ((image @ wrong).astype(np.float32), image[:, :1]))
    largest = max(abs(float(image[0, 2])) for image in IMAGES) * 1e-3
    assert error.parity.max_abs == pytest.approx(largest, rel=1e-2)
    assert error.parity.max_rel == pytest.approx(largest / np.abs(EXPECTED[0]).max(), rel=1e-2)
    assert f"allowed {TOLERANCE:.0e}" in str(error)


def test_swapped_outputs_are_refused():
    refused(lambda image: right(image)[::-1])
    # of the same shape as well
    refused(lambda image: (image[:, 1:2], image[:, :1]), expected=(EXPECTED[1], EXPECTED[1] * 2))


def test_images_out_of_order_are_refused():
    turned = iter([*IMAGES[1:], IMAGES[0]])
    refused(lambda image: right(next(turned)))


def test_buffer_that_the_next_call_overwrites_is_refused():
    buffer = np.empty((1, 4), np.float32)

    def borrowed(image):
        np.matmul(image, WEIGHTS.astype(np.float32), out=buffer)
        return buffer, image[:, :1]

    refused(borrowed)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_value_that_is_not_finite_is_refused(bad, place):
    def predict(image):
        outputs = [output.copy() for output in right(image)]
        if image is IMAGES[3]:
            outputs[place][0, 0] = bad
        return tuple(outputs)

    assert "inf" in str(refused(predict))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_the_reference_has_too_pass_and_others_in_their_place_do_not(value):
    expected = (np.array([[value, 1.0], [2.0, 3.0]]),)

    def answers(first):
        rows = iter([np.array([[first, 1.0]], np.float32), np.array([[2.0, 3.0]], np.float32)])
        return lambda image: (next(rows),)

    assert check(answers(value), IMAGES[:2], expected).parity.max_abs == 0
    for other in {np.nan, np.inf, -np.inf, 0.0} - {value}:
        if not (np.isnan(other) and np.isnan(value)):
            refused(answers(other), IMAGES[:2], expected)


def test_another_number_or_shape_of_outputs_is_refused():
    assert "1 outputs, the reference has 2" in str(refused(lambda image: right(image)[:1]))
    assert "3 outputs" in str(refused(lambda image: (*right(image), image)))
    assert "output 0 has shape (7, 2, 2), the reference (7, 4)" in str(
        refused(lambda image: (right(image)[0].reshape(1, 2, 2), image[:, :1]))
    )


def test_answers_that_change_their_shape_or_number_between_calls_are_refused():
    late = IMAGES[-1]
    shape = refused(lambda image: right(image) if image is not late else (right(image)[0][:, :3], image[:, :1]))
    assert "output 0 has shape (1, 4) once and (1, 3) another time" in str(shape)
    assert "1 outputs" in str(refused(lambda image: right(image)[: 1 if image is late else 2]))


def test_small_output_is_held_to_its_own_size():
    """An output a million times smaller than the other is not hidden behind it."""
    expected = (EXPECTED[0] * 1e6, EXPECTED[1])
    refused(lambda image: ((image @ WEIGHTS * 1e6).astype(np.float32), image[:, :1] * 1.001), expected=expected)


def test_output_of_zeros_must_be_zeros():
    zeros = (np.zeros((7, 2)),)
    assert check(lambda image: (np.zeros((1, 2), np.float32),), IMAGES, zeros).parity.max_rel == 0
    assert refused(lambda image: (np.full((1, 2), 1e-30, np.float32),), expected=zeros).parity.max_rel == np.inf


def test_network_that_puts_out_one_number_can_be_checked():
    expected = (np.array([float(image.sum(dtype=np.float64)) for image in IMAGES]),)
    assert check(lambda image: (image.sum(dtype=np.float64),), IMAGES, expected).parity.agreement == 1


def test_agreement_counts_decisions_and_lists_the_margins_of_those_that_turned():
    expected = (np.array([[1.0, 1.0 - 1e-6], [2.0, 0.0], [0.5, 0.5 + 2e-6], [1.0, 0.0]]),)
    rows = iter([[1.0 - 1e-6, 1.0], [2.0, 0.0], [0.5 + 2e-6, 0.5], [1.0, 0.0]])
    found = check(lambda image: (np.array([next(rows)]),), IMAGES[:4], expected).parity
    assert found.agreement == 0.5
    assert found.disagreements == "0 (margin 1.0e-06), 2 (margin 2.0e-06)"


def test_every_disagreement_is_named_the_first_ones_with_their_margin():
    expected = (np.array([[[1.0, 1e-9]]] * 7),)  # one class in two places
    found = check(lambda image: (np.array([[[1.0, -1e-9]]]),), IMAGES, expected).parity
    assert found.agreement == 0.5
    assert found.disagreements.endswith("4 (margin 1.0e-09) and 2 more: 5-6")


def test_images_are_named_by_their_number_among_all():
    """Whatever the order of the comparison, and where a call has several."""
    batches = [(np.full((2, 1), 2.0 * n, np.float32),) for n in range(4)]
    chosen = (2, 0, 3)
    expected = Reference((np.array([[1.0, 0.0], [1.0, 1 - 1e-6]] * 3),), chosen)
    turned = np.array([[1.0, 0.0], [1 - 1e-6, 1.0]])
    found = parity.check(lambda _: (turned,), batches, expected).parity
    assert (found.images, found.agreement) == (3, 0.5)
    assert found.disagreements == "1 (margin 1.0e-06), 5 (margin 1.0e-06), 7 (margin 1.0e-06)"


@given(arrays.arrays(np.float64, (3, 4, 2), elements=st.floats(-1, 1)))
@settings(max_examples=40, deadline=None)
def test_decision_is_the_largest_class_of_each_place_or_a_sign(values):
    assert np.array_equal(decisions(values), values.argmax(axis=1))
    assert np.array_equal(decisions(values[:, :1]), (values[:, :1] > 0).astype(int))
    assert np.array_equal(decisions(values[:, 0, 0]), (values[:, 0, 0] > 0).astype(int))


def test_verified_is_made_by_check_only():
    parity_of_nothing = Parity(0.0, 0.0, 1.0, "", 1)
    with pytest.raises(TypeError, match=r"parity\.check only"):
        Verified(right, parity_of_nothing, {}, object())
    for arguments in ((), ({},)):
        with pytest.raises(TypeError):
            Verified(right, parity_of_nothing, *arguments)
    genuine = check(right, IMAGES, EXPECTED)
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(genuine, predict=lambda image: (image,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        genuine.predict = print
    assert copy.copy(genuine).predict is right


def counting(predict):
    """The engine, and the list of images that it is called with."""
    calls = []

    def call(image):
        calls.append(image)
        return predict(image)

    return call, calls


def test_scores_are_of_the_very_outputs_that_were_compared():
    """The engine is called once for each batch, and what it answered is scored, bit for bit."""
    given = []

    def score(outputs):
        given.append([output.copy() for output in outputs])
        return {"mean": Score(float(outputs[0].mean())), "share": Score(float((outputs[1] > 0).mean()), tolerance=None)}

    predict, calls = counting(right)
    found = check(predict, IMAGES, EXPECTED, score=score)
    assert len(calls) == len(IMAGES)
    assert all(got is image for got, image in zip(calls, IMAGES, strict=True))
    assert len(given) == 1
    for got, answered in zip(given[0], zip(*map(right, IMAGES), strict=True), strict=True):
        assert np.array_equal(got, np.concatenate(answered))
        assert got.dtype == np.float32
    assert found.scores == score(given[0])


def test_batches_are_scored_as_single_inputs():
    batches = [np.concatenate(IMAGES[:4]), np.concatenate(IMAGES[3:])]
    expected = tuple(np.concatenate([output[:4], output[3:]]) for output in EXPECTED)
    predict, calls = counting(right)
    scores = check(predict, batches, expected, score=lambda outputs: {"n": Score(len(outputs[0]))}).scores
    assert (scores["n"].value, len(calls)) == (8, 2)


def test_without_a_score_there_is_none_and_nothing_is_scored_that_does_not_agree():
    assert check(right, IMAGES, EXPECTED).scores == {}
    scored = []
    with pytest.raises(ParityError):
        check(lambda image: right(image)[::-1], IMAGES, EXPECTED, score=scored.append)
    with pytest.raises(ParityError):
        check(lambda image: (right(image)[0] * 2, image[:, :1]), IMAGES, EXPECTED, score=scored.append)
    assert scored == []


def test_an_error_of_the_score_is_the_users():
    def score(outputs):
        raise UserError("task.py: score: failed")

    with pytest.raises(UserError, match=r"task\.py: score"):
        check(right, IMAGES, EXPECTED, score=score)


@pytest.mark.parametrize("turned", [0, 1, 3, 7])
def test_agreement_with_dense_is_the_share_of_equal_decisions_over_all_outputs(turned):
    """Seven decisions among classes and seven signs; the engine's own agreement is not touched by it."""
    dense = tuple(output.copy() for output in EXPECTED)
    dense[0][:turned] = np.roll(np.eye(4)[EXPECTED[0][:turned].argmax(axis=1)], 1, axis=1)
    dense[1][: turned // 2] *= -1
    found = check(right, IMAGES, EXPECTED, dense=dense).parity
    assert found.with_dense == pytest.approx(1 - (turned + turned // 2) / 14)
    assert found.agreement == 1
    assert dataclasses.replace(found, with_dense=None) == check(right, IMAGES, EXPECTED).parity


def test_agreement_with_dense_is_of_the_engines_decisions_and_not_of_the_references():
    expected = (np.array([[1.0, 1.0 - 1e-6], [2.0, 0.0]]),)
    rows = iter([[1.0 - 1e-6, 1.0], [2.0, 0.0]])
    found = check(lambda image: (np.array([next(rows)]),), IMAGES[:2], expected, dense=expected).parity
    assert (found.agreement, found.with_dense) == (0.5, 0.5)


def test_agreement_with_dense_counts_places_and_not_outputs():
    """An output of many decisions weighs as many: pixels of a mask beside one class."""
    mask = np.where(np.arange(18).reshape(2, 1, 3, 3) < 9, 1.0, -1.0)
    kind = np.array([[1.0, 0.0], [0.0, 1.0]])
    rows = iter([0, 1])

    def predict(image):
        index = next(rows)
        return mask[index : index + 1], kind[index : index + 1]

    found = check(predict, IMAGES[:2], (mask, kind), dense=(mask, kind[::-1])).parity
    assert found.with_dense == pytest.approx(18 / 20)


@pytest.mark.parametrize("dense", [(EXPECTED[0],), (EXPECTED[0][:, :3], EXPECTED[1])])
def test_agreement_with_a_network_of_other_outputs_is_unknown(dense):
    assert check(right, IMAGES, EXPECTED, dense=dense).parity.with_dense is None


def test_agreement_with_dense_is_unknown_where_it_was_not_asked_for():
    assert check(right, IMAGES, EXPECTED).parity.with_dense is None


def test_tolerance_is_the_one_that_is_published():
    assert parity.TOLERANCE == 1e-5


def test_a_network_that_answers_nothing_but_nan_is_not_verified():
    """Every engine would agree with it."""
    nothing = np.full((2, 3), np.nan)
    images = [np.zeros((1, 3), np.float32)] * 2
    with pytest.raises(ParityError, match="no finite number"):
        check(lambda image: (nothing[:1].astype(np.float32),), images, (nothing,))
    half = np.array([[1.0, np.inf]])
    assert check(lambda image: (half.astype(np.float32),), images[:1], (half,)).parity.max_rel == 0


def test_an_engine_that_writes_into_its_input_is_given_copies_and_the_inputs_stay():
    def shrinks(image):
        image /= 4
        return right(image)

    inputs = [(image * 4,) for image in IMAGES]
    before = [image.copy() for (image,) in inputs]
    found = parity.check(shrinks, inputs, of(EXPECTED))
    assert found.parity.notes == (parity.WRITES,)
    for (image,), kept in zip(inputs, before, strict=True):
        assert np.array_equal(image, kept)
        assert np.array_equal(found.predict(image)[0], right(image / 4)[0])
        assert np.array_equal(image, kept), "timed on the same inputs too"


def test_an_output_that_no_longer_depends_on_the_input_is_marked_where_the_dense_one_does():
    constant = (np.repeat(EXPECTED[0][:1], 7, axis=0), np.repeat(EXPECTED[1][:1], 7, axis=0))
    fixed = tuple(output[:1].astype(np.float32) for output in constant)
    assert check(lambda image: fixed, IMAGES, constant, dense=EXPECTED).parity.notes == (parity.CONSTANT,)
    for dense in (None, constant):
        assert check(lambda image: fixed, IMAGES, constant, dense=dense).parity.notes == (parity.NEVER_DEPENDED,)
    assert check(right, IMAGES, EXPECTED, dense=EXPECTED).parity.notes == ()
    half = (EXPECTED[0], constant[1])
    assert check(lambda image: (right(image)[0], fixed[1]), IMAGES, half).parity.notes == ()


def test_only_the_batches_of_the_reference_are_compared_and_all_are_scored():
    chosen = spread(7)[:3]
    reference = Reference(tuple(output[list(chosen)] for output in EXPECTED), chosen)
    wrong = IMAGES[next(i for i in range(7) if i not in chosen)]
    predict = lambda image: right(image) if image is not wrong else tuple(2 * o for o in right(image))  # noqa: E731
    found = parity.check(predict, [(i,) for i in IMAGES], reference, score=lambda o: {"n": Score(len(o[0]))})
    assert (found.parity.images, found.scores["n"].value) == (3, 7)
    wrong = IMAGES[chosen[2]]
    with pytest.raises(ParityError):
        parity.check(predict, [(i,) for i in IMAGES], reference)


def test_dense_outputs_of_fewer_batches_are_compared_on_those_that_both_have():
    order = spread(7)
    whole = Reference(tuple(output[list(order)] for output in EXPECTED), order)
    fewer = Reference(tuple(output[:2] for output in whole.outputs), order[:2])
    batches = [(image,) for image in IMAGES]
    assert parity.check(right, batches, whole, dense=fewer).parity.with_dense == 1
    assert parity.check(right, batches, fewer, dense=whole).parity.with_dense == 1


def test_notes_of_the_reference_stand_in_the_reason_of_a_failure():
    reference = Reference(EXPECTED, tuple(range(7)), ("it computes in bfloat16",))
    with pytest.raises(ParityError, match="allowed 1e-05; it computes in bfloat16"):
        parity.check(lambda image: tuple(1.01 * o for o in right(image)), [(i,) for i in IMAGES], reference)


@pytest.mark.parametrize(("off", "reason"), [(0.99, None), (1.01, "max |d| is 1.01 steps"), (np.nan, "max |d| / max")])
def test_a_quantised_network_may_differ_by_a_step_of_each_output(off, reason):
    """The second output has a scale of its own; its difference in the first one's would be next to nothing."""
    steps = (1.0, 0.001)
    reference = dataclasses.replace(of(EXPECTED), steps=steps)
    batches = [(image,) for image in IMAGES]

    def engine(image):
        return right(image)[0] + np.float32(0.5), right(image)[1] + np.float32(off * steps[1])

    if reason is None:
        assert parity.check(engine, batches, reference).parity.max_rel > parity.TOLERANCE
        return
    with pytest.raises(ParityError, match=re.escape(reason)) as failed:
        parity.check(engine, batches, reference)
    assert failed.value.parity is not None


@pytest.mark.parametrize(("off", "passes"), [(3.9, True), (4.1, False)])
def test_a_quantised_network_may_differ_as_far_as_rounding_moves_it_and_a_step(off, passes):
    reference = dataclasses.replace(of(EXPECTED), steps=(1.0, 1.0), moved=(3.0, 0.0))
    batches = [(image,) for image in IMAGES]

    def engine(image):
        return right(image)[0] + np.float32(off), right(image)[1]

    if passes:
        assert parity.check(engine, batches, reference)
        return
    with pytest.raises(
        ParityError, match=r"4\.1 steps of the output's scale, allowed 1 and the 3 of rounding in float32"
    ):
        parity.check(engine, batches, reference)
