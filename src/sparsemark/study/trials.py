"""Trials: every place of a network pruned alone, timed on an engine and scored, to choose by.

A place is the channels of coupled layers, or the weights of one layer. Scores are taken on the inputs that choices are
made on. What is timed here was not checked against anything and is never reported: it says where to look.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark import engines, formats, pruning
from sparsemark.analysis.spending import Trial
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.factory import example_inputs
from sparsemark.networks.source import Source
from sparsemark.pruning.base import Request
from sparsemark.pruning.coupling import free_layers
from sparsemark.pruning.ratios import Ratios
from sparsemark.pruning.weights import prunable
from sparsemark.references import one_line
from sparsemark.specs import PruneStep
from sparsemark.study.evaluation import answers
from sparsemark.study.task import SELECT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict
    from sparsemark.networks.channel_plan import ChannelPlan
    from sparsemark.records.scores import Score
    from sparsemark.specs import Cell
    from sparsemark.study.task import Task

_LOG = logging.getLogger(__name__)

CHANNELS, ZEROS = "channels", "magnitude"
"""Methods that are tried."""

FRACTIONS = {CHANNELS: (0.25, 0.5), ZEROS: (0.5, 0.75, 0.9)}
"""Of what is left in a place: more at once would be judged by what it costs a network that is not fine-tuned, and soon
that is everything."""

_TRIAL = "trial"
"""Stem of a trial's files, with its number: a module that was imported from a file is known by its path."""

_PAIRS, _LEAST_SECONDS = 9, 0.01
"""Pairs of alternating blocks that a trial is timed by, and the least time of a block."""


@dataclass(frozen=True)
class Place:
    """Where something can be pruned, named for the display."""

    method: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"{self.method} of {self.names[0]}"


class Trying:
    """Prunes one place of a network after the other, each on a copy, and times and scores it.

    Args:
        checkpoint: of the network as it stands.
        cell: on whose engine it is timed.
        task: scores it.
        work: folder for exported files.
    """

    def __init__(self, checkpoint: Checkpoint, cell: Cell, task: Task, work: Path) -> None:
        self._module, self._plan = checkpoint.build(), checkpoint.header.channel_plan
        self._cell, self._task, self._inputs = cell, task, example_inputs(cell.variant.model)
        self._work, self._count = work, 0
        self._images = task.images(SELECT, cell.variant.model)
        self._outputs = answers(self._module, self._images.batches)
        self._score = self._scored(self._outputs)
        self._standing = self._opened(self._module, self._plan)
        self._zeros = zeros_in(self._module, self._inputs)

    def places(self) -> list[Place]:
        """Return coupled layers whose channels go together, then the weights of each layer."""
        layers = free_layers(copy.deepcopy(self._module), self._inputs)
        channels = [Place(CHANNELS, tuple(f"{layer}.weight".lstrip(".") for layer in group)) for group in layers]
        return [*channels, *(Place(ZEROS, (name,)) for name in self._zeros)]

    def trials(self, place: Place) -> list[Trial]:
        """Return the trials of a place; none where nothing can be removed there."""
        method, names = place.method, place.names
        found = []
        for fraction in FRACTIONS[method]:
            trial = copy.deepcopy(self._module)
            # A mask counts the zeros that are there.
            goal = fraction if method == CHANNELS else 1 - (1 - self._zeros[names[0]]) * (1 - fraction)
            ratios = Ratios(dict.fromkeys(names, goal), exact=True)
            try:
                pruned = pruning.prune(trial, Request(PruneStep(method, 0.5), self._inputs, more=True, ratios=ratios))
                predict = self._opened(trial, (*self._plan, *pruned.plan))
            except UserError:
                raise
            except Exception as error:  # what cannot be pruned or run so is not to be chosen
                _LOG.debug("%s of %s: %s", method, names, one_line(error))
                break
            outputs = answers(trial, self._images.batches)
            lost = self._scored(outputs).loss_against(self._score) / max(abs(self._score.value), 1e-9)
            saved = -log_ratio(predict, self._standing, self._images.batches[0])
            found.append(Trial(method, names, fraction, saved, lost, _change(outputs, self._outputs)))
        return found

    def _scored(self, outputs: tuple[NDArray[Any], ...]) -> Score:
        return next(iter(self._task.scores(outputs, SELECT, self._images).values()))

    def _opened(self, module: torch.nn.Module, plan: ChannelPlan) -> Predict:
        """Export a network and load it into the engine, without the checks of what is reported."""
        # One trial's files at a time: a large network has hundreds of trials.
        for path in self._work.glob(f"{_TRIAL}*"):
            path.unlink()
        self._count += 1
        model, stem = self._cell.variant.model, self._work / f"{_TRIAL}{self._count}"
        checkpoint = stem.with_suffix(".safetensors")
        save_checkpoint(checkpoint, Checkpoint(Header(self._cell.variant, plan), module.state_dict()))
        source = Source(model, checkpoint)
        made_from = formats.FORMATS[self._cell.format].made_from
        if made_from is not None:
            source = Source(model, formats.export(source, made_from, stem).path)
        artifact = formats.export(source, self._cell.format, stem)
        return engines.load(artifact, self._cell.engine, self._cell.threads)


def zeros_in(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> dict[str, float]:
    """Return the fraction of zeros in each weight that a mask can act on, by name."""
    return {
        weight.key: 1 - float(weight.parameter.detach().count_nonzero()) / weight.parameter.numel()
        for weight in prunable(module, inputs)
    }


def log_ratio(candidate: Predict, standing: Predict, inputs: Sequence[NDArray[Any]]) -> float:
    """Return ln(candidate / standing) of their times, the median over alternating blocks of calls."""

    def block(predict: Predict, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            predict(*inputs)
        return time.perf_counter() - start

    for predict in (candidate, standing):
        block(predict, 2)
    calls = math.ceil(_LEAST_SECONDS / block(standing, 1))
    ratios = []
    for pair in range(_PAIRS):
        order = (candidate, standing) if pair % 2 else (standing, candidate)
        taken = {predict: block(predict, calls) for predict in order}
        ratios.append(math.log(taken[candidate] / taken[standing]))
    return float(np.median(ratios))


def _change(outputs: Sequence[NDArray[Any]], before: Sequence[NDArray[Any]]) -> float:
    """Return the root mean square of the change over that of the values, of the output that changed most."""
    found = []
    for one, other in zip(outputs, before, strict=True):
        scale = float(np.sqrt(np.mean(np.square(other, dtype=np.float64))))
        moved = float(np.sqrt(np.mean(np.square(np.subtract(one, other, dtype=np.float64)))))
        found.append(moved / max(scale, 1e-9))
    return max(found, default=0.0)
