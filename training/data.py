"""Images of a run: the LGG set where a folder is named, else the phantom."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from training.lgg import load_lgg
from training.phantom import load_phantom

if TYPE_CHECKING:
    from training.slices import Slices
    from training.split import Split

DATA_VARIABLE = "LGG_DATA"


def load_slices(folder: str | Path | None) -> Slices:
    """Load the slices of `folder`, or of the folder that `LGG_DATA` names, or the phantom where neither is given.

    Raises:
        UserError: one line that names the file and what was expected of it.
    """
    chosen = folder or os.environ.get(DATA_VARIABLE)
    return load_lgg(Path(chosen)) if chosen else load_phantom()


def describe_source(slices: Slices, split: Split) -> str:
    """Return the images in words, for every table that shows a number from them."""
    tested = {slices.patients[i] for i in split.test}
    return (
        f"{slices.origin}: {len(slices.patient_ids)} patients, {len(slices)} slices, {split.words}; "
        f"test on {len(split.test)} slices of {len(tested)} patients"
    )
