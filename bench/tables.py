"""Committed tables of a study: scores by patient, epochs, timed runs and precisions, by the name of the network."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark import paths
from sparsemark.analysis.groups import interval_of, loss_interval, pooled
from sparsemark.networks.checkpoint import read_header
from sparsemark.records.run import Run
from sparsemark.report import wording
from training import search
from training.device import CPU

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Groups

STUDY, TIMED, MIXES = "paper", "cnn9", "mix"

OTHERS = "figure10"
"""Study that times the paper's other networks."""


@dataclass(frozen=True)
class Change:
    """Difference of two scores in points, with the 95 % interval over patients, paired; above 0 the second is better.

    Args:
        patients: how many were resampled.
        networks: how many pairs of networks were pooled.
        unlike: of them, those trained in two precisions.
        unrecorded: of them, those with a network whose weights, and so its precision, are not committed.
        drawn: patients of all tests, one that is in two of them counted twice; 0 where that is not known.
    """

    points: float
    low: float
    high: float
    patients: int
    networks: int
    unlike: int = 0
    unrecorded: int = 0
    drawn: int = 0

    def __str__(self) -> str:
        drawn = f" ({self.drawn} drawn)" if self.drawn > self.patients else ""
        several = f"{self.networks} pairs of networks" if self.networks > 1 else "one pair of networks"
        return f"{self.interval}{drawn}, {several}{self._confounded}"

    @property
    def caveat(self) -> str:
        """Half a sentence where only one pair was trained, or some pairs differ in their precision as well."""
        counts = ((self.unlike, "differs"), (self.unrecorded, "is not recorded"))
        found = [f"{what} in {count} of {self.networks}" for count, what in counts if count]
        single = "; one pair of networks" if self.networks == 1 else ""
        return single + (f"; the number format {wording.listed(found)}" if found else "")

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest of the interval, in points."""
        return self.low, self.high

    @property
    def interval(self) -> str:
        """The difference and its interval alone."""
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}] points, {self.patients} patients"

    @property
    def _confounded(self) -> str:
        counts = ((self.unlike, "float32 against bfloat16"), (self.unrecorded, "number format not recorded"))
        found = ", ".join(f"{what} in {count} of {self.networks}" for count, what in counts if count)
        return f" ({found})" if found else ""


@dataclass(frozen=True)
class Level:
    """Score in percent, with the 95 % interval over patients.

    Args:
        patients: how many were resampled.
        networks: how many were pooled.
    """

    percent: float
    low: float
    high: float
    patients: int
    networks: int

    def __str__(self) -> str:
        several = f", {self.networks} networks" if self.networks > 1 else ""
        return f"{self.percent:.1f} % [{self.low:.1f}, {self.high:.1f}], {self.patients} patients{several}"


@dataclass(frozen=True)
class Seconds:
    """Duration of an epoch: the median, the shortest and the longest of some epochs, in seconds."""

    median: float
    shortest: float
    longest: float
    epochs: int

    def __str__(self) -> str:
        return f"{self.median:.0f} s [{self.shortest:.0f}, {self.longest:.0f}], {self.epochs} epochs"


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
    def runs(self) -> Sequence[Run]:
        """Result files of the timed study, one a machine, the newest first."""
        runs = [run for key, run in self.everything.items() if key.endswith(f"/{self.timed_by}")]
        return sorted(runs, key=lambda run: run.when or "", reverse=True)

    @property
    def run(self) -> Run | None:
        """The newest of them."""
        return self.runs[0] if self.runs else None

    @property
    def others(self) -> Sequence[Run]:
        """Result files that time the paper's other networks."""
        return [run for key, run in self.everything.items() if key.endswith(f"/{OTHERS}")]

    @property
    def timings(self) -> Sequence[Run]:
        """Result files that time the paper's networks as it pruned them."""
        return [*self.runs, *self.others]

    @property
    def timed(self) -> Sequence[Measurement]:
        """Cells of the newest that have a latency."""
        return [] if self.run is None else timed(self.run)

    @cached_property
    def everything(self) -> Mapping[str, Run]:
        """Result files of this folder's studies, by machine and name: `amd-epyc-2cpu-avx2/cnn9`; no quick look's."""
        known = {path.stem for path in Path(__file__).parent.glob("*.toml")}
        found = [path for path in sorted(paths.RESULTS.glob("*/*.json")) if path.stem in known]
        return {f"{path.parent.name}/{path.stem}": Run.load(path) for path in found}

    @cached_property
    def mixes(self) -> Study | None:
        """The study of mixes of removed channels and zeros, whose cells are in int8 too; None where it is not timed."""
        found = Study(MIXES, MIXES)
        return found if found.runs else None

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

    def recipe(self, name: str) -> Mapping[str, Any]:
        """Return the recipe in the header of a committed network, by phase; empty where it is not committed."""
        path = paths.WEIGHTS / f"{name}.safetensors"
        found: Mapping[str, Any] = read_header(path).provenance["recipe"] if path.exists() else {}
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
            100 * (mean_of(after) - mean_of(before)),
            -100 * high,
            -100 * low,
            len(before),
            len(pairs),
            unlike=sum(one != other for one, other in known),
            unrecorded=len(pairs) - len(known),
            drawn=sum(len(self.groups[before][metric]) for before, _ in pairs),
        )

    def level(self, names: Sequence[str], metric: str = "accuracy") -> Level | None:
        """Return the mean score of some networks over their test patients; None where one has no patients."""
        if any(metric not in self.groups.get(name, {}) for name in names):
            return None
        groups = pooled(self.groups[name][metric] for name in names)
        interval = interval_of(groups)
        if interval is None:
            return None
        return Level(100 * mean_of(groups), 100 * interval[0], 100 * interval[1], len(groups), len(names))

    def validation(self, name: str, epoch: int, metric: str = "accuracy") -> float | None:
        """Return a score in percent on the validation patients at the end of an epoch, -1 for the last; or None."""
        rows = self.epochs.get(name, ())
        found = rows[-1:] if epoch == -1 else [row for row in rows if int(row["epoch"]) == epoch]
        text = found[0].get(f"validation_{metric}") if found else None
        return 100 * float(text) if text else None

    def seconds(self, name: str) -> Seconds | None:
        """Return how long those epochs of a variant took that ran on a processor, or None."""
        # Where no device is recorded, it was one.
        epochs = [row for row in self.epochs.get(name, ()) if row.get("device") in (None, "", CPU)]
        known = [float(row["seconds"]) for row in epochs if row["seconds"]]
        return Seconds(float(np.median(known)), min(known), max(known), len(known)) if known else None


def timed(run: Run) -> list[Measurement]:
    """Return the cells of a run that have a latency."""
    return [m for m in run.measured() if m.p50_ms is not None]


def mean_of(groups: Groups) -> float:
    """Return the weighted mean of scores by group."""
    scores, weights = zip(*groups.values(), strict=True)
    return float(np.average(scores, weights=weights))
