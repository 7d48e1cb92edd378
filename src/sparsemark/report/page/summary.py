"""Tiles of a page: for each network what to deploy, how much faster it is, and what it costs; then the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_dense
from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.front import answers, fastest
from sparsemark.report import trust, wording
from sparsemark.report.findings import clock_agrees, controls
from sparsemark.report.headline import unjudged
from sparsemark.specs import AA, DENSE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.analysis.front import Answer, Bar, Standing
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
    """

    model: str
    tiles: tuple[Tile, ...]
    cells: tuple[str, ...] = ()
    deploy: str = ""
    which: str = ""
    explained: str = ""


def summaries(run: Run, bar: Bar | None, scoring: Scoring, deployment: Deployment) -> list[Summary]:
    """Return a summary for each network that has a choice, or a speed."""
    return list(_summaries(run, bar, scoring, deployment))


def _summaries(run: Run, bar: Bar | None, scoring: Scoring, deployment: Deployment) -> Iterator[Summary]:
    for answer in answers(run.measurements, bar):
        model = answer.model or "network"
        if unjudged(answer, scoring):
            yield Summary(model, tuple(_fastest(answer, run)))
        elif answer.best is not None:
            best = answer.best
            tiles = tuple(_tiles(answer, best, scoring, run))
            cells = best.measurement.name, best.deployed.name
            command, how = deployment.of(best.deployed), deployment.explained(best.deployed)
            yield Summary(model, tiles, cells, command, wording.deployed(best), how)


def _fastest(answer: Answer, run: Run) -> Iterator[Tile]:
    """Yield the fastest pruned network, which nobody knows the score of."""
    found = fastest(one for one in answer.candidates if one.measurement.method != DENSE)
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
    yield Tile(wording.pruned(m).replace(" %", "\u00a0%"), f"to deploy, on {wording.runner(m, run.engines)}")
    if (speedup := best.speedup) is not None:
        text = wording.ratio(speedup)
        ends = text.partition(" ")[2]
        if best.folds is not None:
            ends = f"{ends} (lowest and highest end of {wording.several(best.folds)})"
        yield Tile(f"{text.partition('x')[0]}x", f"as fast as dense {ends}, trust {trust.grade(m)}")
    if m.p50_ms is not None:
        dense = f"; dense {wording.milliseconds(m.reference_p50_ms)}" if m.reference_p50_ms is not None else ""
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
    return f"{inputs}; a loss of up to {scale.amount(score.loss_high)} is possible (95 %)"


def machine_tile(run: Run) -> Tile:
    """Return whether the machine was quiet while the cells were measured."""
    measured = run.measured()
    # The answer counts its disturbed cells without controls; the two must agree.
    cells = [m for m in measured if not is_control(m)] or measured
    if not measured:
        return Tile("nothing measured", "no cell has a time", "unfit")
    disturbed = sum(bool(contamination_of(m)) for m in cells)
    against_itself = [m for m in measured if m.control == AA]
    # The control that is off, if one is: the others say nothing for it.
    said = dict(zip([clock_agrees(m) for m in against_itself], controls(run), strict=False))
    wrong = False in said
    aa = said.get(False) or next(iter(said.values()), "")
    words = f"{disturbed} of {len(cells)} cells disturbed; {aa.partition(') ')[2].rstrip('.') or 'no A/A control'}"
    if wrong:
        return Tile("the clock disagrees", words, "unfit")
    if not disturbed:
        return Tile("quiet machine", words, "fit")
    if 2 * disturbed <= len(cells):
        return Tile("noisy machine", words, "noisy")
    return Tile("disturbed machine", words, "unfit")
