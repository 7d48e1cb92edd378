"""What a study file names.

Models, data and training hooks, pruning grid, engines, protocol. Parsed and validated, nothing more.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

from sparsemark.errors import UserError
from sparsemark.specs import AA, Cell, ModelSpec, Protocol, PruneSpec, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray


class Trainer(Interface):
    """What a study brings to the harness: data, and how its networks learn from them.

    A study file names a factory, `hooks = "training.study:open_trainer"`, which is called with the model's name, the
    seed and the data folder or None, and returns one of these. The seed decides split, initial weights and order of the
    data.
    """

    source: str
    """The images in words: set, number of patients and slices, how they were split."""

    provenance: Mapping[str, Any]
    """What goes into a checkpoint's header.

    Recipe, data hash, split (lists of patients), versions. JSON values only.
    """

    def has_trained(self, provenance: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this header was trained on these very images and this split."""

    def test_images(self) -> NDArray[np.float32]:
        """Test images as the network takes them, shape (n, channels, height, width)."""

    def train(self, module: torch.nn.Module, work: Path) -> Mapping[str, Any]:
        """Fit all parameters in place; what is needed to resume goes to `work`. Returns the history, as JSON values."""

    def recalibrate(self, module: torch.nn.Module) -> None:
        """Estimate BatchNorm's statistics again, in place, on training images."""

    def finetune(self, module: torch.nn.Module, work: Path) -> Mapping[str, Any]:
        """Train a pruned network in place; attached masks stay attached. Resumes and returns as `train`."""

    def evaluate(self, module: torch.nn.Module) -> Mapping[str, float]:
        """Metrics on the test images.

        Accuracy, accuracy_low, accuracy_high (bootstrap by patient), f1, recall, precision, roc_auc.
        """


@dataclass(frozen=True)
class Study:
    """A study file, validated. `variants` are trained and evaluated; `cells` are timed as well."""

    name: str
    root: Path
    hooks: str | None
    variants: tuple[Variant, ...]
    cells: tuple[Cell, ...]
    protocol: Protocol


def load_study(path: Path) -> Study:
    """Read a study file (TOML); its references and folders are relative to the working directory.

    Raises:
        UserError: naming the file, the field and what was expected.
    """
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}") from error
    try:
        return _parse(path, document)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}: missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: {error}") from error


def _parse(path: Path, document: Mapping[str, Any]) -> Study:
    models = {
        entry["name"]: ModelSpec(entry["name"], entry["reference"], tuple(entry["input"]))
        for entry in document["model"]
    }
    protocol = Protocol(**document.get("protocol", {}))
    variants: dict[Variant, None] = {}
    cells: dict[Cell, None] = {}
    for entry in document["prune"]:
        unknown = set(entry) - {"model", "method", "sparsity", "round_to", "seeds", "engines", "controls"}
        if unknown:
            raise UserError(f"prune.{min(unknown)}: not a field of a study file")
        for variant in _variants(entry, models):
            variants[variant] = None
            for engine in entry.get("engines", ()):
                cells[Cell(variant, engine, protocol.threads)] = None
            for engine in entry.get("controls", ()):
                cells[Cell(variant, engine, protocol.threads, control=AA)] = None
    return Study(document["name"], path.parent, document.get("hooks"), tuple(variants), tuple(cells), protocol)


def _variants(entry: Mapping[str, Any], models: Mapping[str, ModelSpec]) -> Sequence[Variant]:
    names = entry.get("model", list(models))
    unknown = sorted(set(names) - set(models))
    if unknown:
        raise UserError(f"prune.model: {unknown[0]!r} is not one of {', '.join(models)}")
    sparsities = entry.get("sparsity", [0.0])
    return [
        Variant(models[name], PruneSpec(entry["method"], sparsity, entry.get("round_to", 1)), seed)
        for name in names
        for seed in entry.get("seeds", [0])
        for sparsity in sparsities
    ]
