"""`sparsemark explain`: the layers of an artifact as its engine runs them, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.cli.arguments import network_input
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.records.explanation import WHY_NOT, Advice
from sparsemark.references import ONNX_SUFFIX

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from sparsemark.cli.arguments import Commands
    from sparsemark.direct.explain import Layer
    from sparsemark.direct.peak import Peak
    from sparsemark.specs import InputSpec

    Ready = tuple[Any, Mapping[str, Callable[[Any], Advice | None]], tuple[Sequence[Layer], Peak] | None]
    Opened = Callable[[], Ready]

CSR_SUFFIX = ".csr"


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("explain", help="why an artifact is fast or not, layer by layer, and what to change")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a .csr file, for direct-csr, or an .onnx file")
    parser.add_argument(
        "--input",
        type=network_input,
        action="append",
        default=[],
        metavar="N,C,H,W",
        help="where the file leaves sizes open; NAME=SIZES for one of several",
    )
    parser.add_argument(
        "--figure",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="draw each layer of a .csr file against the peak, as .png or .svg; repeats",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write layers and changes as data")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Time each layer, try each change beside what there is, and show what it gains."""
    from sparsemark.analysis.gains import rank
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.files import check_writable, write_atomically
    from sparsemark.machine.fingerprint import fingerprint
    from sparsemark.machine.host_lock import only_measurement
    from sparsemark.machine.placement import library_threads, pinned
    from sparsemark.report.progress import waiting, watch
    from sparsemark.report.renderers.explanation import as_explanation, as_json
    from sparsemark.specs import InputSpec

    artifact: Path = options.artifact
    if artifact.suffix not in (CSR_SUFFIX, ONNX_SUFFIX):
        raise UserError(f"{artifact}: expected a {CSR_SUFFIX} or an {ONNX_SUFFIX} file")
    for path in filter(None, (options.json, *options.figure)):
        check_writable(path)
    given = [InputSpec.parse(text) for text in options.input]
    try:
        with waiting("planning"):
            opened = _csr(artifact, given) if artifact.suffix == CSR_SUFFIX else _onnx(artifact, given, options.figure)
        with only_measurement(), pinned(1), library_threads(1):
            with waiting("timing each layer"):
                subject, linters, drawn = opened()
            tried = [_tried(name, linters[name], subject) for name in watch(list(linters), "changes")]
    except UnsupportedError as error:
        raise UserError(f"{artifact}: {error}") from error
    explanation = subject.explanation
    ranked = rank([advice for advice in tried if advice is not None], explanation.seconds)
    width, colour = terminal()
    write(as_explanation(explanation, ranked, width=width, colour=colour))
    machine = fingerprint(("numba", "llvmlite", "onnxruntime"))
    if options.json:
        write_atomically(options.json, as_json(explanation, ranked, machine).encode())
        write(f"wrote {options.json}\n")
    if options.figure and drawn is not None:
        from sparsemark.report.conditions import environment
        from sparsemark.report.figures.layer_pace import draw_layer_pace
        from sparsemark.report.renderers.explanation import limits_in_words

        conditions = [*limits_in_words(explanation), environment(machine)[0]]
        draw_layer_pace(artifact.stem, *drawn, conditions, options.figure)
        write("".join(f"wrote {path}\n" for path in options.figure))
    return 0


def _tried(name: str, linter: Callable[[Any], Advice | None], subject: Any) -> Advice | None:
    """Return what a linter found; what keeps it from trying is its advice, and no end of the command."""
    try:
        return linter(subject)
    except UnsupportedError as error:
        return Advice(name, (), (), (), {WHY_NOT: str(error)})


def _csr(artifact: Path, given: Sequence[InputSpec]) -> Opened:
    """Plan a CSR file; return what times it, since a bad file must not wait for another measurement."""
    from sparsemark.registry import missing

    absent = missing(("numba",))
    if absent:
        raise UserError(f"{absent}: direct-csr needs it, pip install sparsemark[direct]")
    if len(given) > 1:
        raise UserError(f"{artifact}: {len(given)} inputs given, expected one")
    from sparsemark.direct.peak import measure_peak
    from sparsemark.measurement.explanation.csr_file import plan_file, timed_file
    from sparsemark.measurement.explanation.csr_linters import LINTERS

    network, plan = plan_file(artifact, next(iter(given), None))

    def opened() -> Ready:
        from sparsemark.direct.ir import BlockConvolution

        peak = measure_peak(of_bytes=any(isinstance(step, BlockConvolution) for step in plan.lowered.steps()))
        subject, layers = timed_file(artifact, network, plan, peak)
        return subject, LINTERS, (layers, peak)

    return opened


def _onnx(artifact: Path, given: Sequence[InputSpec], figures: Sequence[Path]) -> Opened:
    from sparsemark.registry import missing

    absent = missing(("onnxruntime", "onnx"))
    if absent:
        raise UserError(f"{absent}: explain needs it for {artifact.name}, pip install sparsemark[engines]")
    if figures:
        raise UserError(f"--figure {figures[0]}: expected a {CSR_SUFFIX} file, whose layers it draws")
    from sparsemark.measurement.explanation.onnx_file import load_fixed, profiled_file
    from sparsemark.measurement.explanation.onnx_linters import LINTERS

    fixed = load_fixed(artifact, given)
    return lambda: (profiled_file(artifact, fixed), LINTERS, None)
