"""Tiles of a page: for each network what to deploy, how much faster it is, what it costs, and how quiet it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    is_against_itself,
    is_dense,
    is_reference,
    is_unpruned,
    models,
)
from sparsemark.analysis.contamination import Disturbance
from sparsemark.analysis.front import answers, fastest
from sparsemark.report import trust, wording
from sparsemark.report.findings import against_itself, clock_agrees
from sparsemark.report.headline import QUIET, disturbance, doubt, reference_name, unjudged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sparsemark.analysis.front import Answer, Bar, Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.deployment import Deployment
    from sparsemark.report.scores import Scale, Scoring


@dataclass(frozen=True)
class Tile:
    """One number with the few words that it needs; `tone` is `fit`, `noisy`, `unfit` or empty.

    `more` is what else must be known of it: it stands in the fold below the tiles.
    """

    number: str
    words: str
    tone: str = ""
    more: str = ""


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
            why = QUIET if disturbance(answer).is_most else doubt(answer)
            command, how = deployment.of(best.deployed), deployment.explained(best.deployed)
            yield Summary(model, tiles, cells, command, wording.deployed(best), why, how)


def _fastest(answer: Answer, run: Run) -> Iterator[Tile]:
    """Yield the fastest pruned network, which nobody knows the score of."""
    found = fastest(one for one in answer.candidates if not is_unpruned(one.measurement))
    if found is not None and (speedup := found.speedup) is not None:
        m = found.measurement
        named = f"{wording.pruned(m)} on {wording.runner(m, run.engines)}"
        times, _, ends = wording.ratio(speedup).partition(" ")
        over = wording.several(found.folds)
        yield Tile(
            times,
            f"over {reference_name(m, run.engines)} {ends}, speed only: {named}; trust {trust.grade(m)}",
            more=f"the fastest pruned network{_ends_of(over)}; no score says whether it is still good",
        )


def _tiles(answer: Answer, best: Standing, scoring: Scoring, run: Run) -> Iterator[Tile]:
    m, scale = best.measurement, scoring.scale(answer.model)
    role = "candidate" if doubt(answer) else "to deploy"
    yield Tile(wording.pruned(m).replace(" %", "\u00a0%"), f"{role}, on {wording.runner(m, run.engines)}")
    over = wording.several(best.folds)
    if (speedup := best.speedup) is not None:
        times, _, ends = wording.ratio(speedup).partition(" ")
        words = f"as fast as {reference_name(m, run.engines)} {ends}; trust {trust.grade(m)}"
        yield Tile(times, words, more=_ends_of(over).removeprefix(", "))
    if m.p50_ms is not None:
        reference = _reference_ms(answer, m)
        dense = "" if reference is None else f"; dense {wording.milliseconds(reference)}"
        yield Tile(f"{wording.milliseconds(m.p50_ms)} ms", f"a call, median{dense}")
    if best.score is not None:
        value = scale.value(best.score.value) + (" %" if scale.percent else "")
        was = "" if best.dense is None or is_dense(m) else f"; dense {scale.value(best.dense.value)}"
        caveat = wording.on_caveat(wording.caveat(m.data))
        change = _change(best, scale)
        ends = f" [{', '.join(map(scale.value, of))}]" if (of := best.score.interval) and not change else ""
        mean = [f"mean of {over}"] if over else []
        more = "; ".join([*mean, *_how_sure(best, scale)])
        yield Tile(value, f"{scale.metric}{caveat}{ends}{was}{change}", more=f"{scale.metric}, {more}" if more else "")


def _change(best: Standing, scale: Scale) -> str:
    """Return `, change -0.6 [-2.5, +0.8] points`; empty where it has no interval, or nothing was changed."""
    score = best.score
    if score is None or best.loss is None or score.loss_low is None or is_dense(best.measurement):
        return ""
    return f", change {scale.lost_in_words(best.loss, score.loss_low, score.loss_high, best.allowed)}"


def _ends_of(folds: str) -> str:
    """Return what the brackets of a mean of folds are, nothing for a single cell."""
    return f", from the lowest end of the intervals of {folds} to the highest" if folds else ""


def _how_sure(best: Standing, scale: Scale) -> Iterator[str]:
    """Yield on how many inputs a score was taken, and which loss against dense its interval allows."""
    score = best.score
    if score is None:
        return
    if score.input_count is not None:
        yield f"{score.input_count} inputs"
    if score.loss_high is not None and not is_dense(best.measurement):
        possible = f"a loss of up to {scale.amount(score.loss_high, best.allowed)} is possible"
        yield f"{'a loss is excluded' if score.loss_high <= 0 else possible} (95 %)"


def _reference_ms(answer: Answer, m: Measurement) -> float | None:
    """Return the median of the reference's own row, as the table has it; without one, of its blocks beside the cell."""
    rows = [one.measurement for one in answer.candidates if is_reference(one.measurement)]
    row = min(rows, key=lambda one: (one.seed, one.fold) != (m.seed, m.fold), default=None)
    return m.reference_p50_ms if row is None or row.p50_ms is None else row.p50_ms


def machine_tile(run: Run) -> Tile:
    """Return whether the machine was quiet while the cells of a run, or of one network of it, were measured."""
    measured = run.measured()
    count = Disturbance.of(measured)
    if not count.timed:
        return Tile("nothing measured", "no cell has a time", "unfit")
    same = _against_themselves(measured)
    off = [m for m in same if clock_agrees(m) is False]
    # The one that is off, if one is: the others say nothing for it.
    shown = next(iter([*off, *same]), None)
    clock = "no dense row against itself" if shown is None else f"dense against itself {against_itself(shown)}"
    if off:
        named = f": {', '.join(dict.fromkeys(str(m.model) for m in off))}" if len(models(measured)) > 1 else ""
        number, tone = f"the clock disagrees{named}", "unfit"
    elif not count.cells:
        number, tone = "quiet machine", "fit"
    elif not count.is_most:
        number, tone = "noisy machine", "noisy"
    else:
        number, tone = "disturbed machine", "unfit"
    return Tile(number, count.words, tone, clock)


def _against_themselves(measured: Sequence[Measurement]) -> list[Measurement]:
    """Return the A/A controls; where there are none the references' own rows, which are timed in the same way."""
    same = [m for m in measured if is_against_itself(m)]
    return [m for m in same if m.control is not None] or same
