"""Inventory of what is installed, and checklist of the machine: two short lists for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from sparsemark.report.harmless import harmless
from sparsemark.report.renderers.terminal import draw, grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.machine.doctor import Check
    from sparsemark.registry import Availability


def as_inventory(rows: Sequence[Availability], *, width: int, colour: bool) -> str:
    """Write pruners, formats and engines, with the reason where one cannot be used."""
    cells = [tuple(map(harmless, (row.kind, row.name, row.label, row.absent or "available"))) for row in rows]
    styles = ["dim" if row.absent else "" for row in rows]
    return draw([grid(("kind", "name", "label", "status"), cells, styles=styles)], width=width, colour=colour)


def as_checklist(checks: Sequence[Check], *, width: int, colour: bool) -> str:
    """Write each check with what it found, and last whether the machine is fit."""
    cells = [(check.what, check.found, "ok" if check.fit else check.advice) for check in checks]
    styles = ["" if check.fit else "yellow" for check in checks]
    wrong = sum(not check.fit for check in checks)
    verdict = (
        "fit to measure on"
        if not wrong
        else f"fit for ratios of paired blocks; {wrong} of {len(checks)} checks disturb milliseconds"
    )
    table = grid(("check", "found", "verdict"), cells, styles=styles)
    return draw([table, Text(verdict, "bold")], width=width, colour=colour)
