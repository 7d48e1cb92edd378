"""Error rates of `sparsemark gate --against`: false alarms, and slowdowns of 5 % that it finds.

    python -m bench.gate_rates --equal 20 --slowed 10 [--load | --loaded]
    python -m bench.gate_rates --table

Each run is a whole decision: two arms of this very tree, ten launches each, and a second batch where the first alarms.
In a slowed run every call of the candidate is followed by a busy wait of 5 % of its own time. Runs are appended to a
file as they end, so the command goes on where it was; `--load` keeps a processor busy beside them, and `--loaded` says
that others do, such as a training. `--table` writes what was recorded: real decisions and, apart from them, decisions
resampled launch by launch, with bounds at 95 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.proportions import bounds, publish
from sparsemark import paths
from sparsemark.analysis.comparison import Comparison
from sparsemark.analysis.paired_launches import Batch, PairedChange, alarms_of, judge_pairs, unsettled
from sparsemark.analysis.verdicts import LATENCY, Outcome, Tolerances
from sparsemark.cli.terminal import notices
from sparsemark.measurement.launch import Place
from sparsemark.records.checked_lines import append, is_torn, read_lines, write_line
from sparsemark.report.conditions import environment
from sparsemark.report.progress import watch
from sparsemark.report.renderers.markdown import markdown_table
from sparsemark.study.against import LONGER, Duel
from sparsemark.study.against import decide as measure_arms
from sparsemark.study.arm import Request
from sparsemark.study.conditions import conditions
from sparsemark.study.file import load_study
from sparsemark.study.revision import Arm, this_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STUDY = "bench/cnn9.toml"
CELLS = ("cnn9-dense-seed0-onnxruntime", "cnn9-magnitude90-seed0-direct-csr")
LAUNCHES = 10
SLOWDOWN = 0.05
RESAMPLED = 1000
_LEAST_RUNS = 5
"""Below that, decisions drawn from their launches say little of others."""

FOLDER = paths.WORK / "gate-rates"
RECORDED = FOLDER / "runs.jsonl"
_FIELD = "run"

_SLOWED = f"""
import sys, time
from sparsemark import engines
load, loaded = engines.load, []
def slowed(*arguments):
    predict = load(*arguments)
    loaded.append(predict)
    if len(loaded) > 1:
        return predict
    def call(*inputs):
        began = time.perf_counter()
        answer = predict(*inputs)
        until = time.perf_counter() + {SLOWDOWN} * (time.perf_counter() - began)
        while time.perf_counter() < until:
            pass
        return answer
    return call
engines.load = slowed
from sparsemark.measurement.worker import main
sys.exit(main(*sys.argv[1:]))
"""
"""Program of a launch whose candidate, the first engine that it loads, is slower."""


class _SlowedPlace(Place):
    def command(self, answer: Path) -> list[str]:
        return [self.python, "-P", "-c", _SLOWED, str(answer), str(os.getpid())]


@dataclass(frozen=True)
class _Candidate(Arm):
    """This tree, slowed while `slowed` holds anything."""

    slowed: list[bool] = field(default_factory=list)

    @property
    def place(self) -> Place:
        kind = _SlowedPlace if self.slowed else Place
        return kind(self.python, self.folder, self.environment)


@contextmanager
def _busy() -> Iterator[None]:
    """Keep one processor busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _changes(found: Mapping[str, PairedChange]) -> dict[str, Any]:
    return {name: {"d": list(one.differences), "slower_ms": one.slower_ms} for name, one in found.items()}


def _read_changes(stored: Mapping[str, Any]) -> dict[str, PairedChange]:
    return {name: PairedChange(tuple(one["d"]), one["slower_ms"]) for name, one in stored.items()}


def decide(first: Mapping[str, PairedChange], second: Mapping[str, PairedChange] | None) -> dict[str, Outcome]:
    """Return the verdict on each cell's own time, as the gate gives it."""
    tolerances = Tolerances()
    batches = Batch(first, {}), Batch(second, {}) if second else None
    alarms = alarms_of(batches[0], tolerances)
    return {
        name: verdict.outcome
        for name in first
        for verdict in judge_pairs(Comparison(name, None, None), *batches, alarms, tolerances)
        if verdict.quantity == LATENCY
    }


def _alarmed(first: Mapping[str, PairedChange]) -> set[str]:
    return set(alarms_of(Batch(first, {}), Tolerances())[LATENCY])


def _unsettled(first: Mapping[str, PairedChange]) -> set[str]:
    batch = Batch(first, {})
    return unsettled(batch, alarms_of(batch, Tolerances()), Tolerances())


def measure(equal: int, slowed: int, *, load: bool, loaded: bool) -> None:
    """Add runs until there are so many of each kind under this load, made here or by others."""
    kind = "load" if load or loaded else "alone"
    have = Counter(run["kind"] for run in recorded() if run["beside"] == kind)
    wanted = ["equal"] * max(0, equal - have["equal"]) + ["slowed"] * max(0, slowed - have["slowed"])
    if not wanted:
        return
    here = this_tree()
    candidate = _Candidate(here.name, here.folder, here.python, here.environment)
    plain = Arm(here.name, here.folder, here.python, here.environment)
    duel = Duel(plain, candidate, Request(STUDY, None, CELLS, len(CELLS)))
    # Kinds in turn, so that an hour of the machine falls on both alike.
    order = sorted(range(len(wanted)), key=lambda i: (wanted[:i].count(wanted[i]) + 0.5) / wanted.count(wanted[i]))
    for index in order:
        candidate.slowed[:] = [True] if wanted[index] == "slowed" else []
        with _busy() if load else nullcontext():
            decided = measure_arms(duel, LAUNCHES, Tolerances(), watch)
        duel.forget()
        first, second = decided.first.latency, decided.second.latency if decided.second else {}
        _record({"kind": wanted[index], "beside": kind, "first": _changes(first), "second": _changes(second)})


def _record(run: Mapping[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torn = RECORDED.exists() and is_torn(RECORDED.read_bytes())
    with RECORDED.open("ab") as file:
        append(file.fileno(), write_line("gate", _FIELD, run), torn=torn)


def recorded() -> list[dict[str, Any]]:
    """Return the runs so far."""
    if not RECORDED.exists():
        return []
    return [line.content for line in read_lines(RECORDED.read_bytes(), _FIELD)[0]]


def real(runs: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """Return the verdicts of recorded runs."""
    return [
        outcome
        for run in runs
        for outcome in decide(_read_changes(run["first"]), _read_changes(run["second"]) or None).values()
    ]


def resampled(runs: Sequence[Mapping[str, Any]], count: int = RESAMPLED) -> list[Outcome]:
    """Return verdicts on batches drawn launch by launch from all that was recorded of a cell."""
    rng = np.random.default_rng(0)
    batches = [run[which] for run in runs for which in ("first", "second")]
    pools = {name: np.concatenate([one[name]["d"] for one in batches if name in one]) for name in runs[0]["first"]}
    slower = {name: float(np.median([run["first"][name]["slower_ms"] for run in runs])) for name in pools}

    def batch(launches: int = LAUNCHES) -> dict[str, PairedChange]:
        return {name: PairedChange(tuple(rng.choice(pool, launches)), slower[name]) for name, pool in pools.items()}

    found: list[Outcome] = []
    while len(found) < count:
        first = batch()
        # The first launches count again in the second look, as they do in a real decision.
        more = batch(LONGER * LAUNCHES)
        for name in _unsettled(first):
            first[name] = PairedChange(first[name].differences + more[name].differences, slower[name])
        found += decide(first, batch() if _alarmed(first) else None).values()
    return found[:count]


def table() -> str:
    """Return the rates as Markdown."""
    rows = []
    ordered = sorted(recorded(), key=lambda run: (run["kind"], run["beside"]))
    for (kind, beside), group in groupby(ordered, key=lambda run: (run["kind"], run["beside"])):
        runs = list(group)
        wrong = (Outcome.REGRESSION, Outcome.IMPROVEMENT) if kind == "equal" else (Outcome.REGRESSION,)
        found = {"real": real(runs)}
        if len(runs) >= _LEAST_RUNS:
            found["resampled"] = resampled(runs)
        for how, verdicts in found.items():
            hit, undecided = (sum(one in of for one in verdicts) for of in (wrong, (Outcome.INCONCLUSIVE,)))
            low, high = bounds(hit, len(verdicts))
            rows.append(
                (
                    "alarms on equal arms" if kind == "equal" else f"slowdown of {SLOWDOWN:.0%} found",
                    "nothing else running" if beside == "alone" else "a processor busy beside it",
                    how,
                    f"{len(runs)}",
                    f"{hit} of {len(verdicts)}",
                    f"{100 * low:.1f} to {100 * high:.1f} %",
                    f"{100 * undecided / len(verdicts):.0f} %",
                )
            )
    columns = ("what", "beside", "decisions", "runs", "verdicts", "95 % bounds", "inconclusive")
    return markdown_table(columns, rows)


def main() -> int:
    """Measure, or write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate_rates", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--equal", type=int, default=0, help="runs of equal arms")
    parser.add_argument("--slowed", type=int, default=0, help=f"runs whose candidate is {SLOWDOWN:.0%} slower")
    beside = parser.add_mutually_exclusive_group()
    beside.add_argument("--load", action="store_true", help="keep a processor busy beside them")
    beside.add_argument("--loaded", action="store_true", help="others keep one busy")
    parser.add_argument("--table", action="store_true", help="write the table of what was recorded")
    options = parser.parse_args()
    with notices():
        measure(options.equal, options.slowed, load=options.load, loaded=options.loaded)
    if options.table and recorded():
        engines = [cell.engine for cell in load_study(Path(STUDY)).cells if cell.name in CELLS]
        made = f"{LAUNCHES} launches of each arm, {len(CELLS)} cells; alarms beyond {Tolerances().latency:.0%}"
        machine = environment(conditions(engines, measured_now=False))
        publish("gate-rates", "Error rates of `sparsemark gate --against`", table(), [*machine, made])
    return 0


if __name__ == "__main__":
    sys.exit(main())
