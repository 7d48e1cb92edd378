"""Reference outputs on disk: float64, with a digest and notes beside them; damaged ones are computed again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.files import content_hash, note_of, read_note, replacing, write_atomically
from sparsemark.networks.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_LOG = logging.getLogger(__name__)

_TOLD = ("chosen", "notes", "steps", "moved")
"""Fields of a reference beside its outputs."""


def load(path: Path, key: str) -> Reference | None:
    """Return what `store` wrote; None where it is absent, or no longer what was written.

    The digest comes first: nothing in a damaged file is parsed.

    Args:
        path: of the file.
        key: of the network and its inputs.
    """
    if not path.exists():
        return None
    note = read_note(_note(path))
    try:
        told = {} if note is None else {name: note.get(name) for name in _TOLD}
        if note is not None and note == _described(key, path, told):
            with np.load(path, allow_pickle=False) as arrays:
                outputs = tuple(arrays[name] for name in arrays.files)
            return Reference(outputs, **{name: tuple(told[name] or ()) for name in _TOLD})
    except OSError:  # it cannot be read; writing it again says what is wrong
        return None
    _LOG.info("%s: %s; computed again", path, "no digest beside it" if note is None else "damaged")
    return None


def store(path: Path, key: str, reference: Reference) -> None:
    """Write outputs, whole or not at all, and their digest beside them; errors as in `files.replacing`."""
    with replacing(path) as target, target.open("wb") as file:
        np.savez(file, *reference.outputs)
    told = {name: list(getattr(reference, name)) for name in _TOLD}
    write_atomically(_note(path), note_of(_described(key, path, told)))


def _described(key: str, path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the note; what only quantised networks have is left out of the others'."""
    kept = {name: value for name, value in told.items() if value or name in _TOLD[:2]}
    return {"key": key, "sha256": content_hash(path), **kept}


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
