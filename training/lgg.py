"""LGG MRI segmentation set in its Kaggle layout: a folder per patient, a TIFF and a mask per slice.

`TCGA_<site>_<patient>_<date>/TCGA_<site>_<patient>_<date>_<n>.tif` beside `..._<n>_mask.tif`; n counts from 1 and is
not zero-padded. The three channels are the sequences before contrast, FLAIR, and after contrast.
Every patient is brought to one brightness, channel by channel, over all slices (`training.intensity`).
Set: Buda, Saha, Mazurowski, 2019, doi 10.1016/j.compbiomed.2019.05.002.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from sparsemark.errors import UserError
from sparsemark.files import key_of
from training.cache import load_cached
from training.intensity import normalize_patients
from training.slices import SIZE, Slices, digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ORIGIN = "LGG MRI segmentation set (Kaggle mateuszbuda/lgg-mri-segmentation, CC BY-NC-SA 4.0)"
KAGGLE_FOLDER = "kaggle_3m"

_PATIENT = re.compile(r"(TCGA_[A-Za-z0-9]+_[A-Za-z0-9]+)_\d+")
_DECODER = 2
"""Raised when the same files decode to other values, which invalidates older caches."""


@dataclass(frozen=True)
class SliceFile:
    """One slice on disk. `patient` is the id without the date of the examination, as in `data.csv`."""

    image: Path
    mask: Path
    patient: str
    number: int


def load_lgg(folder: Path) -> Slices:
    """Read every slice under `folder`, the `kaggle_3m` folder or its parent; later calls map the cache of the first.

    Raises:
        UserError: one line that names the file and what was expected of it.
    """
    files, ignored = find_slices(folder)
    stamps = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for f in files for path in (f.image, f.mask)]
    return load_cached(key_of("lgg", _DECODER, SIZE, ignored, stamps), lambda: _decode(files, ignored))


def find_slices(folder: Path) -> tuple[list[SliceFile], int]:
    """List the slices by patient and number, and count the files that are not part of the layout.

    Raises:
        UserError: the folder is missing or holds no images, an image without its mask, or a mask without its image.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {KAGGLE_FOLDER} of the LGG set, or its parent")
    root = folder / KAGGLE_FOLDER if (folder / KAGGLE_FOLDER).is_dir() else folder
    slices: list[SliceFile] = []
    ignored = 0
    for entry in sorted(root.iterdir()):
        patient = _PATIENT.fullmatch(entry.name)
        if patient is None or not entry.is_dir():
            ignored += 1
            continue
        found, extra = _slices_of(entry, patient[1])
        slices += found
        ignored += extra
    if not slices:
        raise UserError(f"{root}: no images; expected TCGA_<site>_<patient>_<date>/..._<n>.tif")
    return sorted(slices, key=lambda s: (s.patient, s.image.parent.name, s.number)), ignored


def _slices_of(folder: Path, patient: str) -> tuple[list[SliceFile], int]:
    pattern = re.compile(rf"{re.escape(folder.name)}_(\d+)(_mask)?\.tif")
    images: dict[int, Path] = {}
    masks: dict[int, Path] = {}
    ignored = 0
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match is None:
            ignored += 1
        else:
            (masks if match[2] else images)[int(match[1])] = path
    for number in sorted(images.keys() ^ masks.keys()):
        if number in images:
            raise UserError(f"{images[number]}: no mask; expected {images[number].stem}_mask.tif beside it")
        raise UserError(f"{masks[number]}: no image; expected {masks[number].name.replace('_mask', '')} beside it")
    return [SliceFile(images[n], masks[n], patient, n) for n in images], ignored


def _decode(files: list[SliceFile], ignored: int) -> Slices:
    images = np.empty((len(files), SIZE, SIZE, 3), np.uint8)
    masks = np.empty((len(files), SIZE, SIZE), np.uint8)
    labels = np.empty(len(files), np.bool_)
    for i, file in enumerate(files):
        image = _read(file.image)
        if image.mode not in ("RGB", "L"):
            raise UserError(f"{file.image}: pixels of mode {image.mode!r}; expected 8-bit RGB")
        mask = _read(file.mask)
        if mask.size != image.size:
            width, height = mask.size
            expected = f"{image.width} x {image.height} as in its image"
            raise UserError(f"{file.mask}: {width} x {height} pixels; expected {expected}")
        images[i] = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX))
        lesion = _any_channel(mask)
        labels[i] = bool(lesion.any())
        masks[i] = shrink_mask(lesion)
    patients = tuple(file.patient for file in files)
    images = normalize_patients(images, patients)
    return Slices(images, masks, labels, patients, digest_of(images, labels, patients), ORIGIN, ignored)


def _any_channel(mask: Image.Image) -> NDArray[np.bool_]:
    """Return the pixels above 0, in any channel if the mask was saved with several."""
    brightest: NDArray[np.float32] = np.asarray(mask, np.float32).reshape(mask.height, mask.width, -1).max(axis=2)
    return brightest > 0


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image; expected an 8-bit TIFF") from None
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, struct.error and others.
        raise UserError(
            f"{path}: unreadable or truncated; expected a whole TIFF ({' '.join(str(error).split())})"
        ) from error
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise UserError(f"{path}: holds NaN or infinite pixels; expected 8-bit values")
    return image


def shrink_mask(lesion: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Resize a mask by majority, or by any tumour pixel where the majority would erase the lesion.

    Returns uint8, shape (128, 128).
    """
    covered = np.asarray(Image.fromarray(lesion.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BOX))
    majority = covered >= 0.5
    return (majority if majority.any() else covered > 0).astype(np.uint8)
