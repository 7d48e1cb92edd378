"""`sparsemark export`: the file to deploy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.cli.arguments import add_input, add_task
from sparsemark.specs import FP32, PRECISIONS

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "export",
        help="the file to deploy: a network, pruned as you say",
        description="Prune a network, fine-tune it where --task brings batches and a loss, and write one file. "
        "`sparsemark.load(PATH)` runs a .csr or .onnx file from Python.",
    )
    parser.add_argument("reference", metavar="REF", help="file.py:factory, package.module:factory or model.onnx")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help="ends in .csr, .onnx or .safetensors"
    )
    parser.add_argument("--format", metavar="NAME", help="csr, onnx or dense (default: by the end of PATH)")
    parser.add_argument(
        "--prune",
        default="none",
        metavar="METHOD:SPARSITY[:ROUND_TO][+...][+qat]",
        help="default: nothing is taken out",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=FP32,
        help="int8 quantises the file, calibrated on the task's training inputs (default: %(default)s)",
    )
    add_input(parser)
    add_task(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Write the file and say what is in it."""
    from sparsemark.api.exporting import export
    from sparsemark.cli.terminal import write
    from sparsemark.errors import UnsupportedError, UserError
    from sparsemark.references import ONNX_SUFFIX
    from sparsemark.report.progress import waiting

    if not options.input and options.task is None and not options.reference.endswith(ONNX_SUFFIX):
        raise UserError(
            "--input: expected the sizes of the network's input, batch first, such as 1,3,224,224, or --task FILE.py, "
            "whose images have them"
        )
    try:
        with waiting(f"exporting {options.reference}"):
            artifact = export(
                options.reference,
                options.output,
                options.input or None,
                prune=options.prune,
                task=options.task,
                epochs=options.epochs,
                form=options.format,
                precision=options.precision,
            )
    except UnsupportedError as error:
        raise UserError(f"{options.output}: {error}") from error
    weights = artifact.weights
    counted = "" if weights.total is None else f", {weights.nonzeros} of {weights.total} weights are not zero"
    write(f"wrote {artifact.path}: {artifact.bytes} bytes{counted}\n")
    return 0
