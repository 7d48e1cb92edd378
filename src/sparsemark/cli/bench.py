"""`sparsemark bench`: one model that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.cli.arguments import add_bar, add_sampling, bar, network_input, sampling

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sparsemark.cli.arguments import Commands
    from sparsemark.report.deployment import Deployment
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.search import Search

_DEFAULT_INPUT = (1, 3, 128, 128)


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "bench",
        help="one model of your own: dense, and pruned as you say",
        description="Time one model of your own, dense and pruned. Pruned networks are fine-tuned only where --task "
        "brings batches and a loss; else they are timed as pruning leaves them.",
        epilog="The same command, interrupted or killed, goes on from OUT.unfinished.jsonl. Where OUT exists and a "
        "cell that is measured in it cannot be measured now, the earlier file is kept as OUT.previous.json (the suffix "
        "before .json); if it broke or failed parity, the exit code is 2. A second command for the same OUT is refused "
        "while the first runs.",
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
    parser.add_argument(
        "--search",
        metavar="METHOD",
        help="find the highest sparsity of this method that keeps the score, by bisection on the task's select inputs, "
        "and measure it: magnitude, channels::16, channels:0.5+magnitude; its cost in minutes is said after one trial",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="networks of each trial of --search (default: 2)")
    add_bar(parser)
    parser.add_argument("--threads", type=int, default=1, help="of every engine (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=160, help="timed calls of a cell (default: %(default)s)")
    add_sampling(parser)
    parser.add_argument(
        "--json", type=Path, required=True, metavar="OUT", help="result file, in pytest-benchmark's format"
    )
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="keep the exported files there")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Measure every pruning on every engine, write the result file and show it."""
    from sparsemark.cli.terminal import notices
    from sparsemark.files import is_stream
    from sparsemark.machine.locks import only_process
    from sparsemark.machine.temporary import temporary_folder
    from sparsemark.report.progress import begin

    sampling(options)  # refused before anything is loaded
    study, wanted = _study(options), _search(options)
    begin()
    with notices(), temporary_folder() as work:
        # What is written into a stream has no place for a journal beside it.
        result = work / "result" if is_stream(options.json) else options.json
        command = f"sparsemark bench {options.reference} --json {options.json}"
        with only_process(paths.bench_lock(result), command):
            # Networks of a search took minutes: what is interrupted goes on with them.
            kept = paths.bench_search(result) if wanted else work
            return _measure(options, study, wanted, kept, paths.bench_journal(result))


def _study(options: argparse.Namespace) -> Study:
    """Return what is asked for: a misspelt name or an absent folder must not surface after cells were measured."""
    from sparsemark.engines import ENGINES
    from sparsemark.files import check_writable
    from sparsemark.machine.memory import check_inputs_fit
    from sparsemark.machine.placement import check_threads
    from sparsemark.networks.factory import name_of
    from sparsemark.networks.onnx_model import onnx_inputs
    from sparsemark.references import ONNX_SUFFIX
    from sparsemark.registry import availability
    from sparsemark.specs import InputSpec, ModelSpec, Protocol, Pruning
    from sparsemark.study.file import own_study
    from sparsemark.study.inputs import held_inputs

    usable = [row.name for row in availability(ENGINES, "engine") if row.absent is None]
    prunings = list(map(Pruning.parse, options.prune))
    protocol = Protocol.of_rounds(options.rounds, options.threads)
    check_threads(protocol.threads, "--threads")
    check_writable(options.json)
    if options.artifacts:
        check_writable(options.artifacts / "artifact")
    inputs = tuple(map(InputSpec.parse, options.input))
    if options.reference.endswith(ONNX_SUFFIX):
        inputs = onnx_inputs(options.reference, inputs)
    elif not inputs:
        inputs = (InputSpec(_DEFAULT_INPUT),)
    model = ModelSpec(name_of(options.reference), options.reference, inputs)
    where = "--input" if options.input else options.reference
    check_inputs_fit(model.inputs, where, held_inputs(has_task=options.task is not None))
    return own_study(model, prunings, options.engine or usable, protocol, options.epochs)


def _search(options: argparse.Namespace) -> Search | None:
    """Return what is to be searched for, or None.

    Raises:
        UserError: options that do not go together.
    """
    from sparsemark.errors import UserError
    from sparsemark.references import ONNX_SUFFIX
    from sparsemark.study.search import SEEDS, Search

    asked = bar(options)
    if options.search is None:
        if options.seeds is not None:
            raise UserError(f"--seeds {options.seeds}: expected --search beside it")
        return None
    if options.task is None:
        raise UserError(f"--search {options.search}: expected --task FILE.py beside it, whose score decides")
    if options.reference.endswith(ONNX_SUFFIX):
        raise UserError(f"--search {options.search}: {options.reference} cannot be pruned; give the network's factory")
    return Search(options.search, SEEDS if options.seeds is None else options.seeds, asked)


def _deployment(options: argparse.Namespace) -> Deployment:
    from sparsemark.report.deployment import Deployment

    inputs = tuple(word for text in options.input for word in ("--input", text))
    task = () if options.task is None else ("--task", str(options.task), "--epochs", str(options.epochs))
    return Deployment(options.reference, inputs, task, options.artifacts)


def _measure(options: argparse.Namespace, study: Study, wanted: Search | None, work: Path, unfinished: Path) -> int:
    from shutil import rmtree

    from sparsemark.cli.terminal import show, show_failures, taken_from, write
    from sparsemark.errors import UserError
    from sparsemark.records.earlier import keep_earlier
    from sparsemark.records.journal import Journal
    from sparsemark.records.measurement import MEASURED
    from sparsemark.report.progress import waiting, watch
    from sparsemark.study.file import with_pruning
    from sparsemark.study.prepare import Places
    from sparsemark.study.run import measure_cells, open_pipeline
    from sparsemark.study.search import search, with_note

    with waiting(f"loading {options.reference}"):
        pipeline = open_pipeline(study, Places(None, work), task=options.task)
        # A network or task that is at fault fails before any progress is shown.
        pipeline.prepare(study.variants[0])
    found = search(pipeline, study.variants[0].model, wanted, waiting) if wanted else None
    if found and found.pruning:
        study = with_pruning(study, found.pruning)
    journal = Journal(unfinished)
    run = measure_cells(pipeline, study.cells, journal, watch, sampling(options))
    run = with_note(run, found) if found else run
    lost = keep_earlier(options.json, run.measurements)
    run.save(options.json)
    resumed = taken_from(journal, len(study.cells))
    if resumed:
        write(f"{resumed}\n")
    show(run, bar(options), _deployment(options))
    if found and found.pruning is None:  # else the report has it
        write(f"{found.words}\n")
    write(f"wrote {options.json}\n")
    # Last, since a full disk must not cost what was measured; the journal stays until it went well.
    for path in () if options.artifacts is None else _keep_artifacts(pipeline, study, options.artifacts):
        write(f"wrote {path}\n")
    journal.discard()
    if wanted:
        rmtree(work)
    show_failures(run.measurements, lost)
    if not any(m.status == MEASURED for m in run.measurements):
        raise UserError(f"nothing was measured: {run.measurements[0].name}: {run.measurements[0].reason}")
    return 0


def _keep_artifacts(pipeline: Pipeline, study: Study, folder: Path) -> Iterator[Path]:
    """Copy the exported files to a folder, under names without a key, and yield each path once it is whole.

    Raises:
        UserError: the disk is full or the folder cannot be written; names the file in it.
    """
    from shutil import copyfile

    from sparsemark.errors import WriteError
    from sparsemark.files import replacing

    kept = set()
    for cell in study.cells:
        try:
            source = pipeline.export(pipeline.prepare(cell.variant), cell.format).path
        except WriteError:
            raise
        except Exception:  # noqa: S112 - whatever kept it from being exported is the reason in the cell's row
            continue
        path = folder / f"{cell.variant.name}{source.suffix}"
        if path not in kept:
            with replacing(path) as target:
                copyfile(source, target)
            kept.add(path)
            yield path
