"""`sparsemark run`: a whole study."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.cli.arguments import add_bar, add_precision, add_sampling, bar, sampling
from sparsemark.cli.pages import add_html, check_html, write_page
from sparsemark.cli.sweeping import check_scheduler, sweep
from sparsemark.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from sparsemark.analysis.front import Bar
    from sparsemark.cli.arguments import Commands
    from sparsemark.records.journal import Journal
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.prepare import Places
    from sparsemark.study.sampling import Sampling


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "run",
        help="a whole study: train or load, prune, fine-tune, export, verify, time, write results (may train)",
        description="Train or load the networks of a study, prune, fine-tune, export, verify and time them, and write "
        "the results; a study that names no engines is trained and scored only. May train, for hours, whatever has no "
        "checkpoint yet.",
        epilog="The same command, interrupted or killed, goes on where it was. Where a cell that is measured in the "
        "result file cannot be measured now, the earlier file is kept as NAME.previous.json; if it broke or failed "
        "parity, the exit code is 2. A second command for the same study in the same folder is refused while the first "
        "runs.",
    )
    parser.add_argument(
        "study", nargs="?", type=Path, default=paths.DEFAULT_STUDY, help="study file (default: %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, help="images to train and test on (default: what the study's hooks choose)"
    )
    parser.add_argument(
        "--no-training",
        action="store_true",
        help="only networks that have a checkpoint; the others are rows without one",
    )
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="keep the exported files there, to deploy")
    parser.add_argument(
        "--epochs", type=int, help="of fine-tuning, for every pruning alike (default: the study's, else 6)"
    )
    add_precision(parser)
    add_sampling(parser)
    parser.add_argument(
        "--scheduler",
        metavar="local:N|ADDRESS",
        help="prepare on all workers of Dask and time on one of each host: N processes of this machine, or the workers "
        "of a scheduler such as tcp://192.0.2.1:8786 (needs sparsemark[sweep])",
    )
    parser.add_argument(
        "--files",
        metavar="URL",
        help="with --scheduler: store through which networks and exported files reach workers that do not see this "
        "folder, such as file:///shared/store or s3://bucket/folder, opened by fsspec (default: Dask's messages, up to "
        "256 MiB a task)",
    )
    add_bar(parser)
    add_html(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Measure what the journal does not hold yet, write the results and show them."""
    from sparsemark.cli.terminal import show_artifacts, show_failures, taken_from
    from sparsemark.files import write_atomically
    from sparsemark.machine.locks import only_process
    from sparsemark.records.earlier import keep_earlier
    from sparsemark.records.journal import Journal
    from sparsemark.registry import missing
    from sparsemark.report.progress import waiting
    from sparsemark.report.rankings import rankings_markdown
    from sparsemark.study.prepare import Places
    from sparsemark.study.publish import write_results, write_run
    from sparsemark.study.run import open_pipeline

    processes, asked = sampling(options), bar(options)
    check_scheduler(options)
    absent = missing(("matplotlib",))
    if absent and not options.quick:
        raise UserError(f"{absent}: the figures need it, pip install 'sparsemark[plots]'")
    check_html(options)
    study = _study(options)
    work = paths.study_work(study.name)
    with only_process(paths.lock(work), f"sparsemark run {options.study}"):
        places = Places(paths.WEIGHTS, work, may_train=not options.no_training)
        with waiting("opening the study"):
            pipeline = open_pipeline(study, places, data=options.data)
        journal = Journal(paths.journal(work))
        evaluated, runs = _measured(options, study, pipeline, journal=journal, places=places, processes=processes)
        lost = [keep_earlier(paths.run(machine, study.name), run.measurements) for machine, run in runs.items()]
        written: list[Path] = []
        with waiting("writing results"):
            for machine, run in runs.items():
                written += (
                    write_run(run, study, machine)
                    if options.quick
                    else write_results(run, study, pipeline, machine, evaluated)
                )
        if len(runs) > 1:
            write_atomically(paths.rankings_table(study.name), rankings_markdown(runs).encode())
            written.append(paths.rankings_table(study.name))
    resumed = taken_from(journal, sum(len(run.measurements) for run in runs.values()))
    if resumed:
        print(resumed)
    _show(options, study, evaluated, runs, asked)
    _name(written, work)
    rows = [row for run in runs.values() for row in run.measurements]
    if options.artifacts is not None:
        show_artifacts(pipeline, study, rows, options.artifacts)
    for one in lost:
        show_failures([*rows, *evaluated], one)
    return 0


def _measured(
    options: argparse.Namespace,
    study: Study,
    pipeline: Pipeline,
    *,
    journal: Journal,
    places: Places,
    processes: Sampling,
) -> tuple[list[Measurement], dict[str, Run]]:
    """Return a row for each variant, and the run of each class of hosts by the name of its files."""
    from sparsemark.machine.fingerprint import machine_name
    from sparsemark.report.live import answers_so_far
    from sparsemark.report.progress import watch
    from sparsemark.study.run import measure_cells, measure_on, prepare_variants

    pipeline.tuning.plan(study.variants)
    watched = partial(watch, answer=answers_so_far(journal.path))
    if options.scheduler is None:
        evaluated = prepare_variants(pipeline, study.variants, watch)
        return evaluated, {machine_name(): measure_cells(pipeline, study.cells, journal, watched, processes)}
    with sweep(options, study, places) as executor:
        evaluated = prepare_variants(pipeline, study.variants, watch, executor)
        found = measure_on(executor, pipeline, study.cells, journal, watch=watched, sampling=processes)
    return evaluated, {where.folder: run for where, run in found.items()}


def _show(
    options: argparse.Namespace,
    study: Study,
    evaluated: Sequence[Measurement],
    runs: Mapping[str, Run],
    asked: Bar,
) -> None:
    """Show the tables of each class of hosts."""
    from sparsemark.cli.terminal import show, write
    from sparsemark.report.accuracy import accuracy_markdown
    from sparsemark.report.deployment import Deployment
    from sparsemark.report.rankings import rankings_markdown

    if not study.cells:
        write(accuracy_markdown(evaluated))
        return
    for machine, run in runs.items():
        if len(runs) > 1:
            write(f"\n{machine}\n")
        show(run, asked, Deployment(results=(paths.run(machine, study.name),)))
    if len(runs) > 1:
        write(f"\n{rankings_markdown(runs)}")
    machine = next(iter(runs))
    write_page(options.html, runs[machine], asked, Deployment(results=(paths.run(machine, study.name),)))


def _study(options: argparse.Namespace) -> Study:
    from dataclasses import replace

    from sparsemark.files import check_writable
    from sparsemark.study.file import in_precisions, load_study, quick_study

    study = in_precisions(load_study(options.study), options.precision)
    if options.epochs is not None:
        study = replace(study, epochs=options.epochs)
    if options.artifacts:
        check_writable(options.artifacts / "artifact")
    return quick_study(study) if options.quick else study


def _name(written: Sequence[Path], work: Path) -> None:
    """Name every file that was written, and the folder of those that are not for the user."""
    from sparsemark.cli.terminal import write

    for path in written:
        write(f"wrote {path}\n")
    write(f"{work}: networks, exported files and finished cells of this study, for the next run; may be deleted\n")
