"""One export for the same weights of the same network in a session: it takes seconds, and gives the same bytes."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sparsemark.files import content_hash, key_of, replacing
from sparsemark.formats import onnx
from sparsemark.networks.checkpoint import load_checkpoint, tensors_digest
from tests.small_networks import alone_with, shelf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.networks.source import Source


_PLAIN = onnx.export


def _key(source: Source) -> str | None:
    """Key of all that decides the file; None where that is more than one file of code and one of weights."""
    location, _, factory = source.model.reference.rpartition(":")
    if source.is_onnx or not location.endswith(".py"):
        return None
    header = load_checkpoint(source.path).header
    inputs = [one.text for one in source.model.inputs]
    weights = tensors_digest(source.path.read_bytes())
    return key_of(
        weights, content_hash(Path(location)), factory, inputs, header.variant.seed, repr(header.channel_plan)
    )


@contextmanager
def remembered() -> Iterator[None]:
    """Take from the shelf what was exported before, by any worker, within the block; within another, change nothing."""
    plain = onnx.export
    if plain is not _PLAIN:  # two would wait for each other's lock
        yield
        return

    def export(source: Source, path: Path) -> None:
        key = _key(source)
        if key is None:
            plain(source, path)
            return
        known = shelf() / f"{key}.onnx"
        with alone_with(key):
            if not known.exists():
                plain(source, known)
            with replacing(path) as target:
                shutil.copyfile(known, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "export", export)
        yield
