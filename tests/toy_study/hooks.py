"""A study's task over forty random images. Each training leaves a line in `toy.log`, in the working directory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from sparsemark import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

LOG = Path("toy.log")
IMAGES, TEST_IMAGES, SIZE = 40, 8, 16
SECONDS = float(os.environ.get("TOY_SECONDS", "0"))
"""How long a training takes, so that a test can interrupt it."""


def open_task(model_name: str, seed: int, fold: int | None, data: Path | None) -> ToyTask:
    """Open the images; `data`, where given, is a number that draws others."""
    return ToyTask(seed, 0 if data is None else int(str(data)))


class ToyTask:
    """Fit in one step, and leave a line in the log."""

    METRICS: ClassVar = {
        "accuracy": Metric(),
        **dict.fromkeys(("f1", "recall", "precision", "roc_auc"), Metric(tolerance=None)),
    }

    def __init__(self, seed: int, drawn: int) -> None:
        rng = np.random.default_rng(drawn)
        self._images = rng.random((IMAGES, 1, SIZE, SIZE), dtype=np.float32)
        self._labels = rng.integers(0, 2, IMAGES)
        self._seed, self._drawn = seed, drawn

    def describe(self) -> Mapping[str, Any]:
        """Name the images; the same were drawn wherever the key is the same."""
        split = {"train": ["toy-a", "toy-b"], "validation": ["toy-c"], "test": [f"toy-{self._drawn}-{self._seed}"]}
        words = f"toy images {self._drawn}, {TEST_IMAGES} in the test set"
        return {"data": words, "caveat": None, "key": f"toy {self._drawn}", "split": split}

    def images(self, part: str) -> NDArray[np.float32]:
        """The last few images to report on, a few before them to choose by."""
        return self._images[-TEST_IMAGES:] if part == "report" else self._images[-2 * TEST_IMAGES : -TEST_IMAGES]

    def score(self, outputs: tuple[NDArray[Any], ...], part: str) -> Mapping[str, float]:
        """Accuracy, and numbers of the right names."""
        accuracy = float(self._correct(outputs).mean())
        return {"accuracy": accuracy, "f1": 0.5, "recall": 0.5, "precision": 0.5, "roc_auc": 0.5}

    def per_group(self, outputs: tuple[NDArray[Any], ...], part: str) -> Mapping[str, tuple[float, float]]:
        """Accuracy of every image."""
        return {str(index): (float(right), 1.0) for index, right in enumerate(self._correct(outputs))}

    def batches(self, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All training images at once."""
        count = IMAGES - TEST_IMAGES
        yield torch.from_numpy(self._images[:count]), torch.from_numpy(self._labels[:count])

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy."""
        return torch.nn.functional.cross_entropy(outputs, targets)

    def train(self, module: torch.nn.Module, epochs: int | None, seed: int, work: Path) -> Mapping[str, Any]:
        """Take one step, masks left as they are."""
        with LOG.open("a") as file:
            # A fine-tuning has a folder of its own, by what it begins with, in that of its network.
            file.write(f"train {work.name}\n" if epochs is None else f"finetune {work.parent.name}\n")
        time.sleep(SECONDS)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        for images, labels in self.batches(seed):
            loss = self.loss(module(images), labels)
            loss.backward()
        optimizer.step()
        return {"epochs": [{"epoch": 1, "train_loss": float(loss.detach())}]}

    def _correct(self, outputs: tuple[NDArray[Any], ...]) -> NDArray[np.bool_]:
        return outputs[0].argmax(axis=1) == self._labels[-TEST_IMAGES:]
