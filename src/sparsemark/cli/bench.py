"""`sparsemark bench`: one model that the user names."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.cli.arguments import add_bar, add_input, add_precision, add_sampling, add_task, bar, counts, sampling
from sparsemark.cli.choosing import add_choosing, choosing
from sparsemark.cli.pages import add_html, check_html, write_page

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands
    from sparsemark.cli.choosing import Choosing
    from sparsemark.report.deployment import Deployment
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "bench",
        help="one model of your own: dense, and pruned as you say",
        description="Time one model of your own, dense and pruned. Pruned networks are fine-tuned only where --task "
        "brings batches and a loss; else they are timed as pruning leaves them.",
        epilog="The same command, interrupted or killed, goes on from OUT.unfinished.jsonl, also after a "
        "task that ended it was mended. Where a disturbed machine leaves the answer in doubt, OUT.networks stays for "
        "the command that the report names next, which fine-tunes nothing anew. Where OUT exists and a "
        "cell that is measured in it cannot be measured now, the earlier file is kept as OUT.previous.json (the suffix "
        "before .json); if it broke or failed parity, the exit code is 2. A second command for the same OUT is refused "
        "while the first runs.",
    )
    parser.add_argument("reference", metavar="REF", help="file.py:factory, package.module:factory or model.onnx")
    add_input(parser)
    parser.add_argument(
        "--prune",
        action="append",
        default=[],
        metavar="METHOD:SPARSITY[:ROUND_TO][+...][+qat]",
        help="repeats; the last step may list several, such as magnitude:0.5,0.9 or channels:0.3,0.5:16",
    )
    parser.add_argument(
        "--engine", action="append", default=[], metavar="NAME", help="repeats (default: all that are available)"
    )
    add_precision(parser)
    add_task(parser)
    add_choosing(parser)
    add_bar(parser)
    parser.add_argument(
        "--batch",
        type=counts,
        default=(),
        metavar="N[,N...]",
        help="inputs a call, cells for each (default: as in --input)",
    )
    parser.add_argument(
        "--threads",
        type=counts,
        default=(1,),
        metavar="N[,N...]",
        help="of every engine, cells for each; a cell's reference has its batch and threads (default: 1)",
    )
    parser.add_argument("--rounds", type=int, default=160, help="timed calls of a cell (default: %(default)s)")
    add_sampling(parser)
    parser.add_argument(
        "--json",
        type=Path,
        metavar="OUT",
        help="result file, in pytest-benchmark's format (default: MODEL-bench.json, or the next number that is free)",
    )
    add_html(parser)
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="keep the exported files there, to deploy")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Measure every pruning on every engine, write the result file and show it."""
    from sparsemark.files import is_stream
    from sparsemark.machine.locks import only_process
    from sparsemark.machine.temporary import temporary_folder

    sampling(options)  # refused before anything is loaded
    check_html(options)
    if options.json is None:
        options.json = _free(options.reference)
    study, wanted = _study(options), choosing(options)
    with temporary_folder() as work:
        # What is written into a stream has no place for a journal beside it.
        result = work / "result" if is_stream(options.json) else options.json
        command = f"sparsemark bench {options.reference} --json {options.json}"
        with only_process(paths.bench_lock(result), command):
            # Fine-tuning takes minutes: what is interrupted goes on with its networks.
            kept = paths.bench_networks(result) if wanted or (options.task and options.epochs) else work
            return _measure(options, study, wanted, kept, paths.bench_journal(result))


def _free(reference: str) -> Path:
    """Return a result file that is not there yet: nothing is replaced that was not named."""
    from sparsemark.networks.factory import name_of

    names = (Path(f"{name_of(reference)}-bench{'' if number == 1 else number}.json") for number in count(1))
    return next(name for name in names if not name.exists())


def _study(options: argparse.Namespace) -> Study:
    """Return what is asked for: a misspelt name or an absent folder must not surface after cells were measured."""
    from sparsemark.engines import ENGINES
    from sparsemark.files import check_writable, is_stream
    from sparsemark.machine.placement import check_threads
    from sparsemark.records.earlier import check_replaceable
    from sparsemark.registry import availability
    from sparsemark.specs import Protocol
    from sparsemark.study import asked
    from sparsemark.study.file import in_precisions, own_study

    usable = [row.name for row in availability(ENGINES, "engine") if row.absent is None]
    prunings = asked.prunings(options.prune)
    protocol = Protocol.of_rounds(options.rounds, options.threads[0])
    check_threads(options.threads[-1], "--threads")
    check_writable(options.json)
    if not is_stream(options.json):
        check_replaceable(options.json)
    if options.artifacts:
        check_writable(options.artifacts / "artifact")
    model = asked.model(options.reference, options.input, options.batch, options.task)
    engines = options.engine or usable
    study = own_study(
        model, prunings, engines, protocol, options.epochs, batches=options.batch, threads=options.threads
    )
    return in_precisions(study, options.precision)


def _deployment(options: argparse.Namespace) -> Deployment:
    from sparsemark.report.deployment import Deployment

    inputs = tuple(word for text in options.input for word in ("--input", text))
    task = () if options.task is None else ("--task", str(options.task), "--epochs", str(options.epochs))
    return Deployment(options.reference, inputs, task, options.artifacts, (options.json,))


def _measure(options: argparse.Namespace, study: Study, wanted: Choosing | None, work: Path, unfinished: Path) -> int:
    from dataclasses import replace

    from sparsemark.cli.again import again
    from sparsemark.cli.choosing import choose
    from sparsemark.cli.terminal import check_measured, show, show_artifacts, show_failures, taken_from, write
    from sparsemark.files import is_stream
    from sparsemark.records.earlier import keep_earlier
    from sparsemark.records.journal import Journal
    from sparsemark.report.headline import is_disturbed
    from sparsemark.report.live import answers_so_far
    from sparsemark.report.progress import waiting, watch
    from sparsemark.study.file import with_prunings
    from sparsemark.study.prepare import Places
    from sparsemark.study.run import measure_cells, open_pipeline

    with waiting(f"loading {options.reference}"):
        pipeline = open_pipeline(study, Places(None, work), task=options.task)
        # A network or task that is at fault fails before any progress is shown.
        _rehearse(pipeline, study, prunes=options.epochs > 0 and (wanted is not None or len(study.variants) > 1))
        for cell in study.cells:
            pipeline.inputs(cell.variant.dense)
    chosen = choose(wanted, pipeline, study) if wanted else None
    if chosen:
        study = with_prunings(study, chosen.prunings)
    pipeline.tuning.plan(study.variants, shorter=True)
    journal = Journal(unfinished)
    watched = partial(watch, answer=answers_so_far(journal.path))
    run = measure_cells(pipeline, study.cells, journal, watched, sampling(options))
    run = chosen.noted(run) if chosen else run
    lost = keep_earlier(options.json, run.measurements)
    deployment = _deployment(options)
    run = replace(run, origin=deployment.origin())
    run.save(options.json)
    if is_disturbed(run, bar(options)) and not is_stream(options.json):
        deployment = replace(deployment, again=again(options, chosen))
    resumed = taken_from(journal, len(study.cells))
    if resumed:
        write(f"{resumed}\n")
    show(run, bar(options), deployment)
    if chosen and not chosen.prunings:  # else the report has it
        write(f"{chosen.words}\n")
    write(f"wrote {options.json}\n")
    write_page(options.html, run, bar(options), deployment)
    # Last, since a full disk must not cost what was measured; the journal stays until it went well.
    if not options.engine:
        _name_absent()
    if options.artifacts is None:
        write("the exported files were temporary; the same command with --artifacts DIR keeps those to deploy\n")
    else:
        show_artifacts(pipeline, study, run.measurements, options.artifacts)
    journal.discard()
    _end_networks(paths.bench_networks(options.json), is_kept=bool(deployment.again))
    show_failures(run.measurements, lost)
    check_measured(run.measurements)
    return 0


def _end_networks(networks: Path, *, is_kept: bool) -> None:
    """Remove fine-tuned networks, of an earlier, unfinished command as well, unless they wait for a quieter machine."""
    from shutil import rmtree

    from sparsemark.cli.terminal import write

    if not is_kept:
        rmtree(networks, ignore_errors=True)
    elif networks.exists():
        write(f"{networks}: the fine-tuned networks, kept to be timed again; may be deleted\n")


def _rehearse(pipeline: Pipeline, study: Study, *, prunes: bool) -> None:
    """Prepare the dense network, and try on one batch what its task will be asked for later."""
    from sparsemark.networks.checkpoint import load_checkpoint
    from sparsemark.study.rehearsal import try_score_of_file, try_training

    dense = study.variants[0]
    prepared, task = pipeline.prepare(dense), pipeline.task(dense)
    if task is not None and dense.model.is_onnx:
        try_score_of_file(task, dense.model)
    elif task is not None and prunes:
        try_training(load_checkpoint(prepared.source.path).build(), task)


def _name_absent() -> None:
    """Name the engines that were not tried for want of a package: one of them may be the fastest."""
    from sparsemark.cli.terminal import write
    from sparsemark.engines import ENGINES
    from sparsemark.registry import availability, missing

    rows = availability(ENGINES, "engine")
    own = [row for row in rows if row.name in ENGINES and missing(ENGINES[row.name].requires)]
    absent = [f"{row.name} ({row.absent})" for row in own]
    if absent:
        write(f"not tried: {'; '.join(absent)}\n")
