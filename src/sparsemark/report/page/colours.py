"""Colours of engines on a page, each readable on white and on a dark ground."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from sparsemark.engines import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sparsemark.report.wording import Notes

_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
_SPARE = ("#332288", "#882255", "#44AA99", "#117733", "#AA4499")
"""Colours by Paul Tol for engines that bring none."""

_LIGHT_GROUND, _DARK_GROUND = 0.30, 0.18
"""Relative luminance up to which a colour has a contrast of 3 on white, and from which it has that on #16191d."""

_BLACK, _WHITE = 0.02, "#eef1f4"
"""Luminance up to which a colour is black, and what stands for it on a dark ground: grey is another engine's."""

_STEP = 0.05


@dataclass(frozen=True)
class Colour:
    """Colour of a series as `#rrggbb`: on a light and on a dark ground."""

    light: str
    dark: str


def engine_colours(engines: Iterable[str | None], notes: Notes) -> dict[str, Colour]:
    """Return the colours of engines by name.

    What another package brings in any other notation than `#rrggbb` gets a spare colour: it would stand in a style.
    """
    spare = cycle(_SPARE)
    found = {}
    for engine in dict.fromkeys(engines):
        if engine is None:
            continue
        own = _own(engine, notes) or next(spare)
        light = _until(own, 0.0, lambda it: it <= _LIGHT_GROUND)
        dark = _WHITE if _luminance(_channels(own)) <= _BLACK else _until(own, 1.0, lambda it: it >= _DARK_GROUND)
        found[engine] = Colour(light, dark)
    return found


def _own(engine: str, notes: Notes) -> str | None:
    note = notes.get(engine)
    look = ENGINES[engine].look if engine in ENGINES else None
    colour = look.colour if look is not None else note.colour if note is not None else None
    return colour if colour and _HEX.fullmatch(colour) else None


def _until(colour: str, towards: float, is_enough: Callable[[float], bool]) -> str:
    """Mix a colour with black (0) or white (1) until its luminance is enough."""
    channels = _channels(colour)
    share = 0.0
    mixed = channels
    while not is_enough(_luminance(mixed)) and share < 1:
        share += _STEP
        mixed = [channel + share * (towards - channel) for channel in channels]
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, channel))):02x}" for channel in mixed)


def _channels(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def _luminance(channels: Iterable[float]) -> float:
    """Return the relative luminance of sRGB channels from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
