"""`sparsemark explain`: the layers of a CSR file as direct-csr runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.cli.arguments import shape
from sparsemark.errors import UnsupportedError, UserError

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("explain", help="how direct-csr runs a CSR file, layer by layer")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT.csr")
    parser.add_argument("--input", type=shape, metavar="N,C,H,W", help="where the file leaves the shape open")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw each layer against the machine's limits")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Plan the network, time each layer alone, and show both beside the machine's limits."""
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.machine.fingerprint import fingerprint
    from sparsemark.registry import missing

    absent = missing(("numba",))
    if absent:
        raise UserError(f"{absent}: direct-csr needs it, pip install sparsemark[direct]")
    from sparsemark.direct.explanation import explain
    from sparsemark.direct.limits import measure_limits
    from sparsemark.engines.direct_csr import open_network
    from sparsemark.report.progress import begin, waiting
    from sparsemark.report.renderers.layers import as_layers, in_words

    begin()
    try:
        with waiting("planning"):
            network = open_network(options.artifact, threads=1)
            sizes = options.input or network.input_shape
            if sizes is None:
                raise UserError(f"{options.artifact}: takes inputs of several shapes; choose one with --input")
            plan = network.plan((1, *sizes[1:]))
    except UnsupportedError as error:
        raise UserError(f"{options.artifact}: {error}") from error
    with waiting("timing each layer"):
        layers, limits = list(explain(plan)), measure_limits()
    width, colour = terminal()
    write(as_layers(layers, limits, plan.decision, width=width, colour=colour))
    if options.figure:
        from sparsemark.report.document import environment
        from sparsemark.report.figures.roofline import draw_roofline

        conditions = [options.artifact.stem, in_words(limits), *environment(fingerprint(("numba", "llvmlite")))]
        draw_roofline(layers, limits, conditions, options.figure)
        write(f"wrote {options.figure}\n")
    return 0
