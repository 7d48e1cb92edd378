"""Where networks and images come from: a study with its training hooks, or one model of the user's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from sparsemark import paths
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import content_hash, key_of
from sparsemark.formats.base import Source
from sparsemark.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sparsemark.networks.factory import build_model, check_input
from sparsemark.networks.onnx_model import check_onnx_input
from sparsemark.records.measurement import SCORES
from sparsemark.references import resolve
from sparsemark.specs import DENSE, ModelSpec, PruneSpec, Variant
from sparsemark.study.prepare import PARENT, prune_and_finetune, prune_only, train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.study.file import Study, Trainer

_RANDOM_IMAGES = 32
"""Inputs made up for a user's model: enough that a cache cannot hold on to one."""


@dataclass(frozen=True)
class Images:
    """Inputs of a network, each of its input shape, what they are in words, and a key of their content."""

    batches: Sequence[NDArray[np.float32]]
    source: str
    key: str


class Subject(Protocol):
    """What the pipeline works on."""

    def source(self, variant: Variant) -> Source:
        """The variant as a file, made now if it is not there."""

    def images(self, variant: Variant) -> Images:
        """What it is verified and timed on."""

    def accuracy(self, variant: Variant) -> Mapping[str, Any]:
        """Fields of `Measurement` that say how well it predicts; empty where nobody knows."""

    def baselines(self, variant: Variant) -> Mapping[str, Mapping[str, float]]:
        """Test metrics of what predicts without a network, by name, on the same images; empty where nobody knows."""


class StudySubject:
    """A study: weights that were trained before are taken, what is missing is trained, pruned and fine-tuned.

    Args:
        study: names the hooks.
        weights: folder of checkpoints.
        work: folder for what a rerun would make again.
        data: the user's images, or None for what the study brings itself.
    """

    def __init__(self, study: Study, weights: Path, work: Path, data: Path | None) -> None:
        if study.hooks is None:
            raise ValueError("a study without hooks has nothing to train with")
        self._open = resolve(study.hooks)
        self._weights = weights
        self._work = work
        self._data = data
        self._trainers: dict[tuple[str, int], Trainer] = {}
        self._images: dict[tuple[str, int], Images] = {}

    def source(self, variant: Variant) -> Source:
        """Take the checkpoint, or make it: the dense network of the same seed first, then what is pruned from it."""
        path = paths.checkpoint(self._weights, variant.name)
        work = paths.training_work(self._work, variant.name)
        if not path.exists() and variant.prune.method == DENSE:
            train(variant, self._trainer(variant), path, work)
        elif not path.exists():
            dense = self.source(Variant(variant.model, PruneSpec(), variant.seed)).path
            prune_and_finetune(variant, dense, self._trainer(variant), path, work)
        checkpoint = load_checkpoint(path)
        held = checkpoint.variant
        found, expected = ((v.name, v.model.input_shape) for v in (held, variant))
        if found != expected:
            # A file under another's name would put one network's numbers into another's row.
            raise UserError(f"{path}: holds {found[0]}, input {found[1]}; expected {expected[0]}, input {expected[1]}")
        parent = checkpoint.provenance.get(PARENT)
        if parent is not None:
            dense = paths.checkpoint(self._weights, replace(variant, prune=PruneSpec()).name)
            if dense.exists() and content_hash(dense) != parent:
                raise UserError(
                    f"{path}: pruned from another network than {dense}; delete one of them to make it again"
                )
        return Source(variant.model, path)

    def images(self, variant: Variant) -> Images:
        """Test images of the variant's seed, one a batch."""
        key = (variant.model.name, variant.seed)
        if key not in self._images:
            trainer = self._trainer(variant)
            images = np.ascontiguousarray(trainer.test_images(), dtype=np.float32)
            if images.shape[1:] != variant.model.input_shape[1:] or not len(images):
                raise UserError(
                    f"{variant.model.name}: input {variant.model.input_shape}: the test images are {images.shape}"
                )
            digest = hashlib.sha256(images.tobytes()).hexdigest()[:16]
            self._images[key] = Images([image[None] for image in images], trainer.source, digest)
        return self._images[key]

    def accuracy(self, variant: Variant) -> Mapping[str, Any]:
        """Test metrics from the checkpoint's header, where training and fine-tuning left them."""
        provenance = load_checkpoint(self.source(variant).path).provenance
        metrics = provenance.get("metrics", {})
        final = metrics.get("finetuned") or metrics.get("trained") or {}
        return {name: final.get(name) for name in (*SCORES, "accuracy_low", "accuracy_high")} | {
            "accuracy_raw": metrics.get("raw", {}).get("accuracy"),
            "accuracy_recalibrated": metrics.get("recalibrated", {}).get("accuracy"),
            "accuracy_source": provenance.get("source"),
        }

    def baselines(self, variant: Variant) -> Mapping[str, Mapping[str, float]]:
        """Test metrics of what predicts without a network, by name, from the checkpoint's header."""
        fitted = load_checkpoint(self.source(variant).path).provenance.get("baselines", {})
        return {name: baseline.get("test", {}) for name, baseline in fitted.items()}

    def _trainer(self, variant: Variant) -> Trainer:
        key = (variant.model.name, variant.seed)
        if key not in self._trainers:
            self._trainers[key] = self._open(variant.model.name, variant.seed, self._data)
        return self._trainers[key]


class OwnModel:
    """One model of the user's own, pruned as it is: no data, so no fine-tuning and no accuracy.

    Args:
        model: reference of a factory or of an ONNX file.
        work: folder for checkpoints.
    """

    def __init__(self, model: ModelSpec, work: Path) -> None:
        self._work = work
        self._made: set[str] = set()
        self._dense: Checkpoint | None = None
        if not model.reference.endswith(".onnx"):
            # One network for all variants: a factory may draw its weights at random, a lazy layer at its first call.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                module = build_model(model)
                check_input(module, model)
            self._dense = Checkpoint(Variant(model), module.state_dict())
        elif not Path(model.reference).is_file():
            raise UserError(f"{model.reference}: no such file")
        else:
            check_onnx_input(model)

    def source(self, variant: Variant) -> Source:
        """Write the variant's checkpoint, or point at the user's ONNX file."""
        if self._dense is None:
            if variant.prune.method != DENSE:
                raise UnsupportedError("an ONNX file cannot be pruned here; give the factory of the network")
            return Source(variant.model, Path(variant.model.reference))
        path = paths.checkpoint(self._work, variant.name)
        if variant.name not in self._made:  # a file of an earlier process may be another network's
            if variant.prune.method == DENSE:
                save_checkpoint(path, self._dense)
            else:
                prune_only(variant, self._dense, path)
            self._made.add(variant.name)
        return Source(variant.model, path)

    def images(self, variant: Variant) -> Images:
        """Random inputs: latency does not depend on what is in a picture, and nothing is said about accuracy."""
        shape = variant.model.input_shape
        generator = np.random.default_rng(0)
        batches = [generator.standard_normal(shape, dtype=np.float32) for _ in range(_RANDOM_IMAGES)]
        return Images(batches, "random inputs, standard normal", key_of("standard normal", shape, _RANDOM_IMAGES))

    def accuracy(self, variant: Variant) -> Mapping[str, Any]:  # noqa: ARG002 - nobody knows, whatever the variant
        """Nothing: without data there is none."""
        return {}

    def baselines(self, variant: Variant) -> Mapping[str, Mapping[str, float]]:  # noqa: ARG002 - as above
        """Nothing, for the same reason."""
        return {}


class UntrainedStudy:
    """A study without hooks: networks with the weights that their factories give them, timed on random inputs.

    Args:
        study: names the models.
        work: folder for what a rerun would make again.
    """

    def __init__(self, study: Study, work: Path) -> None:
        models = dict.fromkeys(variant.model for variant in study.variants)
        self._models = {model: OwnModel(model, paths.untrained(work)) for model in models}

    def source(self, variant: Variant) -> Source:
        """As `OwnModel.source`."""
        return self._models[variant.model].source(variant)

    def images(self, variant: Variant) -> Images:
        """As `OwnModel.images`."""
        return self._models[variant.model].images(variant)

    def accuracy(self, variant: Variant) -> Mapping[str, Any]:
        """Nothing: the networks are not trained."""
        return self._models[variant.model].accuracy(variant)

    def baselines(self, variant: Variant) -> Mapping[str, Mapping[str, float]]:
        """Nothing, for the same reason."""
        return self._models[variant.model].baselines(variant)


def open_study(study: Study, work: Path, data: Path | None) -> Subject:
    """The subject of a study file: trained where it names hooks, else as its factories make it.

    Raises:
        UserError: images are given to a study that has no use for them, or a factory fails.
    """
    if study.hooks is not None:
        return StudySubject(study, paths.WEIGHTS, work, data)
    if data is not None:
        raise UserError(f"--data {data}: {study.name} names no hooks, so nothing is trained or tested on images")
    return UntrainedStudy(study, work)


def model_key(source: Source) -> str:
    """Key of everything in a variant that decides its artifacts.

    Weights, and the file of the factory that rebuilds it.
    """
    location = Path(source.model.reference.rpartition(":")[0])
    code = content_hash(location) if location.suffix == ".py" and location.is_file() else source.model.reference
    return key_of(content_hash(source.path), code, source.model.input_shape)
