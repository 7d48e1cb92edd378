"""The commands, in the order of the pipeline.

Each parses, makes a spec, calls one function and renders what it returns.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.records.run import Run
    from sparsemark.specs import Cell
    from sparsemark.study.pipeline import Pipeline

# Nothing above imports torch, rich or numpy: `sparsemark --help` is instant, and so is `sparsemark report`.

EXIT_USER = 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

_DEFAULT_INPUT = (1, 3, 128, 128)
_TOLERATED = (  # a test holds these against gate.Tolerances, which imports numpy
    "tolerances: latency 2 % and 0.05 ms, accuracy 1 point, agreement with the dense network 0.5 point, size 1 %"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; the caller's mistakes are one line on stderr."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a pipe's encoding may lack the lines of a table
    try:
        code: int = options.command(options)
        # Here and not at exit, where an error of the disk or the pipe could no longer be told in one line.
        sys.stdout.flush()
    except UserError as error:
        _say(options.name, str(error))
        return int(getattr(error, "exit_code", EXIT_USER))
    except KeyboardInterrupt:
        print(f"\nsparsemark {options.name}: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _let_go_of_stdout()  # whoever read our output has seen enough
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _say(options.name, f"{where}{error.strerror or error}")
        try:
            sys.stdout.flush()
        except OSError:
            _let_go_of_stdout()
        return EXIT_USER
    return code


def _say(command: str, message: str) -> None:
    """One line on stderr, whatever lines the message quotes."""
    print(f"sparsemark {command}: {' '.join(message.split())}", file=sys.stderr)


def _let_go_of_stdout() -> None:
    """Have Python's own flush at exit succeed: what it could not write was reported here."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparsemark",
        description="Does pruning this network make it faster, on this machine, and what does it cost in accuracy?",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run", help="a whole study: train or load, prune, fine-tune, export, verify, time, write results"
    )
    run.add_argument(
        "study", nargs="?", type=Path, default=paths.DEFAULT_STUDY, help="study file (default: %(default)s)"
    )
    run.add_argument("--data", type=Path, help="images to train and test on (default: what the study's hooks choose)")
    run.set_defaults(command=_run)

    bench = commands.add_parser("bench", help="one model of your own: dense, and pruned as you say")
    bench.add_argument("reference", metavar="REF", help="file.py:factory, package.module:factory or model.onnx")
    bench.add_argument(
        "--input", type=_shape, metavar="N,C,H,W", help="shape of one input (default: 1,3,128,128, or the ONNX file's)"
    )
    bench.add_argument("--prune", action="append", default=[], metavar="METHOD:SPARSITY[:ROUND_TO]", help="repeats")
    bench.add_argument(
        "--engine", action="append", default=[], metavar="NAME", help="repeats (default: all that are available)"
    )
    bench.add_argument("--threads", type=int, default=1, help="of every engine (default: %(default)s)")
    bench.add_argument("--rounds", type=int, default=160, help="timed calls of a cell (default: %(default)s)")
    bench.add_argument(
        "--json", type=Path, required=True, metavar="OUT", help="result file, in pytest-benchmark's format"
    )
    bench.add_argument("--artifacts", type=Path, metavar="DIR", help="keep the exported files there")
    bench.set_defaults(command=_bench)

    report = commands.add_parser("report", help="latency-versus-accuracy tables of a result file")
    report.add_argument("run", type=Path, metavar="RUN.json")
    report.add_argument("--format", default="table", help="table, markdown, csv or html (default: %(default)s)")
    report.add_argument("--output", type=Path, metavar="PATH", help="write there (default: the terminal)")
    report.set_defaults(command=_report)

    compare = commands.add_parser("compare", help="two result files, cell by cell, with intervals")
    compare.add_argument("baseline", type=Path, metavar="A.json")
    compare.add_argument("candidate", type=Path, metavar="B.json")
    compare.set_defaults(command=_compare)

    gate = commands.add_parser(
        "gate",
        help="fail where a result file is worse than a baseline",
        epilog="exit codes: 0 ok, 1 regression, 2 usage or unreadable input, "
        "3 inconclusive or contaminated (with --strict), 4 no baseline, 5 parity failure; " + _TOLERATED,
    )
    gate.add_argument("--baseline", type=Path, required=True, metavar="A.json")
    gate.add_argument("candidate", type=Path, metavar="B.json")
    gate.add_argument(
        "--strict", action="store_true", help="exit 3 where the samples cannot tell, in place of 0 and a warning"
    )
    gate.set_defaults(command=_gate)

    doctor = commands.add_parser("doctor", help="is this machine fit to measure on?")
    doctor.set_defaults(command=_doctor)

    explain = commands.add_parser("explain", help="how direct-csr runs a CSR file, layer by layer")
    explain.add_argument("artifact", type=Path, metavar="ARTIFACT.csr")
    explain.add_argument("--input", type=_shape, metavar="N,C,H,W", help="where the file leaves the shape open")
    explain.add_argument("--figure", type=Path, metavar="PNG", help="draw each layer against the machine's limits")
    explain.set_defaults(command=_explain)

    listing = commands.add_parser("list", help="pruners, formats and engines: available, or why not")
    listing.set_defaults(command=_list)
    return parser


class _Version(argparse.Action):
    """Print the version; it is looked up only here, as that takes longer than all other options together."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"sparsemark {version('sparsemark')}")
        except PackageNotFoundError:
            print("sparsemark, not installed")
        parser.exit()


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers and commas, such as 1,3,128,128") from None


def _run(options: argparse.Namespace) -> int:
    from sparsemark.machine.fingerprint import machine_name
    from sparsemark.records.journal import Journal
    from sparsemark.registry import missing
    from sparsemark.report.progress import watch
    from sparsemark.study.execution import measure_cells, prepare_variants
    from sparsemark.study.file import load_study
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.publish import write_results
    from sparsemark.study.subjects import open_study

    absent = missing(("matplotlib",))
    if absent:
        raise UserError(f"{absent}: the figures need it, pip install sparsemark[plots]")
    study = load_study(options.study)
    work = paths.study_work(study.name)
    subject = open_study(study, work, options.data)
    evaluated = prepare_variants(subject, study.variants, watch)
    pipeline = Pipeline(subject, study.protocol, work)
    run = measure_cells(pipeline, study.cells, Journal(paths.journal(work)), watch)
    written = list(write_results(run, study, pipeline, machine_name(), evaluated))
    _show(run)
    for path in written:
        print(f"wrote {path}")
    return 0


def _bench(options: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from sparsemark.engines import ENGINES
    from sparsemark.files import check_writable
    from sparsemark.networks.factory import name_of
    from sparsemark.networks.onnx_model import input_shape_of
    from sparsemark.pruning import PRUNERS
    from sparsemark.records.journal import Journal
    from sparsemark.registry import availability, find
    from sparsemark.report.progress import watch
    from sparsemark.specs import Cell, ModelSpec, Protocol, PruneSpec, Variant
    from sparsemark.study.execution import measure_cells
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.subjects import OwnModel

    prunes = dict.fromkeys([PruneSpec(), *map(PruneSpec.parse, options.prune)])
    usable = [row.name for row in availability(ENGINES, "engine") if row.absent is None]
    engines = list(dict.fromkeys(options.engine or usable))
    # A typo or a folder that is not there must not come to light after the first cells are measured.
    for spec in prunes:
        find(spec.method, PRUNERS, "pruner")
    for engine in engines:
        find(engine, ENGINES, "engine")
    protocol = Protocol.of_rounds(options.rounds, options.threads)
    check_writable(options.json)
    if options.artifacts:
        check_writable(options.artifacts / "artifact")
    shape = options.input or input_shape_of(options.reference) or _DEFAULT_INPUT
    model = ModelSpec(name_of(options.reference), options.reference, shape)
    cells = [Cell(Variant(model, spec), engine, options.threads) for spec in prunes for engine in engines]
    journal = Journal(paths.bench_journal(options.json))
    with TemporaryDirectory(prefix="sparsemark-") as folder:
        work = Path(folder)
        pipeline = Pipeline(OwnModel(model, work), protocol, work)
        run = measure_cells(pipeline, cells, journal, watch)
        kept = [] if options.artifacts is None else _keep_artifacts(pipeline, cells, run, options.artifacts)
    run.save(options.json)
    journal.discard()
    _show(run)
    for path in (options.json, *kept):
        print(f"wrote {path}")
    return 0


def _keep_artifacts(pipeline: Pipeline, cells: Sequence[Cell], run: Run, folder: Path) -> list[Path]:
    """Copy what measured cells ran to a folder, under names without a key; their paths, each once."""
    from shutil import copyfile

    from sparsemark.records.measurement import MEASURED

    kept = {}
    for cell, measurement in zip(cells, run.measurements, strict=True):
        if measurement.status == MEASURED:
            source = pipeline.artifact(cell.variant, cell.engine).path
            kept[source] = folder / f"{cell.variant.name}{source.suffix}"
    for source, path in kept.items():
        copyfile(source, path)
    return list(kept.values())


def _report(options: argparse.Namespace) -> int:
    from sparsemark.records.run import Run
    from sparsemark.report import render

    run = Run.load(options.run)
    if options.output is None and options.format == "table":
        _show(run)
    elif options.output is None:
        sys.stdout.write(render(run, options.format))
    else:
        from sparsemark.files import write_atomically

        write_atomically(options.output, render(run, options.format).encode())
    return 0


def _compare(options: argparse.Namespace) -> int:
    from sparsemark.analysis.comparison import compare, environment_differences, same_machine
    from sparsemark.records.run import Run
    from sparsemark.report.renderers.verdicts import render_comparison

    before, after = Run.load(options.baseline), Run.load(options.candidate)
    differences, same = environment_differences(before, after), same_machine(before, after)
    width, colour = _terminal()
    text = render_comparison(compare(before, after), differences, same_machine=same, width=width, colour=colour)
    sys.stdout.write(text)
    return 0


def _gate(options: argparse.Namespace) -> int:
    from sparsemark.analysis.comparison import environment_differences, same_machine
    from sparsemark.analysis.gate import exit_code, gate, load_runs
    from sparsemark.report.renderers.verdicts import render_verdicts

    before, after = load_runs(options.baseline, options.candidate)
    verdicts = gate(before, after)
    differences, same = environment_differences(before, after), same_machine(before, after)
    width, colour = _terminal()
    sys.stdout.write(render_verdicts(verdicts, differences, same_machine=same, width=width, colour=colour))
    if os.environ.get("GITHUB_ACTIONS"):
        from sparsemark.report.renderers.github import annotate, job_summary

        sys.stdout.write(annotate(verdicts))
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(job_summary(verdicts, same_machine=same))
    return exit_code(verdicts, strict=options.strict)


def _doctor(options: argparse.Namespace) -> int:  # noqa: ARG001 - no options
    from sparsemark.machine.doctor import examine
    from sparsemark.report.renderers.lists import as_checklist

    width, colour = _terminal()
    sys.stdout.write(as_checklist(examine(), width=width, colour=colour))
    return 0


def _explain(options: argparse.Namespace) -> int:
    from sparsemark.errors import UnsupportedError
    from sparsemark.formats.csr.graph import load_csr
    from sparsemark.machine.fingerprint import fingerprint
    from sparsemark.registry import missing

    absent = missing(("numba",))
    if absent:
        raise UserError(f"{absent}: direct-csr needs it, pip install sparsemark[direct]")
    from sparsemark.direct.explanation import explain
    from sparsemark.direct.limits import measure_limits
    from sparsemark.direct.network import Network
    from sparsemark.report.document import environment
    from sparsemark.report.progress import waiting
    from sparsemark.report.renderers.layers import as_layers, draw_roofline, in_words

    graph = load_csr(options.artifact)
    shape = options.input or graph.input_shape
    if shape is None:
        raise UserError(f"{options.artifact}: takes inputs of several shapes; say which with --input")
    try:
        with waiting("planning"):
            plan = Network(graph, 1, paths.decisions()).plan((1, *shape[1:]))
    except UnsupportedError as error:
        raise UserError(f"{options.artifact}: {error}") from error
    with waiting("timing each layer"):
        layers, limits = list(explain(plan)), measure_limits()
    width, colour = _terminal()
    sys.stdout.write(as_layers(layers, limits, plan.decision, width=width, colour=colour))
    if options.figure:
        conditions = [options.artifact.stem, in_words(limits), *environment(fingerprint())]
        draw_roofline(layers, limits, conditions, options.figure)
        print(f"wrote {options.figure}")
    return 0


def _list(options: argparse.Namespace) -> int:  # noqa: ARG001 - no options
    from sparsemark.engines import ENGINES
    from sparsemark.formats import FORMATS
    from sparsemark.pruning import PRUNERS
    from sparsemark.registry import availability
    from sparsemark.report.renderers.lists import as_inventory

    rows = [*availability(PRUNERS, "pruner"), *availability(FORMATS, "format"), *availability(ENGINES, "engine")]
    width, colour = _terminal()
    sys.stdout.write(as_inventory(rows, width=width, colour=colour))
    return 0


def _show(run: Run) -> None:
    from sparsemark.report import render

    width, colour = _terminal()
    sys.stdout.write(render(run, width=width, colour=colour))


def _terminal() -> tuple[int, bool]:
    """Width in columns, and whether colours are welcome: not in a pipe, and not where NO_COLOR is set."""
    from shutil import get_terminal_size

    from sparsemark.report import DEFAULT_WIDTH

    if not sys.stdout.isatty():
        return DEFAULT_WIDTH, False
    return get_terminal_size().columns, "NO_COLOR" not in os.environ


if __name__ == "__main__":
    sys.exit(main())
