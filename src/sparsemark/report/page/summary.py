"""Tiles of a page: for each network what to deploy, how much faster it is, what it costs, and how quiet it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    is_against_itself,
    is_control,
    is_dense,
    is_reference,
    is_unpruned,
    models,
    reference_engine,
)
from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.front import answers, fastest
from sparsemark.report import trust, wording
from sparsemark.report.findings import against_itself, clock_agrees
from sparsemark.report.headline import QUIET, disturbed, doubt, share_without_pruning, unjudged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sparsemark.analysis.front import Answer, Bar, Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.deployment import Deployment
    from sparsemark.report.scores import Scale, Scoring


@dataclass(frozen=True)
class Tile:
    """One number with the words around it; `tone` is `fit`, `noisy`, `unfit` or empty."""

    number: str
    words: str
    tone: str = ""


@dataclass(frozen=True)
class Summary:
    """Tiles of one network, the cells to deploy, the file or command, and what explains it.

    All but the tiles are empty where no score says which.

    Of folds their mean comes first among the cells, and that which is deployed behind it; `which` names it.
    `doubt` says what to know or do before anything is deployed, empty where the choice is certain.
    """

    model: str
    tiles: tuple[Tile, ...]
    cells: tuple[str, ...] = ()
    deploy: str = ""
    which: str = ""
    doubt: str = ""
    explained: str = ""


def summaries(run: Run, bar: Bar | None, scoring: Scoring, deployment: Deployment) -> list[Summary]:
    """Return a summary for each network; its last tile is that of the machine while this network was measured."""
    return list(_summaries(run, bar, scoring, deployment))


def _summaries(run: Run, bar: Bar | None, scoring: Scoring, deployment: Deployment) -> Iterator[Summary]:
    for answer in answers(run.measurements, bar):
        model, best = answer.model or "network", answer.best
        own = tuple(m for m in run.measurements if m.model == answer.model)
        machine = machine_tile(replace(run, measurements=own))
        if unjudged(answer, scoring):
            yield Summary(model, (*_fastest(answer, run), machine))
        elif best is None:
            yield Summary(model, (machine,))
        else:
            tiles = (*_tiles(answer, best, scoring, run), machine)
            cells = best.measurement.name, best.deployed.name
            why = QUIET if disturbed(answer) else doubt(answer)
            command, how = deployment.of(best.deployed), deployment.explained(best.deployed)
            yield Summary(model, tiles, cells, command, wording.deployed(best), why, how)


def _fastest(answer: Answer, run: Run) -> Iterator[Tile]:
    """Yield the fastest pruned network, which nobody knows the score of."""
    found = fastest(one for one in answer.candidates if not is_unpruned(one.measurement))
    if found is not None and (speedup := found.speedup) is not None:
        m, text = found.measurement, wording.ratio(speedup)
        ends = f"{text.partition(' ')[2]}{wording.over(found.folds)}"
        named = f"{wording.pruned(m)} on {wording.runner(m, run.engines)}"
        yield Tile(
            f"{text.partition('x')[0]}x",
            f"{ends}: fastest pruned network, {named}, trust {trust.grade(m)}; no score says whether it is still good",
        )


def _tiles(answer: Answer, best: Standing, scoring: Scoring, run: Run) -> Iterator[Tile]:
    m, scale = best.measurement, scoring.scale(answer.model)
    role = "candidate" if doubt(answer) else "to deploy"
    yield Tile(wording.pruned(m).replace(" %", "\u00a0%"), f"{role}, on {wording.runner(m, run.engines)}")
    if (speedup := best.speedup) is not None:
        text = wording.ratio(speedup)
        ends = text.partition(" ")[2]
        if best.folds is not None:
            ends = f"{ends} (lowest and highest end of {wording.several(best.folds)})"
        share = share_without_pruning(answer, best)
        split = f": {share.in_words(run.engines)}" if share else ""
        dense = f"dense {wording.engine_name(reference_engine(m), run.engines)}"
        yield Tile(f"{text.partition('x')[0]}x", f"as fast as {dense} {ends}{split}; trust {trust.grade(m)}")
    if m.p50_ms is not None:
        reference = _reference_ms(answer, m)
        dense = "" if reference is None else f"; dense {wording.milliseconds(reference)}"
        yield Tile(f"{wording.milliseconds(m.p50_ms)} ms", f"a call, median{dense}")
    if best.score is not None:
        value = scale.value(best.score.value) + (" %" if scale.percent else "")
        was = "" if best.dense is None or is_dense(m) else f"; dense {scale.value(best.dense.value)}"
        caveat = wording.on_caveat(wording.caveat(m.data))
        mean = "" if best.folds is None else f", mean of {wording.several(best.folds)}"
        ends = f" [{', '.join(map(scale.value, of))}]" if (of := best.score.interval) else ""
        yield Tile(value, f"{scale.metric}{caveat}{mean}{ends}{was}{_how_sure(best, scale)}")


def _how_sure(best: Standing, scale: Scale) -> str:
    """Return on how many inputs a score was taken, and which loss against dense its interval allows."""
    score = best.score
    if score is None:
        return ""
    inputs = f"; {score.input_count} inputs" if score.input_count is not None else ""
    if score.loss_high is None or is_dense(best.measurement):
        return inputs
    if score.loss_high <= 0:
        return f"{inputs}; a loss is excluded (95 %)"
    return f"{inputs}; a loss of up to {scale.amount(score.loss_high, best.allowed)} is possible (95 %)"


def _reference_ms(answer: Answer, m: Measurement) -> float | None:
    """Return the median of the reference's own row, as the table has it; without one, of its blocks beside the cell."""
    rows = [one.measurement for one in answer.candidates if is_reference(one.measurement)]
    row = min(rows, key=lambda one: (one.seed, one.fold) != (m.seed, m.fold), default=None)
    return m.reference_p50_ms if row is None or row.p50_ms is None else row.p50_ms


def machine_tile(run: Run) -> Tile:
    """Return whether the machine was quiet while the cells of a run, or of one network of it, were measured."""
    measured = run.measured()
    # The answer counts its disturbed cells without controls; the two must agree.
    cells = [m for m in measured if not is_control(m)] or measured
    if not measured:
        return Tile("nothing measured", "no cell has a time", "unfit")
    disturbed = sum(bool(contamination_of(m)) for m in cells)
    same = _against_themselves(measured)
    off = [m for m in same if clock_agrees(m) is False]
    # The one that is off, if one is: the others say nothing for it.
    shown = next(iter([*off, *same]), None)
    clock = "no dense row against itself" if shown is None else f"dense against itself {against_itself(shown)}"
    words = f"{disturbed} of {len(cells)} cells disturbed; {clock}"
    if off:
        named = f": {', '.join(dict.fromkeys(str(m.model) for m in off))}" if len(models(measured)) > 1 else ""
        return Tile(f"the clock disagrees{named}", words, "unfit")
    if not disturbed:
        return Tile("quiet machine", words, "fit")
    if 2 * disturbed <= len(cells):
        return Tile("noisy machine", words, "noisy")
    return Tile("disturbed machine", words, "unfit")


def _against_themselves(measured: Sequence[Measurement]) -> list[Measurement]:
    """Return the A/A controls; where there are none the references' own rows, which are timed in the same way."""
    same = [m for m in measured if is_against_itself(m)]
    return [m for m in same if m.control is not None] or same
