"""Preparation: from a variant to its checkpoint. Networks are trained, pruned and fine-tuned here, and nowhere else.

A study's task that trains networks keeps them in a folder of weights: checkpoints found there are used, missing
ones are made. Every other network is built by its factory, pruned from that, and fine-tuned where the task can.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark import paths, pruning
from sparsemark.errors import NotMadeError, TaskError, UnsupportedError, UserError
from sparsemark.files import content_hash, convert_document, key_of
from sparsemark.formats.onnx_int8 import weight_limit
from sparsemark.machine.at_work import at_work
from sparsemark.networks.channel_plan import NO_PLAN, ChannelPlan
from sparsemark.networks.checkpoint import (
    Checkpoint,
    Header,
    check_checkpoint,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from sparsemark.networks.factory import build_model, build_whole, example_inputs, structure_key
from sparsemark.networks.onnx_model import onnx_inputs
from sparsemark.networks.source import Source, source_key
from sparsemark.pruning.base import Request
from sparsemark.pruning.masks import Masks, joined, zeros_of
from sparsemark.pruning.schedules import rounds
from sparsemark.pruning.weights import usage
from sparsemark.records.epochs import FINETUNING_EPOCHS, FINETUNING_SECONDS, PRUNING_SECONDS
from sparsemark.records.scores import DataNote, Score, SingleInputs
from sparsemark.registry import find
from sparsemark.study.evaluation import evaluate_parts, evaluate_recalibrated
from sparsemark.study.kept import INGREDIENTS, PARENT, WEIGHT_LIMIT, check_kept
from sparsemark.study.rehearsal import evaluate_tried
from sparsemark.study.requirements import (
    NOT_PRUNED,
    calibration_of,
    check_finetuning,
    check_requirements,
    ingredients,
    pruning_key,
    ratios_of,
)
from sparsemark.study.task import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sparsemark.pruning.schedules import Round
    from sparsemark.specs import Variant
    from sparsemark.study.task import Task
    from sparsemark.study.tuning import Tuning

_LOG = logging.getLogger(__name__)

NOTES = "notes"
"""Field of the provenance: what was changed in the network as it was given, or left alone by pruning, in words."""

_STRUCTURE = "structure"
"""Field of the provenance of networks in a working folder: what a state dict does not tell, such as strides."""

_MADE_OF = "made_of"
"""Field of the provenance of networks in a working folder: key of all that decided them."""


@dataclass(frozen=True)
class Prepared:
    """A variant on disk.

    Args:
        variant: the network and its pruning.
        source: its checkpoint, or the user's ONNX file.
        sha256: of that file.
        key: of everything that decides its artifacts.
        provenance: origin of the weights; empty where none is recorded.
        scores: its scores when it was made; empty where it was not scored.
        data: the data that it was scored on, or None.
    """

    variant: Variant
    source: Source
    sha256: str
    key: str
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    scores: Mapping[str, Score] = field(default_factory=dict, repr=False)
    data: DataNote | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats on how the network was made, in words."""
        return tuple(map(str, self.provenance.get(NOTES, ())))

    def called_as(self, variant: Variant) -> Prepared:
        """Return the same file for a variant that is called with another batch."""
        source = replace(self.source, model=variant.model)
        return replace(self, variant=variant, source=source, key=source_key(variant.model, self.sha256))

    @classmethod
    def of(cls, variant: Variant, path: Path, provenance: Mapping[str, Any]) -> Prepared:
        """Describe an existing file."""
        sha256 = content_hash(path)
        scores = convert_document(provenance.get("scores", {}), dict[str, Score], f"{path}: header.provenance.scores")
        data = None
        if words := provenance.get("data"):
            data = DataNote(words, provenance.get("caveat"), provenance.get("key"))
        key = source_key(variant.model, sha256)
        return cls(variant, Source(variant.model, path), sha256, key, provenance, scores, data)


@dataclass(frozen=True)
class Places:
    """Folders.

    Args:
        weights: of checkpoints that are kept, trained by the study's tasks; None where networks come from their
            factories with the user's weights in them.
        work: for what a rerun would make again.
        may_train: whether networks without a checkpoint are trained or fine-tuned, which can take hours.
        may_prune: whether networks are pruned that were not pruned yet.
    """

    weights: Path | None
    work: Path
    may_train: bool = True
    may_prune: bool = True


def prepare(
    variant: Variant,
    dense: Prepared | None,
    task: Task | None,
    places: Places,
    epochs: int,
    *,
    tuning: Tuning | None = None,
) -> Prepared:
    """Return a variant on disk: taken from its folder, or built, trained, pruned and fine-tuned now.

    Args:
        variant: the network and what is taken out of it.
        dense: the same network unpruned; None where `variant` is that network.
        task: of the variant's model, seed and fold, or None.
        places: folders.
        epochs: of fine-tuning in all.
        tuning: time of this network and of others.

    Raises:
        UserError: the model or a file is at fault, naming it.
        UnsupportedError: the method cannot handle the network; or the dense network was trained on other data than the
            task's, so that fine-tuning it here would leak or mislead; or a checkpoint is missing and must not be made.
    """
    can_finetune = task is not None and task.can_finetune
    check_finetuning(variant, task, epochs)
    check_requirements(variant, task)
    if variant.model.is_onnx:
        return _users_file(variant)
    work = paths.training_work(places.work, variant.name)
    if task is not None and task.trains_itself and places.weights is not None:
        path = paths.checkpoint(places.weights, variant.name)
        if not places.may_train and not path.exists():
            raise NotMadeError(f"{path}: no such checkpoint, and nothing is to be trained")
        return _kept(variant, dense, task, path=path, work=work, epochs=epochs, tuning=tuning)
    if dense is None:
        return _built(variant, task, places)
    path = paths.checkpoint(paths.untrained(places.work), variant.name)
    decided = pruning_key(dense.key, variant, task)
    if task is not None:
        budget = epochs if can_finetune else 0
        scored_on = [task.images(part, variant.model).digest for part in PARTS]
        rounding = weight_limit() if variant.pruning.quantisation_aware else None
        decided = key_of(decided, task.digest, scored_on, budget, rounding)
    earlier = _earlier(path)
    if earlier is not None and earlier.provenance.get(_MADE_OF) == decided:
        return Prepared.of(variant, path, earlier.provenance)
    if not places.may_prune or (can_finetune and not places.may_train):
        raise NotMadeError("not fine-tuned yet, and nothing is to be trained")
    with _named(variant):
        prune_from(variant, dense, task, path=path, work=work, epochs=epochs, decided=decided, tuning=tuning)
    return Prepared.of(variant, path, read_header(path).provenance)


def _users_file(variant: Variant) -> Prepared:
    path = Path(variant.model.reference)
    if not variant.pruning.is_dense:
        raise UnsupportedError(NOT_PRUNED)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    onnx_inputs(variant.model.reference, variant.model.inputs)
    return Prepared.of(variant, path, {})


def _built(variant: Variant, task: Task | None, places: Places) -> Prepared:
    """Store the network as its factory makes it: in each process anew, since a factory may have changed."""
    path = paths.checkpoint(paths.untrained(places.work), variant.name)
    module, notes = build_whole(variant.model, variant.seed)
    provenance = {} if task is None else _described(task, evaluate_tried(module, task, variant.model))
    provenance |= {NOTES: notes} if notes else {}
    provenance[_STRUCTURE] = structure_key(module)
    save_checkpoint(path, Checkpoint(Header(variant, provenance=provenance), module.state_dict()))
    return Prepared.of(variant, path, provenance)


def _earlier(path: Path) -> Header | None:
    try:
        return check_checkpoint(path)
    except UserError as error:  # absent, or what a crash left
        if path.exists():
            _LOG.info("%s; made again", error)
        return None


def _kept(
    variant: Variant,
    dense: Prepared | None,
    task: Task,
    *,
    path: Path,
    work: Path,
    epochs: int,
    tuning: Tuning | None,
) -> Prepared:
    if not path.exists() and dense is None:
        train_dense(variant, task, path, work)
    elif not path.exists() and dense is not None:
        if dense.data is None or dense.data.key != task.note.key:
            raise UnsupportedError(
                f"{dense.source.path.name} was not trained on the images at hand ({task.note.words})"
            )
        with _named(variant):
            prune_from(variant, dense, task, path=path, work=work, epochs=epochs, tuning=tuning)
    header = check_checkpoint(path)
    check_kept(path, header, variant, task, dense=dense, epochs=epochs)
    return Prepared.of(variant, path, header.provenance)


def train_dense(variant: Variant, task: Task, path: Path, work: Path) -> None:
    """Train a network from the start by its task, and write its checkpoint with its scores.

    Args:
        variant: an unpruned one.
        task: with `train`.
        path: of the checkpoint.
        work: folder for what is needed to resume.
    """
    module = build_model(variant.model, variant.seed)
    with at_work("training by the task's train"):
        history = task.train(module, None, variant.seed, work)
    provenance = _described(task, evaluate_parts(module, task, variant.model)) | {"history": history}
    save_checkpoint(path, Checkpoint(Header(variant, provenance=provenance), module.state_dict()))


def prune_from(
    variant: Variant,
    dense: Prepared,
    task: Task | None,
    *,
    path: Path,
    work: Path,
    epochs: int = 0,
    decided: str | None = None,
    tuning: Tuning | None = None,
) -> None:
    """Prune a network, fine-tune it where the task can, and write its checkpoint.

    Its scores hold the values `raw` (pruned, nothing else) and `recalibrated` (BatchNorm's statistics estimated again
    on training data) beside the final ones; in several rounds, those of the last one.

    Args:
        variant: what to prune.
        dense: the unpruned network.
        task: or None, for a network that is pruned and nothing else.
        path: of the new checkpoint.
        work: folder for what is needed to resume.
        epochs: of fine-tuning in all.
        decided: key of all that decides the result, or None where the file is kept.
        tuning: as in `prepare`.

    Raises:
        UnsupportedError: the method cannot handle the network.
    """
    module = load_checkpoint(dense.source.path).build()
    trains = task is not None and task.can_finetune
    plan: ChannelPlan = NO_PLAN
    raw: Mapping[str, Score] = {}
    recalibrated: Mapping[str, Score] = {}
    histories = []
    masks: Masks = {}
    notes: dict[str, None] = {}
    whole, done, choosing, training = 0, 0, 0.0, 0.0
    data = calibration_of(task, variant.seed)
    inputs = example_inputs(variant.model)
    planned = rounds(variant.pruning, epochs if trains else 0)
    for number, one in enumerate(planned):
        if one.first:
            whole = sum(usage(module, inputs).parameters.values())
        began = time.monotonic()
        request = Request(one.step, inputs, variant.seed, whole, not one.last, data, ratios_of(one.step))
        with at_work("pruning"):
            pruned = pruning.prune(module, request)
        choosing += time.monotonic() - began
        plan += pruned.plan
        notes |= dict.fromkeys((*pruned.notes, *_broken_blocks(planned[:number], pruned.plan)))
        # Read from the zeros, since channels may have been removed since; more zeros than were masked are held.
        masks = joined(zeros_of(module, list(masks)), pruned.masks)
        if task is None:
            continue
        from sparsemark.study.fake_quantising import note
        from sparsemark.study.finetune import finetune, recalibrate  # torch, which a finished study does not need

        if one is planned[-1]:
            raw, recalibrated = evaluate_recalibrated(module, task, variant.model, variant.seed)
        else:
            recalibrate(module, task, variant.seed)
        if trains:
            aware = variant.pruning.quantisation_aware and one is planned[-1]
            notes |= dict.fromkeys([note(module)] if aware else ())
            began = time.monotonic()
            tune = partial(finetune, module, task, masks, seed=variant.seed, work=work, tuning=tuning)
            histories.append(tune(epochs=one.epochs, done=done, aware=aware))
            training += time.monotonic() - began
            done += one.epochs
    provenance: dict[str, Any] = {NOTES: list(notes)} if notes else {}
    if task is not None:
        provenance |= _described(task, evaluate_parts(module, task, variant.model), raw, recalibrated)
        provenance["history"] = histories[0] if len(histories) == 1 else {"rounds": histories}
    # Last, so that no task's own words stand in place of ours.
    provenance |= {PARENT: dense.sha256, FINETUNING_EPOCHS: done}
    provenance |= _making(variant, task, decided, pruned_s=choosing, trained_s=training)
    save_checkpoint(path, Checkpoint(Header(variant, plan, provenance), module.state_dict()))


def _making(
    variant: Variant, task: Task | None, decided: str | None, *, pruned_s: float, trained_s: float
) -> dict[str, Any]:
    """Return what a checkpoint says of its making: what it follows from and, where it is kept, the seconds it took."""
    if decided:
        # No durations: a file that is made again must be the same, or its cells would be measured again.
        return {_MADE_OF: decided}
    if task is None:
        return {}
    rounded = {WEIGHT_LIMIT: weight_limit()} if variant.pruning.quantisation_aware else {}
    seconds = {PRUNING_SECONDS: pruned_s, FINETUNING_SECONDS: trained_s}
    return {**seconds, **rounded, INGREDIENTS: ingredients(variant, task)}


def _broken_blocks(before: Sequence[Round], plan: ChannelPlan) -> list[str]:
    """Return, in words, of which earlier rounds the blocks of input channels no longer hold."""
    methods = dict.fromkeys(one.step.method for one in before) if plan else {}
    return [
        f"{method}: channels were removed after it, so its blocks of input channels no longer hold"
        for method in methods
        if find(method, pruning.PRUNERS, "pruner").has_blocks
    ]


@contextmanager
def _named(variant: Variant) -> Iterator[None]:
    """Add the network to what its task did wrong: a loss may be finite for all others."""
    try:
        yield
    except TaskError as error:
        raise TaskError(f"{error} ({variant.name})") from error


def _described(
    task: Task,
    final: Mapping[str, Score],
    raw: Mapping[str, Score] | None = None,
    recalibrated: Mapping[str, Score] | None = None,
) -> dict[str, Any]:
    """Return the provenance of a network that was scored: the task's own words, the data, and the scores."""
    steps = {"raw": raw or {}, "recalibrated": recalibrated or {}}
    kept = {
        name: replace(score, groups=None) if isinstance(score.groups, SingleInputs) else score
        for name, score in final.items()
    }
    scores = {
        name: asdict(score) | {step: found[name].value for step, found in steps.items() if name in found}
        for name, score in kept.items()
    }
    note = task.note
    return {**task.provenance(), "data": note.words, "caveat": note.caveat, "key": note.key, "scores": scores}
