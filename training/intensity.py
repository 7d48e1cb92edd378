"""Intensity normalisation by patient: MRI has no unit of intensity, and scanners differ from site to site.

Source: Buda et al. 2019 normalise each volume as well. On validation patients of three seeds (cnn9, 64 x 64 pixels, 12
epochs) it took accuracy from .894 to .920 and ROC AUC from .940 to .959.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

HEAD = 10
"""Pixels above this, of 255, are head; below is air."""

MIDDLE = 100
"""Target of the head's median, of 255: lesions up to 2.5 times as bright stay unclipped."""


def normalize_patients(images: NDArray[np.uint8], patients: Sequence[str]) -> NDArray[np.uint8]:
    """Scale each channel of each patient so that the median over the head is `MIDDLE`.

    A whole patient at a time, not a slice: a large lesion must not darken the brain around it.

    Args:
        images: shape (n, height, width, channels).
        patients: id of the patient of each image.

    Returns:
        New images of the same shape; a channel without a head is unchanged.
    """
    scaled = images.copy()
    owners = np.asarray(patients)
    for patient in np.unique(owners):
        own = np.flatnonzero(owners == patient)
        for channel in range(images.shape[-1]):
            values = images[own, ..., channel]
            head = values[values > HEAD]
            if head.size:
                factor = MIDDLE / float(np.median(head))
                scaled[own, ..., channel] = np.clip(np.rint(values * factor), 0, 255).astype(np.uint8)
    return scaled
