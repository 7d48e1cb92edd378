"""Walk to a target: channels and zeros are spread over the layers by measured time saved per score lost.

A step tries every place alone on the network as it stands (`study.trials`) and takes what saves most for what it costs,
until it has saved its part of the way. The dense network is then pruned so and fine-tuned, as any other variant of the
study, with the same epochs, and measured. The walk ends at the target, with all its steps.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Mapping  # noqa: TC003 - files are read by these annotations
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import pruning
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.spending import spend
from sparsemark.errors import UserError
from sparsemark.files import code_digest, convert_document, key_of, write_atomically
from sparsemark.machine.temporary import temporary_folder
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.networks.factory import example_inputs
from sparsemark.pruning.base import Request
from sparsemark.pruning.ratios import Ratios, write_ratios
from sparsemark.pruning.weights import prunable, usage
from sparsemark.records.measurement import MEASURED
from sparsemark.specs import PruneStep, Pruning
from sparsemark.study.chosen import Chosen
from sparsemark.study.requirements import NOT_PRUNED
from sparsemark.study.task import SELECT
from sparsemark.study.trials import CHANNELS, ZEROS, Trying, zeros_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sparsemark.analysis.spending import Trial
    from sparsemark.records.measurement import Measurement
    from sparsemark.specs import Cell, Variant
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.watch import Watch

_LOG = logging.getLogger(__name__)

_TARGET = re.compile(r"(?P<number>\d+\.?\d*|\.\d+)(?P<unit>x|ms)", re.ASCII)
_EXPECTED = "expected a positive number and x or ms, such as 10x or 0.4ms"

STEPS = 3
"""In which the way is divided evenly, as ratios."""

MOST_STEPS = 6
"""After which a target counts as out of reach: savings that were added up fall short of what is measured."""


@dataclass(frozen=True)
class Target:
    """Latency to reach: so many times as fast as the reference, or so many milliseconds a call.

    Raises:
        UserError: not exactly one is given, or it is not positive.
    """

    speedup: float | None = None
    milliseconds: float | None = None

    def __post_init__(self) -> None:
        given = [one for one in (self.speedup, self.milliseconds) if one is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise UserError(f"--target {self.text}: {_EXPECTED}")

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `10x` or `0.4ms`.

        Raises:
            UserError: it is neither.
        """
        found = _TARGET.fullmatch(text)
        if found is None:
            raise UserError(f"--target {text}: {_EXPECTED}")
        number = float(found["number"])
        return cls(speedup=number) if found["unit"] == "x" else cls(milliseconds=number)

    @property
    def text(self) -> str:
        """The target as `parse` reads it."""
        return f"{self.speedup:g}x" if self.speedup is not None else f"{self.milliseconds or 0:g}ms"

    def distance(self, row: Measurement) -> float:
        """Return the logarithm of how many times as fast a row still has to be; 0 or less where it is there."""
        if self.milliseconds is not None and row.p50_ms:
            return math.log(row.p50_ms / self.milliseconds)
        speedup = speedup_of(row)
        if self.speedup is None or speedup is None:
            raise UserError(f"{row.name}: no speedup was measured, so --target {self.text} has nothing to go by")
        return math.log(self.speedup / speedup.estimate)


@dataclass(frozen=True)
class Allocation:
    """Fractions pruned from the dense network, by name of the weight.

    Args:
        channels: fraction of its layer's channels that goes.
        zeros: fraction of its values that is zero, of those that removed channels leave.
    """

    channels: Mapping[str, float] = field(default_factory=dict)
    zeros: Mapping[str, float] = field(default_factory=dict)

    def after(self, trials: Sequence[Trial]) -> Allocation:
        """Return the allocation when so much of what is left has gone as well."""
        found = {CHANNELS: dict(self.channels), ZEROS: dict(self.zeros)}
        for trial in trials:
            own = found[trial.method]
            for name in trial.names:
                own[name] = 1 - (1 - own.get(name, 0.0)) * (1 - trial.fraction)
        return Allocation(found[CHANNELS], found[ZEROS])


@dataclass(frozen=True)
class Step:
    """One step of a walk.

    Args:
        allocation: of what is pruned from the dense network.
        pruning: the same as text, which names the files of its ratios.
        distance: logarithm of how many times as fast it still has to be, as measured in one process.
        minutes: that it took.
    """

    allocation: Allocation
    pruning: str
    distance: float
    minutes: float


@dataclass(frozen=True)
class Walk:
    """Result of a walk.

    Args:
        target: asked for.
        engine: that was timed.
        steps: in their order; the last is the nearest to the target.
        stuck: why it ended before the target, or None.
    """

    target: Target
    engine: str
    steps: tuple[Step, ...]
    stuck: str | None = None

    @property
    def prunings(self) -> tuple[Pruning, ...]:
        """Prunings of the steps."""
        return tuple(Pruning.parse(step.pruning) for step in self.steps)

    @property
    def chosen(self) -> Chosen:
        """Prunings to measure: every step, the front of the walk."""
        return Chosen(self.prunings, self.words)

    @property
    def words(self) -> str:
        """The result in one clause, with its cost."""
        minutes = sum(step.minutes for step in self.steps)
        cost = f"{len(self.steps)} steps, {minutes:.1f} minutes"
        asked = f"--target {self.target.text} on {self.engine}"
        if self.stuck:
            return f"{asked}: not reached ({cost}): {self.stuck}"
        if not self.steps:
            return f"{asked}: reached without pruning"
        return f"{asked}: reached by {self.steps[-1].pruning} ({cost})"


class Walker:
    """Walks from a dense network to a target.

    Args:
        pipeline: prepares, checks and times networks, with a task.
        dense: cell of the dense network on the engine that is to be fast.
        target: what to reach.
        folder: for files of ratios and finished steps; a walk that was interrupted goes on from there.
        watch: shows progress.

    Raises:
        UserError: there is no task, or the network is an ONNX file, which cannot be pruned.
    """

    def __init__(self, pipeline: Pipeline, dense: Cell, target: Target, folder: Path, watch: Watch) -> None:
        task = pipeline.task(dense.variant)
        if task is None:
            raise UserError(
                f"--target {target.text}: chooses by what each layer costs in score; expected --task FILE.py"
            )
        if dense.variant.model.is_onnx:
            raise UserError(f"--target {target.text}: {NOT_PRUNED}")
        self._pipeline, self._dense, self._target, self._task = pipeline, dense, target, task
        self._folder, self._watch = folder, watch
        PruneStep(ZEROS, ratios=str(folder))  # a name that no pruning can hold must not surface after hours
        self._inputs = example_inputs(dense.variant.model)

    def walk(self) -> Walk:
        """Walk until the target is met, nothing more is saved, or there were `MOST_STEPS`.

        Raises:
            UserError: the network, the task or the disk is at fault.
        """
        distance = self._measured(self._dense)
        steps = self._finished()
        stuck = None
        while (steps[-1].distance if steps else distance) > 0:
            if len(steps) == MOST_STEPS:
                stuck = f"{MOST_STEPS} steps did not suffice"
                break
            began = time.monotonic()
            left = steps[-1].distance if steps else distance
            chosen = spend(self._trials(steps), left / max(1, STEPS - len(steps)))
            if not chosen:
                stuck = "nothing that is left to prune makes this engine faster"
                break
            allocation = (steps[-1].allocation if steps else self._unpruned()).after(chosen)
            pruned = self._pruning(allocation, len(steps) + 1)
            cell = replace(self._dense, variant=replace(self._dense.variant, pruning=pruned))
            left = self._measured(cell)
            steps.append(Step(allocation, pruned.text, left, (time.monotonic() - began) / 60))
            self._save(steps)
            _LOG.info("--target %s: step %d: %s", self._target.text, len(steps), _where(left))
        return Walk(self._target, self._dense.engine, tuple(steps), stuck)

    def _unpruned(self) -> Allocation:
        """Return the allocation of the dense network: the zeros that it came with, which a mask counts as well."""
        return Allocation(zeros=zeros_in(self._module(self._dense.variant), self._inputs))

    def _module(self, variant: Variant) -> torch.nn.Module:
        return load_checkpoint(self._pipeline.prepare(variant).source.path).build()

    def _measured(self, cell: Cell) -> float:
        row = self._pipeline.measure(cell)
        if row.status != MEASURED:
            raise UserError(f"--target {self._target.text}: {cell.name}: {row.reason}")
        return self._target.distance(row)

    def _trials(self, steps: Sequence[Step]) -> list[Trial]:
        """Try every place on the network as it stands after some steps."""
        variant = self._dense.variant
        standing = replace(variant, pruning=Pruning.parse(steps[-1].pruning)) if steps else variant
        checkpoint = load_checkpoint(self._pipeline.prepare(standing).source.path)
        with temporary_folder() as work:
            trying = Trying(checkpoint, self._dense, self._task, work)
            return [trial for place in self._watch(trying.places(), "places tried") for trial in trying.trials(place)]

    def _pruning(self, allocation: Allocation, number: int) -> Pruning:
        """Write an allocation as files of ratios, and return the pruning that names them."""
        whole = self._module(self._dense.variant)
        shapes = {name: tuple(one.shape) for name, one in whole.named_parameters()}
        steps = []
        for method, fractions in ((CHANNELS, allocation.channels), (ZEROS, allocation.zeros)):
            if not fractions:
                continue
            path = self._folder / f"{self._target.text}-step{number}-{method}.json"
            write_ratios(path, fractions, shapes, exact=True)
            request = Request(PruneStep(method, 0.5), self._inputs, more=True, ratios=Ratios(fractions, exact=True))
            before = _elements(whole, self._inputs, method)
            pruned = pruning.prune(whole, request)
            removed = 1 - _elements(whole, self._inputs, method) / before
            if method == ZEROS:
                removed = sum(int((~kept).sum()) for kept in pruned.masks.values()) / before
            # The file decides; the share is what readers see.
            steps.append(PruneStep(method, max(0.01, round(removed, 2)), ratios=str(path)))
        return Pruning(tuple(steps))

    @property
    def _key(self) -> str:
        # A step is as long as engine, machine and protocol make it, and chosen by code and inputs.
        code = code_digest(Path(pruning.__file__).parent), code_digest(Path(__file__).parent)
        select = self._task.images(SELECT, self._dense.variant.model).digest
        measured = self._pipeline.key(self._dense)
        return key_of(measured, self._task.digest, select, self._pipeline.epochs, self._target.text, *code)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._target.text}.json"

    def _finished(self) -> list[Step]:
        """Return the steps of an interrupted walk to this target, of this network and task."""
        try:
            document = json.loads(self._path.read_bytes())
            if document["key"] != self._key:
                return []
            steps = convert_document(document["steps"], tuple[Step, ...], f"{self._path}: steps")
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return []
        _LOG.info("--target %s: goes on after step %d, from %s", self._target.text, len(steps), self._path)
        return list(steps)

    def _save(self, steps: Sequence[Step]) -> None:
        document = {"key": self._key, "steps": [asdict(step) for step in steps]}
        write_atomically(self._path, json.dumps(document, indent=1).encode())


def _elements(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], method: str) -> int:
    """Return the number of what a method's sparsity is a share of: all parameters, or weights that masks act on."""
    if method == CHANNELS:
        return sum(usage(module, inputs).parameters.values())
    return sum(weight.parameter.numel() for weight in prunable(module, inputs))


def _where(distance: float) -> str:
    factor = math.exp(abs(distance))
    return f"{factor:.2f} times too slow" if distance > 0 else f"{factor:.2f} times as fast as asked for"
