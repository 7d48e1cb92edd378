"""Counts of a stored network: weights, zeros and multiply-adds, kept beside its artifacts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sparsemark import paths
from sparsemark.files import code_digest, key_of, note_of, read_note, write_atomically
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.networks.factory import example_inputs
from sparsemark.pruning import accounting
from sparsemark.pruning.accounting import NetworkCount

if TYPE_CHECKING:
    from sparsemark.networks.source import Source


def count(source: Source, work: Path, key: str) -> NetworkCount:
    """Count what a checkpoint's network holds and does, unless that was counted before.

    Args:
        source: a checkpoint.
        work: folder of the study.
        key: of all that decides the network.
    """
    code = code_digest(Path(accounting.__file__).parent)
    path = paths.counts(work, key_of(key, code))
    with suppress(msgspec.ValidationError):  # absent, or what a crash left: counted again
        return msgspec.convert(read_note(path), NetworkCount)
    counted = accounting.count(load_checkpoint(source.path).build(), example_inputs(source.model))
    write_atomically(path, note_of(asdict(counted)))
    return counted
