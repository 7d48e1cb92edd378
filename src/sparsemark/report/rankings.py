"""Rankings of one study on several classes of hosts: where their order differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control
from sparsemark.analysis.comparison import speedup_of
from sparsemark.records.measurement import MEASURED
from sparsemark.report import wording
from sparsemark.report.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run


def rankings_markdown(runs: Mapping[str, Run]) -> str:
    """Return a table of the cells whose rank by speedup, among those of their network, differs between classes.

    Args:
        runs: by the name of the class; cells that not all of them measured are left out.
    """
    rows = {name: _comparable(run) for name, run in runs.items()}
    everywhere = set.intersection(*(set(of) for of in rows.values())) if rows else set()
    ranks = {name: _ranks({cell: of[cell] for cell in everywhere}) for name, of in rows.items()}
    titles = ["cell", *(title for name in runs for title in (f"rank on {name}", f"speedup on {name}"))]
    lines = []
    for cell in next(iter(rows.values()), {}):
        if cell in everywhere and len({of[cell] for of in ranks.values()}) > 1:
            texts = [(str(ranks[name][cell]), _speedup(rows[name][cell])) for name in runs]
            lines.append([cell, *(text for pair in texts for text in pair)])
    if not lines:
        return f"Ranking by speedup: the same on {', '.join(runs)} in all {len(everywhere)} cells measured on each.\n"
    head = f"Ranking by speedup: differs in {len(lines)} of {len(everywhere)} cells measured on each class of hosts."
    table = [titles, ["---", *["---:"] * (len(titles) - 1)], *lines]
    body = "\n".join("| " + " | ".join(harmless(text) for text in line) + " |" for line in table)
    return f"{head} Ranks whose intervals overlap may differ by chance.\n\n{body}\n"


def _comparable(run: Run) -> dict[str, Measurement]:
    found = (m for m in run.measurements if m.status == MEASURED and m.speedup is not None and not is_control(m))
    return {m.name: m for m in found}


def _ranks(rows: Mapping[str, Measurement]) -> dict[str, int]:
    """Return the place of each cell among those of its network, threads and batch, from 1."""
    ranks: dict[str, int] = {}
    counted: dict[object, int] = {}
    for name, m in sorted(rows.items(), key=lambda item: -(item[1].speedup or 0.0)):
        of = m.model, m.seed, m.fold, m.threads, m.batch
        counted[of] = counted.get(of, 0) + 1
        ranks[name] = counted[of]
    return ranks


def _speedup(m: Measurement) -> str:
    interval = speedup_of(m)
    if interval is not None:
        return wording.ratio(interval)
    return wording.ABSENT if m.speedup is None else wording.bare_ratio(m.speedup)
