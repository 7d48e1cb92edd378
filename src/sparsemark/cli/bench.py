"""`sparsemark bench`: one model that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.cli.arguments import network_input

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sparsemark.cli.arguments import Commands
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline

_DEFAULT_INPUT = (1, 3, 128, 128)


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "bench",
        help="one model of your own: dense, and pruned as you say",
        description="Time one model of your own, dense and pruned. Pruned networks are fine-tuned only where --task "
        "brings batches and a loss; else they are timed as pruning leaves them.",
    )
    parser.add_argument("reference", metavar="REF", help="file.py:factory, package.module:factory or model.onnx")
    parser.add_argument(
        "--input",
        type=network_input,
        action="append",
        default=[],
        metavar="[NAME=]SIZES[:DTYPE]",
        help="one input, such as 1,3,224,224 or ids=1,128:int64; repeats where there are several (default: "
        "1,3,128,128, or what the ONNX file declares)",
    )
    parser.add_argument(
        "--prune", action="append", default=[], metavar="METHOD:SPARSITY[:ROUND_TO][+...]", help="repeats"
    )
    parser.add_argument(
        "--engine", action="append", default=[], metavar="NAME", help="repeats (default: all that are available)"
    )
    parser.add_argument(
        "--task", type=Path, metavar="FILE.py", help="your inputs and score, and how to fine-tune (see README)"
    )
    parser.add_argument(
        "--epochs", type=int, default=6, help="of fine-tuning, for every pruning alike (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of every engine (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=160, help="timed calls of a cell (default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, required=True, metavar="OUT", help="result file, in pytest-benchmark's format"
    )
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="keep the exported files there")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Measure every pruning on every engine, write the result file and show it."""
    from tempfile import TemporaryDirectory

    from sparsemark.cli.terminal import show, write
    from sparsemark.engines import ENGINES
    from sparsemark.errors import UserError
    from sparsemark.files import check_writable, is_stream
    from sparsemark.networks.factory import name_of
    from sparsemark.networks.onnx_model import input_shape_of
    from sparsemark.records.journal import Journal
    from sparsemark.records.measurement import MEASURED
    from sparsemark.registry import availability
    from sparsemark.report.progress import watch
    from sparsemark.specs import ModelSpec, Protocol, Pruning
    from sparsemark.study.file import own_study
    from sparsemark.study.prepare import Places
    from sparsemark.study.run import measure_cells, open_pipeline

    usable = [row.name for row in availability(ENGINES, "engine") if row.absent is None]
    prunings = list(map(Pruning.parse, options.prune))
    protocol = Protocol.of_rounds(options.rounds, options.threads)
    # Checked first: a misspelt name or an absent folder must not surface after the first cells are measured.
    check_writable(options.json)
    if options.artifacts:
        check_writable(options.artifacts / "artifact")
    inputs = tuple(options.input) or input_shape_of(options.reference) or _DEFAULT_INPUT
    model = ModelSpec(name_of(options.reference), options.reference, inputs)
    study = own_study(model, prunings, options.engine or usable, protocol, options.epochs)
    with TemporaryDirectory(prefix="sparsemark-") as folder:
        work = Path(folder)
        journal = Journal(paths.bench_journal(work / "result" if is_stream(options.json) else options.json))
        pipeline = open_pipeline(study, Places(None, work), task=options.task)
        pipeline.prepare(study.variants[0])  # a network or task that is at fault fails before any progress is shown
        run = measure_cells(pipeline, study.cells, journal, watch)
        run.save(options.json)
        kept = [] if options.artifacts is None else list(_keep_artifacts(pipeline, study, options.artifacts))
    journal.discard()
    show(run)
    for path in (options.json, *kept):
        write(f"wrote {path}\n")
    if not any(m.status == MEASURED for m in run.measurements):
        raise UserError(f"nothing was measured: {run.measurements[0].name}: {run.measurements[0].reason}")
    return 0


def _keep_artifacts(pipeline: Pipeline, study: Study, folder: Path) -> Iterator[Path]:
    """Copy the exported files to a folder, under names without a key, and yield each path once."""
    from shutil import copyfile

    from sparsemark.errors import UserError

    kept = set()
    for cell in study.cells:
        try:
            source = pipeline.export(pipeline.prepare(cell.variant), cell.format).path
        except UserError:
            raise
        except Exception:  # noqa: S112 - whatever kept it from being exported is the reason in the cell's row
            continue
        path = folder / f"{cell.variant.name}{source.suffix}"
        if path not in kept:
            copyfile(source, path)
            kept.add(path)
            yield path
