"""Kept checkpoints: whether a network that an earlier run trained is the one that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats.onnx_int8 import weight_limit
from sparsemark.records.epochs import spent_on
from sparsemark.study.requirements import ingredients

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.networks.checkpoint import Header
    from sparsemark.specs import Variant
    from sparsemark.study.prepare import Prepared
    from sparsemark.study.task import Task

PARENT = "pruned_from"
"""Field of a pruned network's provenance: SHA-256 of the dense checkpoint that it was made of."""

INGREDIENTS = "ingredients"
"""Field of a kept network's provenance: digests of the files and data that its pruning depends on."""

WEIGHT_LIMIT = "weight_limit"
"""Field of a kept network's provenance: largest integer of a weight that quantisation-aware training rounded to."""


def check_kept(
    path: Path, header: Header, variant: Variant, task: Task, *, dense: Prepared | None, epochs: int
) -> None:
    """Check that a kept checkpoint is of a variant, made as it would be made now.

    Args:
        path: of the checkpoint.
        header: of the checkpoint.
        variant: what is asked for.
        task: that trained it.
        dense: the network unpruned; None where `variant` is that network.
        epochs: of fine-tuning in all.

    Raises:
        UserError: it is another network, or was pruned from another one, by other data or with other epochs.
        UnsupportedError: it was fine-tuned for the int8 of another processor.
    """
    found, expected = ((v.name, " ".join(one.text for one in v.model.inputs)) for v in (header.variant, variant))
    if found != expected:
        # A file under another's name would put one network's numbers into another's row.
        raise UserError(f"{path}: holds {found[0]}, input {found[1]}; expected {expected[0]}, input {expected[1]}")
    if header.variant.model.reference != variant.model.reference:
        # What code runs is the study's to say, never a file's.
        raise UserError(
            f"{path}: header.model.reference is {header.variant.model.reference!r}; expected "
            f"{variant.model.reference!r}, as the study says"
        )
    parent = header.provenance.get(PARENT)
    if parent is not None and dense is not None and dense.sha256 != parent:
        raise UserError(
            f"{path}: pruned from another network than {dense.source.path}; delete one of them to make it again"
        )
    known = header.provenance.get(INGREDIENTS)
    if known is not None and known != ingredients(variant, task):
        raise UserError(f"{path}: pruned by other ratios or training batches; delete it to make it again")
    rounded = header.provenance.get(WEIGHT_LIMIT)
    if rounded is not None and rounded != weight_limit():
        raise UnsupportedError(
            f"{path}: fine-tuned for int8 weights up to {rounded}, on this processor they go up to {weight_limit()}; "
            "delete it to fine-tune for this one"
        )
    spent = spent_on(header.provenance)
    if spent is not None and spent != epochs:
        raise UserError(
            f"{path}: fine-tuned for {spent} epochs, now {epochs} are asked for; delete it to make it again"
        )
