"""Sensitivity: score against sparsity, one layer at a time, on the inputs that choices are made on.

Nothing is fine-tuned. Layers whose channels can only go together, as before a residual addition, are one. What is
scored is appended to a journal, so that an interrupted run goes on.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from sparsemark import pruning
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import key_of
from sparsemark.networks.checkpoint import state_digest
from sparsemark.networks.factory import build_whole, example_inputs, structure_key
from sparsemark.networks.source import source_key
from sparsemark.pruning.base import Request
from sparsemark.pruning.coupling import free_layers
from sparsemark.pruning.ratios import Ratios
from sparsemark.pruning.weights import prunable
from sparsemark.records.keyed import KeyedFile
from sparsemark.records.sensitivity import LayerSensitivity, Sensitivity
from sparsemark.registry import find
from sparsemark.specs import PruneStep, Pruning, Variant, is_known_beforehand, removes_channels
from sparsemark.study.evaluation import evaluate
from sparsemark.study.requirements import NOT_PRUNED, calibration_of, check_requirements, pruning_key
from sparsemark.study.task import SELECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from sparsemark.records.scores import Score
    from sparsemark.specs import ModelSpec
    from sparsemark.study.task import Task
    from sparsemark.study.watch import Watch

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Tried where the user names none: below a half hardly any layer loses anything."""

_TOLERANCE = 0.01
"""Loss that ratios stay within where the metric has no tolerance, as a fraction of the dense score."""

_FLOOR = 1e-3
"""Loss that ratios stay within, in the metric's unit, where a fraction of a dense score of 0 would be nothing."""

_FIELD = "scored"
"""Field of the journal's lines."""

_LEAST = 1e-3
"""Smallest ratio: a layer that loses score with its first weights must still give way where much is asked."""


@dataclass(frozen=True)
class _Part:
    """A layer, or coupled ones: shapes of the weights by name."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Trial:
    """One part at one sparsity."""

    part: _Part
    sparsity: float

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"{self.part.name} {100 * self.sparsity:g} %"


@dataclass(frozen=True)
class _Scored:
    """Score of a trial, with the notes of the method."""

    score: float
    notes: tuple[str, ...] = ()


def measure_sensitivity(
    model: ModelSpec, task: Task, method: str, sparsities: Sequence[float], *, journal: Path, watch: Watch
) -> Sensitivity:
    """Score a network with one layer pruned at a time.

    Args:
        model: with a factory.
        task: scores on its `select` inputs.
        method: a pruner that takes ratios of single layers.
        sparsities: to try in each layer.
        journal: file of what is scored already.
        watch: shows progress.

    Raises:
        UserError: the model, the task, the method or a sparsity is at fault, or nothing can be pruned.
    """
    sparsities = sorted(set(sparsities))
    _check(model, task, method, sparsities)
    module = build_whole(model)[0].eval()
    inputs = task.images(SELECT, model)
    dense = _headline(evaluate(module, task, model, SELECT), task)
    try:
        parts = list(_parts(module, model, method))
    except UnsupportedError as error:
        raise UserError(f"{model.reference}: {error}") from error
    if not parts:
        raise UserError(f"{model.reference}: {method} can remove nothing from any single layer")
    # Of all trials: a command that tries other sparsities takes those that it shares with an earlier one.
    variant = Variant(model, Pruning.of(method, SPARSITIES[-1]))
    network = key_of(source_key(model, state_digest(module.state_dict())), structure_key(module))
    decided = key_of(pruning_key(network, variant, task), task.digest, inputs.digest)
    known = KeyedFile(journal, _FIELD, asdict, _as_scored)
    trials = [_Trial(part, sparsity) for part in parts for sparsity in sparsities]
    scored: dict[str, list[_Scored]] = {}
    for trial in watch(trials, "layers"):
        key = key_of(decided, trial.part.name, trial.sparsity)
        found = known.get(key)
        if found is None:
            found = _score(module, model, task, method, trial)
            known.append(key, found)
        scored.setdefault(trial.part.name, []).append(found)
    _, first = dense
    tolerance = first.tolerance
    if tolerance is None:
        tolerance = _TOLERANCE * abs(first.value) or _FLOOR
    whole = Sensitivity(
        model.name, method, dense[0], first.higher_is_better, first.value, tolerance, inputs.note.words,
        tuple(sparsities), (),
    )  # fmt: skip
    layers = [_layer(part, scored[part.name], whole) for part in parts]
    return replace(whole, layers=tuple(sorted(layers, key=lambda one: (one.ratio, -whole.loss(one.scores[-1])))))


def ratio_within(tolerance: float, sparsities: Sequence[float], losses: Sequence[float]) -> float:
    """Return the highest sparsity whose loss is within a tolerance, interpolated between those that were tried.

    A loss counts for all higher sparsities too, so that a lucky score does not hide what came before it.

    Args:
        tolerance: loss, 0 or more.
        sparsities: ascending, above 0.
        losses: one for each.
    """
    tried = np.array([0.0, *sparsities])
    lost = np.maximum.accumulate([0.0, *losses])
    beyond = np.flatnonzero(lost > tolerance)
    if not len(beyond):
        return float(tried[-1])
    last = beyond[0] - 1
    share = (tolerance - lost[last]) / (lost[last + 1] - lost[last])
    return float(max(_LEAST, tried[last] + share * (tried[last + 1] - tried[last])))


def _check(model: ModelSpec, task: Task, method: str, sparsities: Sequence[float]) -> None:
    pruner = find(method, pruning.PRUNERS, "pruner")
    if not pruner.takes_ratios or is_known_beforehand(method):
        known = [name for name, one in pruning.PRUNERS.items() if one.takes_ratios and not is_known_beforehand(name)]
        raise UserError(f"--method {method}: cannot prune single layers; expected one of {', '.join(known)}")
    wrong = next((one for one in sparsities if not 0 < one < 1), None)
    if wrong is not None or not sparsities:
        raise UserError(f"--sparsities {'' if wrong is None else f'{wrong:g}'}: expected fractions between 0 and 1")
    if model.is_onnx:
        raise UserError(f"{model.reference}: {NOT_PRUNED}")
    check_requirements(Variant(model, Pruning.of(method, sparsities[-1])), task)


def _as_scored(content: Any) -> _Scored:
    return msgspec.convert(content, _Scored)


def _parts(module: nn.Module, model: ModelSpec, method: str) -> Iterator[_Part]:
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    inputs = example_inputs(model)
    if removes_channels(method):
        for names in free_layers(copy.deepcopy(module), inputs):
            weights = [f"{name}.weight".lstrip(".") for name in names]
            yield _Part(" + ".join(names), {name: shapes[name] for name in weights})
    else:
        for weight in prunable(module, inputs):
            yield _Part(weight.name or weight.key, {weight.key: shapes[weight.key]})


def _score(module: nn.Module, model: ModelSpec, task: Task, method: str, trial: _Trial) -> _Scored:
    pruned = copy.deepcopy(module)
    ratios = Ratios(dict.fromkeys(trial.part.shapes, trial.sparsity), exact=True)
    step = PruneStep(method, trial.sparsity)
    # As if more rounds followed: a layer that is too narrow to lose a channel is no failure.
    request = Request(step, example_inputs(model), more=True, data=calibration_of(task, 0), ratios=ratios)
    try:
        notes = pruning.prune(pruned, request).notes
    except UnsupportedError as error:
        raise UserError(f"{model.reference}: {trial.name}: {error}") from error
    return _Scored(_headline(evaluate(pruned, task, model, SELECT), task)[1].value, notes)


def _headline(scores: Mapping[str, Score], task: Task) -> tuple[str, Score]:
    found = next(iter(scores.items()), None)
    if found is None:
        raise UserError(f"{task.name}: score: returned no number")
    return found


def _layer(part: _Part, scored: Sequence[_Scored], whole: Sensitivity) -> LayerSensitivity:
    ratio = ratio_within(whole.tolerance, whole.sparsities, [whole.loss(one.score) for one in scored])
    weights = sum(int(np.prod(shape)) for shape in part.shapes.values())
    notes = dict.fromkeys(note for one in scored for note in one.notes)
    return LayerSensitivity(part.name, part.shapes, weights, tuple(one.score for one in scored), ratio, tuple(notes))
