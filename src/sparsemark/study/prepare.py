"""From a variant to its checkpoint.

Train the dense network, or prune it and fine-tune what is left, with the accuracy at each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError
from sparsemark.files import content_hash
from sparsemark.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sparsemark.networks.factory import build_model, example_input
from sparsemark.pruning import prune
from sparsemark.pruning.base import Request
from sparsemark.pruning.masks import make_permanent

PARENT = "pruned_from"
"""Field of a pruned network's header: SHA-256 of the dense checkpoint that it was made of."""

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.specs import Variant
    from sparsemark.study.file import Trainer


def train(variant: Variant, trainer: Trainer, path: Path, work: Path) -> None:
    """Train the dense network and write its checkpoint.

    Args:
        variant: of method `none`.
        trainer: data and training of the study, opened for the variant's model and seed.
        path: of the checkpoint.
        work: folder for what is needed to resume.
    """
    module = build_model(variant.model, variant.seed)
    history = trainer.train(module, work)
    metrics = {"trained": dict(trainer.evaluate(module.eval()))}
    provenance = dict(trainer.provenance) | {"source": trainer.source, "metrics": metrics, "history": dict(history)}
    save_checkpoint(path, Checkpoint(variant, module.state_dict(), provenance=provenance))


def prune_and_finetune(variant: Variant, dense: Path, trainer: Trainer, path: Path, work: Path) -> None:
    """Prune a trained network, fine-tune it and write its checkpoint.

    The header holds the test metrics `raw` (pruned, nothing else), `recalibrated` (BatchNorm statistics estimated again
    on training images) and `finetuned`.

    Args:
        variant: what to prune.
        dense: checkpoint of the same model and seed, unpruned.
        trainer: as in `train`.
        path: of the new checkpoint.
        work: folder for what is needed to resume.

    Raises:
        UnsupportedError: the dense network was trained on other images than the trainer's, so that fine-tuning it here
            would leak or mislead; or the method cannot handle the network.
    """
    trained = load_checkpoint(dense)
    if not trainer.has_trained(trained.provenance):
        raise UnsupportedError(f"{dense.name} was not trained on the images at hand ({trainer.source})")
    module = trained.build()
    plan = prune(module, Request(variant.prune, example_input(variant.model), variant.seed))
    metrics = {"raw": dict(trainer.evaluate(module.eval()))}
    trainer.recalibrate(module)
    metrics["recalibrated"] = dict(trainer.evaluate(module.eval()))
    history = trainer.finetune(module, work)
    make_permanent(module)
    metrics["finetuned"] = dict(trainer.evaluate(module.eval()))
    provenance = dict(trainer.provenance) | {"source": trainer.source, "metrics": metrics, "history": dict(history)}
    provenance[PARENT] = content_hash(dense)
    save_checkpoint(path, Checkpoint(variant, module.state_dict(), plan, provenance))


def prune_only(variant: Variant, dense: Checkpoint, path: Path) -> None:
    """Prune a network as it is, without data, and write its checkpoint; errors as in `sparsemark.pruning.prune`."""
    module = dense.build()
    plan = prune(module, Request(variant.prune, example_input(variant.model), variant.seed))
    make_permanent(module)
    save_checkpoint(path, Checkpoint(variant, module.state_dict(), plan))
