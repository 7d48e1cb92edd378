"""Files to deploy: exported networks, copied to where the user wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import WriteError
from sparsemark.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sparsemark.specs import Cell
    from sparsemark.study.pipeline import Pipeline


def keep_artifacts(pipeline: Pipeline, cells: Iterable[Cell], folder: Path) -> Iterator[Path]:
    """Copy the exported files to a folder, under names without a key, and yield each path once it is whole.

    Raises:
        UserError: the disk is full or the folder cannot be written; names the file in it.
    """
    from shutil import copyfile

    kept = set()
    for cell in cells:
        try:
            source = pipeline.artifact(cell).path
        except WriteError:
            raise
        except Exception:  # noqa: S112 - whatever kept it from being exported is the reason in the cell's row
            continue
        path = folder / f"{cell.file_name}{source.suffix}"
        if path not in kept:
            with replacing(path) as target:
                copyfile(source, target)
            kept.add(path)
            yield path
