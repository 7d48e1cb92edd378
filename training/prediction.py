"""Prediction of slices in batches, summarised by a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.networks.outputs import output_tensors
from training.slices import halved, to_input

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.slices import Slices
    from training.tasks.base import PerSlice, SliceTask

BATCH = 64


def summarise_slices(
    network: torch.nn.Module,
    task: SliceTask,
    slices: Slices,
    indices: NDArray[np.intp],
    *,
    half_resolution: bool = False,
) -> PerSlice:
    """Return what the scores of a task need of each slice, in eval mode and the caller's precision, on the CPU.

    The network's mode is restored. `half_resolution` halves height and width of images and masks.

    Raises:
        UserError: the network's outputs are not those of the task.
    """
    training = network.training
    device = next(network.parameters()).device
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(indices), BATCH):
            chosen = indices[start : start + BATCH]
            images, masks = slices.images[chosen], slices.masks[chosen]
            if half_resolution:
                images, masks = halved(images), halved(masks)
            outputs = output_tensors(network(to_input(images).to(device)))
            targets = task.targets(slices.labels[chosen], masks)
            found.append(task.summarise([output.float().cpu() for output in outputs], targets))
    network.train(training)
    return joined(found)


def joined(tables: list[PerSlice]) -> PerSlice:
    """Return several tables as one, on the CPU."""
    return {name: torch.cat([table[name] for table in tables]).cpu() for name in tables[0]}
