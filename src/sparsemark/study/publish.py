"""Results of a study under `results/`: the result file, tables and figures, each with its conditions.

Tables and figures are made of two files and of nothing else, the result file and the one of scores: `redraw` makes them
anew from these.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark import paths
from sparsemark.errors import UnsupportedError
from sparsemark.files import code_digest, content_hash, key_of, note_of, read_note, write_atomically
from sparsemark.machine.fingerprint import package_versions
from sparsemark.records.benchmark_json import to_benchmark
from sparsemark.records.epochs import epochs_of
from sparsemark.records.run import Run
from sparsemark.report import render
from sparsemark.report.accuracy import accuracy_markdown
from sparsemark.report.figures import draw_figures
from sparsemark.report.renderers.csv import as_csv, table_csv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Groups
    from sparsemark.specs import Variant
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline


def write_results(
    run: Run, study: Study, pipeline: Pipeline, machine: str, evaluated: Sequence[Measurement]
) -> Iterator[Path]:
    """Write everything, and yield each file once it is there.

    Args:
        run: what was timed.
        study: names the variants.
        pipeline: measured the run.
        machine: goes into the names of what holds only on this machine.
        evaluated: a row for each variant and baseline, with its scores. A study without cells has nothing else.

    Raises:
        UserError: the disk is full, or matplotlib is not installed; what was written before is whole.
    """
    texts = {paths.layers_table(study.name): table_csv(_layers(study, pipeline))}
    if study.cells:
        yield from write_run(run, study, machine)
    if study.hooks is not None:
        scores = replace(run, measurements=tuple(evaluated), engines={})
        scores.save(paths.accuracy_table(study.name, "json"))
        yield paths.accuracy_table(study.name, "json")
        texts |= {
            paths.patients(study.name): json.dumps(_splits(study, pipeline), indent=1) + "\n",
            paths.epochs_table(study.name): table_csv(_epochs(study, pipeline)),
            paths.groups(study.name): json.dumps(_groups(evaluated)) + "\n",
        }
    for path, text in texts.items():
        write_atomically(path, text.encode())
        yield path
    yield from _tables(run if study.cells else None, evaluated if study.hooks is not None else (), study.name, machine)
    yield from _figures(run, study, machine, evaluated)


def redraw(machine: str, name: str) -> Iterator[Path]:
    """Write tables and figures of a study anew from its files, and yield each once it is there.

    Args:
        machine: on which it was timed; one without a result file of this study has its scores alone.
        name: of the study.

    Raises:
        UserError: neither file is there, one is damaged, or matplotlib is not installed.
    """
    file, scores = paths.run(machine, name), paths.accuracy_table(name, "json")
    timed = Run.load(file) if file.exists() or not scores.exists() else None
    scored = Run.load(scores) if scores.exists() else Run(())
    evaluated = _with_groups(scored.measurements, json.loads(paths.groups(name).read_text())) if scores.exists() else ()
    yield from _tables(timed, evaluated, name, machine)
    yield from draw_figures(timed or replace(scored, measurements=()), paths.figures(machine, name), evaluated)


def _tables(run: Run | None, evaluated: Sequence[Measurement], name: str, machine: str) -> Iterator[Path]:
    texts: dict[Path, str] = {}
    if run is not None:
        texts |= {
            paths.table(machine, name, "md"): render(run, "markdown"),
            paths.table(machine, name, "csv"): render(run, "csv"),
            paths.page(name): render(run, "html"),
        }
    if evaluated:
        texts |= {
            paths.accuracy_table(name, "md"): accuracy_markdown(evaluated),
            paths.accuracy_table(name, "csv"): as_csv(evaluated),
        }
    for path, text in texts.items():
        write_atomically(path, text.encode())
        yield path


def write_run(run: Run, study: Study, machine: str) -> Iterator[Path]:
    """Write the result file alone; errors as in `write_results`."""
    path = paths.run(machine, study.name)
    run.save(path)
    yield path


def _figures(run: Run, study: Study, machine: str, evaluated: Sequence[Measurement]) -> list[Path]:
    """Draw the figures, unless those of the same numbers and the same code are there: drawing takes seconds."""
    note = paths.drawn(paths.study_work(study.name))
    rows = [to_benchmark(row) for row in evaluated]
    code = code_digest(Path(paths.__file__).parent), package_versions(("matplotlib",))
    key = key_of([to_benchmark(row) for row in run.measurements], rows, *code)
    # Never drawn here, or something of it is gone: drawn again.
    with suppress(OSError, KeyError, AttributeError, TypeError):
        known = read_note(note) or {}
        files = {Path(name): digest for name, digest in known["files"].items()}
        if known["key"] == key and all(content_hash(path) == digest for path, digest in files.items()):
            return list(files)
    drawn = draw_figures(run, paths.figures(machine, study.name), evaluated)
    described = {"key": key, "files": {str(path): content_hash(path) for path in drawn}}
    write_atomically(note, note_of(described))
    return drawn


def _layers(study: Study, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    for variant in study.variants:
        try:
            count = pipeline.count(variant)
        except UnsupportedError:
            continue
        for layer in count.layers if count else ():
            yield {"variant": variant.name, **vars(layer), "sparsity": layer.sparsity}


def _epochs(study: Study, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    for variant, provenance in _provenances(study, pipeline):
        for number, epoch in epochs_of(provenance.get("history")):
            yield {"variant": variant.name, "round": number, **epoch}


def _splits(study: Study, pipeline: Pipeline) -> dict[str, Any]:
    """Return who was trained, validated and tested on, by seed, fold and caveat, as the checkpoints say."""
    splits: dict[str, Any] = {}
    for variant, provenance in _provenances(study, pipeline):
        fold = "" if variant.fold is None else f", fold {variant.fold}"
        caveat = f", {provenance['caveat']}" if provenance.get("caveat") else ""
        splits.setdefault(f"seed {variant.seed}{fold}{caveat}", provenance.get("split"))
    return splits


def _provenances(study: Study, pipeline: Pipeline) -> Iterator[tuple[Variant, Mapping[str, Any]]]:
    for variant in study.variants:
        with suppress(UnsupportedError):
            yield variant, pipeline.prepare(variant).provenance


def _groups(evaluated: Sequence[Measurement]) -> dict[str, Any]:
    """Return score and weight by variant, metric and group, for paired comparisons of networks."""
    return {
        row.name: of
        for row in evaluated
        if (of := {metric: score.groups for metric, score in row.scores.items() if score.groups})
    }


def _with_groups(rows: Sequence[Measurement], groups: Mapping[str, Mapping[str, Groups]]) -> list[Measurement]:
    """Return rows with the groups of their scores, which a result file leaves out."""
    return [
        replace(
            row,
            scores={
                metric: replace(score, groups=groups.get(row.name, {}).get(metric))
                for metric, score in row.scores.items()
            },
        )
        for row in rows
    ]
