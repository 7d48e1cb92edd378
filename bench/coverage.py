"""Coverage of 95 % intervals over three launches on this machine, engine by engine.

    sparsemark run bench/coverage.toml --launches 30
    python -m bench.coverage

The truth is known: an engine timed against itself is as fast as itself, and a mask of ones changes nothing. The
launches of a cell are taken three at a time in the order in which they ran, and the interval of each three is what a
table would have shown. Written apart: intervals of three launches drawn at random from all of them, which are many
more, and not independent. Spread is pooled as in a table: over an engine's cells, those against itself apart.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.proportions import bounds, publish
from sparsemark import paths
from sparsemark.analysis.launches import blocks_of, log_ratio_intervals
from sparsemark.analysis.statistics import Interval, quotient
from sparsemark.machine.fingerprint import machine_name
from sparsemark.records.run import Run
from sparsemark.report.conditions import conditions
from sparsemark.report.renderers.markdown import markdown_table
from sparsemark.specs import AA, ALL_ONES, DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sparsemark.records.measurement import Measurement

LAUNCHES = 3
"""Of a cell in a table."""

DRAWN = 1000
"""Sets of launches that are drawn from a cell's."""

Launches = list["NDArray[np.float64]"]
"""ln(candidate / reference) of the pairs of blocks of each launch."""


@dataclass(frozen=True)
class Engine:
    """Launches of one engine's cells: against itself, dense, and with a mask of ones; the last two may be absent."""

    name: str
    itself: Launches
    dense: Launches
    ones: Launches

    @classmethod
    def of(cls, name: str, rows: Iterable[Measurement]) -> Engine:
        """Return an engine's launches from its rows in a result file."""
        cells = {(row.method, row.control): blocks_of(row) for row in rows if row.engine == name}
        return cls(name, cells.get((DENSE, AA), []), cells.get((DENSE, None), []), cells.get((ALL_ONES, None), []))

    def intervals(self, chosen: Sequence[Sequence[int]]) -> Iterator[tuple[str, Interval]]:
        """Yield what was measured and the interval of a ratio whose truth is one, for each set of launches."""
        for numbers in chosen:
            if self.itself:
                (interval,) = log_ratio_intervals([[self.itself[n] for n in numbers]])
                yield "against itself", interval.exp()
            if self.ones and self.dense:
                dense, ones = log_ratio_intervals([[cell[n] for n in numbers] for cell in (self.dense, self.ones)])
                yield "mask of ones against dense", quotient(ones.exp(), dense.exp())


def disjoint(count: int) -> list[range]:
    """Return sets of launches in the order in which they ran, none in two sets."""
    return [range(start, start + LAUNCHES) for start in range(0, count - LAUNCHES + 1, LAUNCHES)]


def drawn(count: int) -> list[list[int]]:
    """Return sets of launches drawn at random, none twice in a set."""
    rng = np.random.default_rng(0)
    return [rng.choice(count, LAUNCHES, replace=False).tolist() for _ in range(DRAWN)]


def table(rows: Sequence[Measurement]) -> str:
    """Return the coverage of each engine's intervals as Markdown."""
    lines = []
    for name in dict.fromkeys(row.engine for row in rows if row.engine):
        engine = Engine.of(name, rows)
        count = min((len(cell) for cell in (engine.itself, engine.dense, engine.ones) if cell), default=0)
        sets: dict[str, Sequence[Sequence[int]]] = {
            "in order": disjoint(count),
            "drawn": drawn(count) if count > LAUNCHES else [],
        }
        for how, chosen in sets.items():
            found = list(engine.intervals(chosen))
            for what in dict.fromkeys(kind for kind, _ in found):
                own = [interval for kind, interval in found if kind == what]
                held = sum(interval.low <= 1 <= interval.high for interval in own)
                half = float(np.median([(interval.high - interval.low) / 2 for interval in own]))
                low, high = bounds(held, len(own))
                # Sets drawn from the same launches are not independent, so that no bounds follow from their number.
                certain = f"{100 * low:.0f} to {100 * high:.0f} %" if how == "in order" else "-"
                share = f"{100 * held / len(own):.1f} %"
                lines.append(
                    (name, what, how, f"{count}", f"{held} of {len(own)}", share, certain, f"{100 * half:.1f} %")
                )
    columns = ("engine", "what", "sets", "launches", "hold 1", "coverage", "95 % bounds", "median half width")
    return markdown_table(columns, lines)


def main() -> int:
    """Write the table of a result file."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=(__doc__ or "").split("\n")[0])
    default = paths.run(machine_name(), "coverage")
    parser.add_argument("result", type=Path, nargs="?", default=default, help="of bench/coverage.toml (default: here)")
    run = Run.load(parser.parse_args().result)
    rows = run.measured()
    title = f"Coverage of 95 % intervals over {LAUNCHES} launches"
    publish("interval-coverage", title, table(rows), conditions(run, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
