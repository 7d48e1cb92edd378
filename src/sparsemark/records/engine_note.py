"""Label, look and device of an engine, stored with the numbers it gave."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineNote:
    """Engine as tables and figures show it, on machines without its package as well.

    Args:
        label: its name as its makers write it; empty where that is the registered name.
        colour: of its series in figures, in matplotlib's notation; None leaves the look to the report.
        marker: of its points.
        dashes: of its lines.
        device: what it ran on.
    """

    label: str = ""
    colour: str | None = None
    marker: str | None = None
    dashes: str | None = None
    device: str = "cpu"
