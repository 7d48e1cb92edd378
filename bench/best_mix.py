"""Best mix of removed channels and zeros: speed beside what it costs on every patient, five folds together.

    python -m bench.best_mix

Reads the tables of `bench/mix.toml` and its newest result file under `results/`, and writes `results/mix.md`. Nothing
is trained or measured.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from bench.tables import Change, Study
from sparsemark import paths
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.folds import folds_of
from sparsemark.files import write_atomically
from sparsemark.machine.fingerprint import machine_name
from sparsemark.report import wording
from sparsemark.report.renderers.markdown import markdown_table
from sparsemark.specs import FP32, INT8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.analysis.folds import Folds
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.run import Run

STUDY, CONTROL = "mix", "all-ones"
FOLDS = range(5)
ALLOWED = 1.0
"""Points of accuracy that a mix may be below the dense network fine-tuned as long."""


@dataclass(frozen=True)
class Mix:
    """A pruning on one engine, over all folds.

    Args:
        words: what was pruned.
        pruning: as the study file writes it.
        runner: the engine, with its precision.
        precision: of the engine.
        ms: median latency, geometric mean over folds; None where it was not timed.
        speedup: over dense ONNX Runtime in float32, from the lowest end of the folds' intervals to the highest; None
            where it was not timed.
        accuracy: of the engine's own outputs where it was timed, mean over folds, in percent.
        change: against the control, in float32, paired by patient; None for the control and the dense network.
    """

    words: str
    pruning: str
    runner: str
    precision: str
    ms: float | None
    speedup: Interval | None
    accuracy: float
    change: Change | None

    def below(self, control: float) -> float:
        """Return by how many points its outputs are below the control's accuracy."""
        return control - self.accuracy


def mixes(study: Study) -> list[Mix]:
    """Return whatever was tested on every fold, the fastest first; what was not timed is at the end."""
    of_folds = {
        name: [row for row in study.rows.values() if row["fold"] and row["pruning"] == name]
        for name in dict.fromkeys(row["pruning"] for row in study.rows.values())
    }
    timed = [folds for folds in folds_of(study.timed) if {m.fold for m in folds.members} == set(FOLDS)]
    found = []
    for pruning, scored in of_folds.items():
        if not pruning or len(scored) < len(FOLDS):  # baselines without a network are pruned by nothing
            continue
        names = [row["name"] for row in sorted(scored, key=lambda row: int(row["fold"]))]
        controls = [name.replace(_method(name), CONTROL) for name in names]
        change = None if pruning in ("none", CONTROL) else study.change(list(zip(controls, names, strict=True)))
        whole = [folds for folds in timed if folds.measurement.pruning == pruning]
        found += [_timed(folds, study.run, pruning, change) for folds in whole]
        if not whole:
            accuracy = 100 * fmean(float(row["accuracy"]) for row in scored)
            found.append(Mix(_words(pruning), pruning, "", FP32, None, None, accuracy, change))
    return sorted(found, key=_slowest_last)


def _slowest_last(mix: Mix) -> float:
    return -mix.speedup.estimate if mix.speedup else 0.0


def _timed(folds: Folds, run: Run | None, pruning: str, change: Change | None) -> Mix:
    m = folds.measurement
    return Mix(
        words=_words(pruning),
        pruning=pruning,
        runner=wording.runner(m, {} if run is None else run.engines),
        precision=m.precision or FP32,
        ms=m.p50_ms,
        speedup=speedup_of(m),
        accuracy=100 * m.scores["accuracy"].value,
        change=change,
    )


def _method(name: str) -> str:
    """Return the part of a variant's name that says how it was pruned."""
    return name.split("-", 1)[1].rsplit("-seed", 1)[0]


def _words(pruning: str) -> str:
    return {"none": "nothing", CONTROL: "nothing, fine-tuned as long"}.get(pruning, f"`{pruning}`")


def answer(found: Sequence[Mix], precision: str) -> Mix | None:
    """Return the fastest of a precision that is at most `ALLOWED` points below the control, or None."""
    control = next((mix.accuracy for mix in found if mix.pruning == CONTROL), None)
    if control is None:
        return None
    kept = [m for m in found if m.precision == precision and m.speedup and m.below(control) <= ALLOWED]
    return min(kept, key=_slowest_last, default=None)


def document(study: Study) -> str:
    """Return the whole page as Markdown."""
    found = mixes(study)
    control = next(mix.accuracy for mix in found if mix.pruning == CONTROL)
    rows = []
    for mix in found:
        speedup = mix.speedup
        spread = f"{speedup.estimate:.3g} [{speedup.low:.3g}, {speedup.high:.3g}]" if speedup else "-"
        shown = "-" if mix.pruning in ("none", CONTROL) else f"{-mix.below(control):+.1f}"
        paired = (
            "-" if mix.change is None else f"{mix.change.points:+.1f} [{mix.change.low:+.1f}, {mix.change.high:+.1f}]"
        )
        ms = wording.milliseconds(mix.ms)
        rows.append((mix.words, mix.runner or "-", ms, spread, f"{mix.accuracy:.1f}", shown, paired))
    head = (
        "pruned",
        "engine",
        "ms",
        "speedup [lowest, highest end]",
        "accuracy, %",
        "to the control",
        "in float32, by patient",
    )
    where = (
        "not timed yet" if study.run is None else f"timed on {machine_name(study.run.machine_info)}, {study.run.when}"
    )
    parts = [
        "# The best mix of removed channels and zeros",
        "Generated by `python -m bench.best_mix` from the committed tables; never edited. `cnn9`, every patient "
        "tested once in five folds; 24 epochs of fine-tuning for every pruned network and for the control, which "
        "is the dense one; "
        f"{where}. Speedup: over the dense network in ONNX Runtime in float32, geometric mean of the folds, "
        "from the lowest end of their 95 % intervals to the highest.",
        *_answers(found, control),
        markdown_table(head, rows),
        "Accuracy is that of the engine's own outputs where there is an engine, so of the quantised network for "
        "int8. To the control: the difference in points. The last column compares the networks in float32, with "
        "the 95 % interval of that difference, by resampling patients in pairs. Several mixes were tested: the "
        "best of several is a little worse than it looks.",
    ]
    return "\n\n".join(parts) + "\n"


def _answers(found: Sequence[Mix], control: float) -> list[str]:
    lines = []
    for precision, words in ((FP32, "float32"), (INT8, "int8")):
        best = answer(found, precision)
        if best is None or best.speedup is None:
            lines.append(f"**{words}**: nothing timed is within {ALLOWED:.0f} point of the control.")
            continue
        lines.append(
            f"**{words}**: the fastest that is not more than {ALLOWED:.0f} point below is {best.words} in "
            f"{best.runner}: {best.speedup.estimate:.3g} times dense ONNX Runtime, {best.accuracy:.1f} % "
            f"({-best.below(control):+.1f})."
        )
    return lines


def main() -> int:
    """Write the page."""
    path = paths.RESULTS / "mix.md"
    write_atomically(path, document(Study(STUDY, STUDY)).encode())
    sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
