"""Batch sizes: the same network called with more images at once, pruned and trained as before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.specs import ModelSpec

if TYPE_CHECKING:
    from sparsemark.specs import Variant


def with_batch(model: ModelSpec, batch: int) -> ModelSpec:
    """Return a network that takes `batch` images a call, in all of its inputs.

    Raises:
        UserError: its inputs begin with different sizes, so that none of these is the batch.
    """
    firsts = {one.shape[0] for one in model.inputs}
    if len(firsts) > 1:
        given = " ".join(one.text for one in model.inputs)
        raise UserError(f"batch {batch}: inputs {given}; expected all to begin with the same size, the batch")
    made = model.made_batch or firsts.pop()
    inputs = tuple(replace(one, shape=(batch, *one.shape[1:])) for one in model.inputs)
    return ModelSpec(model.name, model.reference, inputs, None if batch == made else made)


def as_made(variant: Variant) -> Variant:
    """Return a variant with the batch that it is pruned and trained with: one network, whatever it is called with."""
    made = variant.model.made_batch
    return variant if made is None else replace(variant, model=with_batch(variant.model, made))
