"""Cache of decoded slices: written once, atomically, and mapped into memory from then on."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.errors import UserError
from sparsemark.files import key_of, note_of, read_note
from sparsemark.references import one_line
from training.slices import Slices

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)

FOLDER = Path(".sparsemark", "data")
"""Below the working directory, never in the repository."""

_LAYOUT = 3
"""Raised when the stored fields change, which invalidates older caches."""

_ARRAYS = ("images", "masks", "labels")
_VALUES = ("patients", "digest", "origin", "ignored", "caveat")


def load_cached(key: str, decode: Callable[[], Slices]) -> Slices:
    """Map the slices stored under `key`, after decoding and storing them if they are not there.

    Two processes may decode at the same time: each writes its own folder, the first rename wins and the other copy is
    deleted.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    folder = FOLDER / key_of(_LAYOUT, key)
    if folder.is_dir():
        try:
            return _mapped(folder)
        except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
            _LOG.info("%s: damaged (%s); decoded again", folder, one_line(error))
            shutil.rmtree(folder, ignore_errors=True)
    slices = decode()
    try:
        _store(folder, slices)
    except OSError as error:
        raise UserError(
            f"{folder}: the cache of decoded images cannot be written: {error.strerror or error}"
        ) from error
    return _mapped(folder)


def _mapped(folder: Path) -> Slices:
    """Map stored slices.

    Raises:
        OSError, ValueError, EOFError, KeyError, TypeError: a file is absent, cut, or not what was written.
    """
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    index = read_note(folder / "index.json")
    if index is None:
        raise ValueError("index.json is not what was written")
    if {name: [array.dtype.str, *array.shape] for name, array in arrays.items()} != index["arrays"]:
        raise ValueError("an array has another size")
    return Slices(
        images=arrays["images"],
        masks=arrays["masks"],
        labels=np.asarray(arrays["labels"]),
        patients=tuple(index["patients"]),
        digest=index["digest"],
        origin=index["origin"],
        ignored=index["ignored"],
        caveat=index["caveat"],
    )


def _store(folder: Path, slices: Slices) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name in _ARRAYS:
            np.save(temporary / f"{name}.npy", getattr(slices, name))
        index = {name: getattr(slices, name) for name in _VALUES}
        stored = {name: np.load(temporary / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        index["arrays"] = {name: [array.dtype.str, *array.shape] for name, array in stored.items()}
        (temporary / "index.json").write_bytes(note_of(index))
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first, with the same content
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
