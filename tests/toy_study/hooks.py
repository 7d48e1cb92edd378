"""A study's hook over forty random images. Each training leaves a line in `toy.log`, in the working directory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LOG = Path("toy.log")
IMAGES, TEST_IMAGES, SIZE = 40, 8, 16
SECONDS = float(os.environ.get("TOY_SECONDS", "0"))
"""How long a training takes, so that a test can interrupt it."""


def open_trainer(model_name: str, seed: int, data: Path | None) -> ToyTrainer:
    """Open the images; `data`, where given, is a number that draws others."""
    return ToyTrainer(seed, 0 if data is None else int(str(data)))


class ToyTrainer:
    """Fit in one step, and say so in the log."""

    def __init__(self, seed: int, drawn: int) -> None:
        rng = np.random.default_rng(drawn)
        self._images = rng.random((IMAGES, 1, SIZE, SIZE), dtype=np.float32)
        self._labels = rng.integers(0, 2, IMAGES)
        self.source = f"toy images {drawn}, {TEST_IMAGES} in the test set"
        split = {"train": ["toy-a", "toy-b"], "validation": ["toy-c"], "test": [f"toy-{drawn}-{seed}"]}
        self.provenance: Mapping[str, Any] = {"data": {"hash": f"toy {drawn}"}, "split": split}

    def has_trained(self, provenance: Mapping[str, Any]) -> bool:
        """Whether these very images were drawn for that training."""
        return provenance.get("data") == self.provenance["data"]

    def test_images(self) -> NDArray[np.float32]:
        """The last few images."""
        return self._images[-TEST_IMAGES:]

    def train(self, module: torch.nn.Module, work: Path) -> Mapping[str, Any]:
        """Fit all parameters in place."""
        return self._fit(module, f"train {work.name}")

    def recalibrate(self, module: torch.nn.Module) -> None:
        """There is no BatchNorm in it."""

    def finetune(self, module: torch.nn.Module, work: Path) -> Mapping[str, Any]:
        """Fit what the masks leave."""
        return self._fit(module, f"finetune {work.name}")

    def evaluate(self, module: torch.nn.Module) -> Mapping[str, float]:
        """Accuracy on the test images, and numbers of the right names."""
        with torch.no_grad():
            predicted = module(torch.from_numpy(self.test_images())).argmax(dim=1).numpy()
        accuracy = float((predicted == self._labels[-TEST_IMAGES:]).mean())
        spread = {"accuracy_low": max(0.0, accuracy - 0.1), "accuracy_high": min(1.0, accuracy + 0.1)}
        return {"accuracy": accuracy, **spread, "f1": 0.5, "recall": 0.5, "precision": 0.5, "roc_auc": 0.5}

    def _fit(self, module: torch.nn.Module, what: str) -> Mapping[str, Any]:
        with LOG.open("a") as file:
            file.write(what + "\n")
        time.sleep(SECONDS)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        count = IMAGES - TEST_IMAGES
        logits = module(torch.from_numpy(self._images[:count]))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(self._labels[:count])).backward()
        optimizer.step()
        return {"epochs": []}
