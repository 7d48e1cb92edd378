"""The paper beside this study: its numbers next to ours, and a verdict on each of its claims.

    python -m bench.paper

Reads the tables of `bench/paper.toml` and the newest result file of `bench/cnn9.toml` under `results/`, and writes
`results/paper.md`. Nothing is trained or measured: whatever a table does not hold yet is said to be missing.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.paper_architectures import DRAWN
from bench.paper_claims import CLAIMS
from bench.paper_figures import FIGURES, FOLDER
from bench.paper_numbers import TABLES
from sparsemark import paths
from sparsemark.analysis.groups import loss_interval, pooled
from sparsemark.files import write_atomically
from sparsemark.machine.fingerprint import machine_name
from sparsemark.networks.checkpoint import read_header
from sparsemark.records.run import Run
from sparsemark.report.renderers.markdown import markdown_table
from training import search
from training.device import CPU

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Groups

STUDY, TIMED = "paper", "cnn9"


@dataclass(frozen=True)
class Change:
    """Difference of two scores in points, with the 95 % interval over patients, paired; above 0 the second is better.

    Args:
        patients: how many were resampled.
        networks: how many pairs of networks were pooled.
        unlike: of them, those trained in two precisions.
        unrecorded: of them, those with a network whose weights, and so its precision, are not committed.
    """

    points: float
    low: float
    high: float
    patients: int
    networks: int
    unlike: int = 0
    unrecorded: int = 0

    def __str__(self) -> str:
        several = f" and {self.networks} pairs of networks" if self.networks > 1 else ""
        return (
            f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}] points, {self.patients} patients{several}"
            f"{self._confounded}"
        )

    @property
    def _confounded(self) -> str:
        counts = ((self.unlike, "float32 against bfloat16"), (self.unrecorded, "precision not recorded"))
        found = ", ".join(f"{what} in {count} of {self.networks}" for count, what in counts if count)
        return f" ({found})" if found else ""


@dataclass(eq=False)
class Study:
    """What the tables of a study hold, by the name of the variant.

    Args:
        name: of the study whose networks are scored.
        timed_by: name of the study that times them.
    """

    name: str = STUDY
    timed_by: str = TIMED

    @cached_property
    def rows(self) -> Mapping[str, Mapping[str, str]]:
        """Rows of the table of scores; only those with a score."""
        with paths.accuracy_table(self.name, "csv").open(newline="") as file:
            return {row["name"]: row for row in csv.DictReader(file) if row["status"] == "measured"}

    @cached_property
    def groups(self) -> Mapping[str, Mapping[str, Groups]]:
        """Each patient's score and weight, by variant and metric."""
        found: Mapping[str, Mapping[str, Groups]] = json.loads(paths.groups(self.name).read_text())
        return found

    @cached_property
    def epochs(self) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """Epochs of each variant in their order."""
        found: dict[str, list[Mapping[str, str]]] = {}
        with paths.epochs_table(self.name).open(newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["variant"], []).append(row)
        return found

    @cached_property
    def search(self) -> Mapping[str, Any] | None:
        """Trials of the search for hyperparameters, as `training.search` writes them."""
        path = search.table(self.timed_by, "json")
        found: Mapping[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    @cached_property
    def run(self) -> Run | None:
        """The newest result file of the timed study."""
        files = paths.RESULTS.glob(f"*/{self.timed_by}.json")
        runs = [Run.load(path) for path in sorted(files)]
        return max(runs, key=lambda run: run.when or "", default=None)

    @property
    def timed(self) -> Sequence[Measurement]:
        """Cells of it that have a latency."""
        return [] if self.run is None else [m for m in self.run.measured() if m.p50_ms is not None]

    def score(self, name: str, field: str = "accuracy") -> float | None:
        """Return a number of the table of scores, or None."""
        text = self.rows.get(name, {}).get(field, "")
        return float(text) if text else None

    @cached_property
    def precisions(self) -> Mapping[str, str]:
        """Precision of the last phase of training of each committed network, by the name of its file."""
        found = {}
        for path in paths.WEIGHTS.glob("*.safetensors"):
            header = read_header(path)
            phase = "train" if header.variant.pruning.is_dense else "finetune"
            found[path.stem] = str(header.provenance["recipe"][phase]["precision"])
        return found

    def missing(self, *names: str) -> list[str]:
        """Return those variants that have no score."""
        return [name for name in names if name not in self.rows]

    def change(self, pairs: Sequence[tuple[str, str]], metric: str = "accuracy") -> Change | None:
        """Return how much better the second of each pair is, over all pairs and patients; None without an interval."""
        if any(metric not in self.groups.get(name, {}) for pair in pairs for name in pair):
            return None
        before, after = (pooled(self.groups[pair[side]][metric] for pair in pairs) for side in (0, 1))
        interval = loss_interval(before, after, higher_is_better=True)
        if interval is None:
            return None
        low, high = interval
        known = [
            [self.precisions[name] for name in pair] for pair in pairs if all(name in self.precisions for name in pair)
        ]
        return Change(
            100 * (_mean(after) - _mean(before)),
            -100 * high,
            -100 * low,
            len(before),
            len(pairs),
            unlike=sum(one != other for one, other in known),
            unrecorded=len(pairs) - len(known),
        )

    def seconds_an_epoch(self, name: str) -> float | None:
        """Return the median over those epochs of a variant that ran on a processor, or None."""
        # Where no device is recorded, it was one.
        epochs = [row for row in self.epochs.get(name, ()) if row.get("device") in (None, "", CPU)]
        known = [float(row["seconds"]) for row in epochs if row["seconds"]]
        return float(np.median(known)) if known else None


def _mean(groups: Groups) -> float:
    scores, weights = zip(*groups.values(), strict=True)
    return float(np.average(scores, weights=weights))


def document(study: Study) -> str:
    """Return the whole page as Markdown."""
    parts = [
        "# The paper's answer",
        "Generated by `python -m bench.paper` from the committed tables; never edited. The paper is *Brain Tumor "
        "Detection*, on MRI of 110 patients; ours are 90 of them, at 128 x 128 pixels, split by patient. Intervals at "
        "95 % resample patients, paired where two networks are compared. `-`: not trained or not measured yet.",
        "## Its claims",
        "**holds**, **does not hold** or **can't tell**: the last also where the spread leaves room for both.",
        _ledger(study),
        "## Its numbers",
    ]
    for table in TABLES:
        columns, rows = table.rows(study)
        parts += [f"### {table.title}", markdown_table(columns, rows), table.note]
    parts += ["## Its figures", *_figures(study)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(study: Study) -> list[str]:
    """Return a line for each figure: those of the paper in its order, figure 10 from the newest timed run."""
    lines = {name: f"![{name}](figures/{FOLDER}/{name}.png)" for name in (*FIGURES, *DRAWN.values())}
    if study.run is not None:
        timed = f"{study.timed_by}-{machine_name(study.run.machine_info)}/speedup-sparsity-{study.timed_by}.png"
        lines["figure-10"] = f"![figure-10, inference time against sparsity](figures/{timed})"
    return [lines[name] for name in sorted(lines)]


def _ledger(study: Study) -> str:
    rows = []
    for number, claim in enumerate(CLAIMS, start=1):
        verdict = claim.judge(study)
        rows.append((f"{number}", claim.text, f"**{verdict.word}**", verdict.evidence))
    return markdown_table(("", "claim", "verdict", "evidence"), rows)


def main() -> int:
    """Write the page."""
    path = paths.RESULTS / "paper.md"
    write_atomically(path, document(Study()).encode())
    sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
