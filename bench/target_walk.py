"""Walks to a latency on every fold of `cnn9`, beside the best of a fixed grid with the same fine-tuning.

    python -m bench.target_walk --data DIR [--fold 0 --fold 1]
    python -m bench.target_walk --data DIR --time
    python -m bench.target_walk --table

Each fold walks by itself: what it chooses by are its own validation patients. A finished fold is recorded in
`results/tables/target-cnn9_long.json`, an interrupted one goes on after its last step. `--time` measures the ends of
all recorded walks and the grid's best in launches, on a machine where nothing else should run; `--table` writes
`results/target.md` from what is recorded.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.tables import Change, Level, Study
from sparsemark import paths
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.folds import asked_of, folds_of
from sparsemark.cli.terminal import notices
from sparsemark.files import write_atomically
from sparsemark.machine.fingerprint import machine_name
from sparsemark.machine.locks import only_process
from sparsemark.records.journal import Journal
from sparsemark.report import wording
from sparsemark.report.progress import watch
from sparsemark.report.renderers.markdown import markdown_table
from sparsemark.specs import Pruning
from sparsemark.study.file import load_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import measure_cells, open_pipeline
from sparsemark.study.sampling import Sampling
from sparsemark.study.target import Target, Walker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sparsemark.analysis.folds import Folds
    from sparsemark.records.scores import Groups
    from sparsemark.specs import Cell
    from sparsemark.study.pipeline import Pipeline

NAME, MODEL, GRID = "target", "cnn9_long", "mix"
TARGET = "10x"
HEADLINE = "accuracy"
RECORD = paths.RESULTS / "tables" / f"{NAME}-{MODEL}.json"
WORK = paths.study_work(NAME)


def recorded() -> dict[str, Any]:
    """Return the finished walks by the number of their fold."""
    found: dict[str, Any] = json.loads(RECORD.read_bytes()) if RECORD.exists() else {}
    return found


def opened(data: Path | None) -> tuple[Pipeline, Sequence[Cell]]:
    """Return the pipeline and the cells of the study; pruned networks are kept in its working folder."""
    study = load_study(Path("bench") / f"{NAME}.toml")
    weights = WORK / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    for path in (paths.checkpoint(paths.WEIGHTS, cell.variant.name) for cell in study.cells):
        if path.exists():
            shutil.copy2(path, weights)
    return open_pipeline(study, Places(weights, WORK), data=data), study.cells


def walk(pipeline: Pipeline, dense: Cell) -> dict[str, Any]:
    """Walk one fold to the target, and return what is recorded of it."""
    folder = WORK / f"fold{dense.variant.fold}"
    walked = Walker(pipeline, dense, Target.parse(TARGET), folder, watch).walk()
    steps = []
    for step, pruning in zip(walked.steps, walked.prunings, strict=True):
        scores = pipeline.prepare(replace(dense.variant, pruning=pruning)).scores
        allocation = {"channels": dict(step.allocation.channels), "zeros": dict(step.allocation.zeros)}
        found = {"pruning": step.pruning, "minutes": step.minutes, "distance": step.distance, **allocation}
        steps.append({**found, HEADLINE: scores[HEADLINE].value, "groups": scores[HEADLINE].groups})
    return {"target": TARGET, "words": walked.words, "stuck": walked.stuck, "steps": steps}


def walk_all(data: Path | None, folds: Sequence[int]) -> None:
    """Walk the folds that are not recorded yet, and record each."""
    pipeline, cells = opened(data)
    for cell in cells:
        found, fold = recorded(), str(cell.variant.fold)
        if cell.variant.pruning.is_dense and fold not in found and (not folds or cell.variant.fold in folds):
            found[fold] = walk(pipeline, cell)
            RECORD.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(RECORD, json.dumps(found, indent=1, sort_keys=True).encode())


def time_all(data: Path | None) -> None:
    """Measure the ends of the recorded walks and the rest of the study, in three launches a cell."""
    pipeline, cells = opened(data)
    ends = [
        replace(cell, variant=replace(cell.variant, pruning=Pruning.parse(walked["steps"][-1]["pruning"])))
        for cell in cells
        if cell.variant.pruning.is_dense and (walked := recorded().get(str(cell.variant.fold)))
    ]
    run = measure_cells(pipeline, [*cells, *ends], Journal(paths.journal(WORK)), watch, Sampling())
    run.save(paths.run(machine_name(), NAME))


class _Walked(Study):
    """The study of the grid, with the last networks of the walks among its patients' scores."""

    @cached_property
    def groups(self) -> Mapping[str, Mapping[str, Groups]]:
        own = {_end(fold): {HEADLINE: walked["steps"][-1]["groups"]} for fold, walked in recorded().items()}
        return {**super().groups, **own}


def _end(fold: str) -> str:
    return f"walk-fold{fold}"


def _of_grid(pruned: str, fold: str) -> str:
    return f"{MODEL}-{pruned}-seed0-fold{fold}"


def document() -> str:
    """Return the page as Markdown."""
    walks, study = recorded(), _Walked(GRID, NAME)
    grid = Pruning.parse("channels-bn:0.9+magnitude:0.7")
    controls, others = ([_of_grid(name, fold) for fold in walks] for name in ("all-ones", grid.label))
    ends = [_end(fold) for fold in walks]
    timed = {asked_of(folds.members[0]): folds for folds in folds_of(study.timed)}
    walked = timed.get(("target", TARGET))

    def change(before: Sequence[str], after: Sequence[str]) -> str:
        return _points(study.change(list(zip(before, after, strict=True))))

    rows = [
        ("walked to the target", _speedup(walked, len(walks)), _accuracy(study.level(ends)),
         change(controls, ends), change(others, ends)),
        ("best of the fixed grid", _speedup(timed.get(grid.text), len(walks)), _accuracy(study.level(others)),
         change(controls, others), "-"),
    ]  # fmt: skip
    minutes = sum(step["minutes"] for one in walks.values() for step in one["steps"])
    parts = [
        f"# Walks to {TARGET} dense ONNX Runtime",
        "Generated by `python -m bench.target_walk --table` from what is recorded; never edited. "
        f"`cnn9`, {len(walks)} folds, each walked by its own validation patients; 24 epochs of fine-tuning at every "
        f"step and for the control, which is the dense network; {minutes:.0f} minutes in all.",
        markdown_table(
            ("", "speedup [lowest, highest end]", "accuracy, %", "to the control", f"to `{grid.label}`"), rows
        ),
        "Speedup: geometric mean of the folds, from the lowest end of their 95 % intervals to the highest. Differences "
        "in points on test patients, with the 95 % interval by resampling patients in pairs.",
        *(_reached(walked) if walked else ()),
        "## Where each walk ended",
        *(_where(fold, walked) for fold, walked in sorted(walks.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _speedup(folds: Folds | None, count: int) -> str:
    found = speedup_of(folds.measurement) if folds else None
    if folds is None or found is None:
        return "not timed yet"
    only = f", {len(folds.members)} of {count} folds" if len(folds.members) < count else ""
    return f"{found.estimate:.3g} [{found.low:.3g}, {found.high:.3g}]{only}"


def _reached(folds: Folds) -> Iterator[str]:
    """Yield where the ends of the walks, timed in fresh processes, are short of the target."""
    asked = Target.parse(TARGET).speedup or 1.0
    found = [(m.fold, speedup) for m in folds.members if (speedup := speedup_of(m))]
    short = [f"fold {fold} {wording.ratio(speedup)}" for fold, speedup in found if speedup.estimate < asked]
    named = f"; short of it: {', '.join(short)}" if short else ""
    reached = f"{len(found) - len(short)} of {len(found)} ends reach {TARGET}"
    yield f"A walk ends by what one process measured. Timed in several, {reached}{named}."


def _accuracy(level: Level | None) -> str:
    return "-" if level is None else f"{level.percent:.1f}"


def _points(change: Change | None) -> str:
    return "-" if change is None else f"{change.points:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"


def _where(fold: str, walked: Mapping[str, Any]) -> str:
    steps = walked["steps"]
    last = steps[-1]
    names = sorted({*last["channels"], *last["zeros"]})
    rows = [
        (f"`{name}`", *(f"{100 * last[what].get(name, 0.0):.0f}" for what in ("channels", "zeros"))) for name in names
    ]
    asked = Target.parse(walked["target"]).speedup or 1.0
    way = ", ".join(f"{asked / math.exp(step['distance']):.1f}x at {100 * step[HEADLINE]:.1f} %" for step in steps)
    ended = f" Not reached: {walked['stuck']}." if walked["stuck"] else ""
    return (
        f"Fold {fold}: {len(steps)} steps, as the walk measured them in one process: {way}.{ended}\n\n"
        f"{markdown_table(('layer', 'channels removed, %', 'zeros in the rest, %'), rows)}"
    )


def write_page() -> None:
    """Write `results/target.md`."""
    path = paths.RESULTS / "target.md"
    write_atomically(path, document().encode())
    sys.stdout.write(f"wrote {path}\n")


def main() -> int:
    """Walk, time, or write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.target_walk", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the LGG set")
    parser.add_argument("--fold", type=int, action="append", default=[], help="repeats (default: all)")
    parser.add_argument("--time", action="store_true", help="measure the ends of the recorded walks")
    parser.add_argument("--table", action="store_true", help="write results/target.md")
    options = parser.parse_args()
    if options.table:
        write_page()
        return 0
    act = partial(time_all, options.data) if options.time else partial(walk_all, options.data, options.fold)
    with notices(), only_process(paths.lock(WORK), "bench.target_walk"):
        act()
    return 0


if __name__ == "__main__":
    sys.exit(main())
