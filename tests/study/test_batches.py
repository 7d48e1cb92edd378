"""Variants of one task of checks: of one dense network, as many as take a second, alone after a failure."""

from __future__ import annotations

from sparsemark.specs import ModelSpec, Pruning, Variant
from sparsemark.study.sweep.batches import Batches


def variants(name, count):
    model = ModelSpec(name, f"{name}.py:build", (1, 1))
    return [Variant(model, Pruning.of("magnitude", n / 100)) for n in range(1, count + 1)]


def test_every_variant_is_taken_once_and_no_task_has_two_dense_networks():
    wanted = [*variants("one", 30), *variants("two", 5)]
    batches, taken = Batches(wanted), []
    while batch := batches.take():
        assert len({variant.dense for variant in batch}) == 1
        batches.took(batch, 0.2 * len(batch))
        taken.append(batch)
    assert [variant for batch in taken for variant in batch] == wanted
    assert [len(batch) for batch in taken] == [1, 5, 5, 5, 5, 5, 4, 5]


def test_checks_of_seconds_are_a_task_each_and_there_is_a_most():
    batches = Batches(variants("one", 99))
    first = batches.take()
    batches.took(first, 7.0)
    assert len(batches.take()) == 1
    batches.took(first, 0.0)
    assert len(batches.take()) == 64


def test_those_of_a_task_that_failed_come_again_alone():
    batches = Batches(variants("one", 6))
    batches.took(batches.take(), 0.25)
    failed = batches.take()
    batches.again(failed)
    again = [batches.take() for _ in failed]
    assert sorted(variant.name for batch in again for variant in batch) == sorted(one.name for one in failed)
    assert [len(batch) for batch in again] == [1] * 4
    assert len(batches.take()) == 1, "the one that is left"
    assert batches.take() == []
