"""Inventory of what is installed, and checklist of the machine: two short lists for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from sparsemark.analysis.fitness import LAUNCHES_A_SIDE, Fitness, in_percent
from sparsemark.report.harmless import harmless
from sparsemark.report.renderers.terminal import draw, grid
from sparsemark.report.wording import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.analysis.fitness import Judgement, Noise
    from sparsemark.machine.doctor import Check
    from sparsemark.registry import Availability


def as_inventory(rows: Sequence[Availability], *, width: int, colour: bool) -> str:
    """Write pruners, formats and engines, with the reason where one cannot be used."""
    cells = [tuple(map(harmless, (row.kind, row.name, row.label, row.absent or "available"))) for row in rows]
    styles = ["dim" if row.absent else "" for row in rows]
    return draw([grid(("kind", "name", "label", "status"), cells, styles=styles)], width=width, colour=colour)


def as_checklist(checks: Sequence[Check], judgement: Judgement, *, width: int, colour: bool) -> str:
    """Write each check with what it found, the A/A measurement, and last the verdict on the machine."""
    cells = [(check.what, check.found, "ok" if check.fit else check.advice) for check in checks]
    styles = ["" if check.fit else "yellow" for check in checks]
    if judgement.noise is not None:
        cells.append(_noise(judgement.noise))
        styles.append("" if judgement.fitness is Fitness.FIT else "yellow")
    table = grid(("check", "found", "verdict"), cells, styles=styles)
    return draw([table, Text(_sentence(judgement), "bold")], width=width, colour=colour)


def _noise(noise: Noise) -> tuple[str, str, str]:
    found = f"{percent(noise.spread, 2)} between {noise.launches} processes"
    advice = f"a gate with {LAUNCHES_A_SIDE} launches a side needs a tolerance of {in_percent(noise.margin)}"
    return "A/A, fresh processes", found, advice


def _sentence(judgement: Judgement) -> str:
    if judgement.noise is None or judgement.fitness is Fitness.UNFIT:
        return f"{judgement.fitness}: {'; '.join(judgement.reasons)}"
    smallest = in_percent(judgement.noise.smallest_effect)
    return f"{judgement.fitness}: the smallest effect you can trust here is {smallest}"
