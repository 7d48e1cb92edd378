"""Prunings that `sparsemark bench` chooses itself: `--search` for a sparsity, `--target` for a latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.cli.arguments import bar

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from sparsemark.study.chosen import Chosen
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.search import Search
    from sparsemark.study.target import Target


@dataclass(frozen=True)
class Choosing:
    """Request for a choice: one of the two, and the folder for the files of its result."""

    search: Search | None
    target: Target | None
    folder: Path


def add_choosing(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--search",
        metavar="METHOD",
        help="find the highest sparsity of this method that keeps the score, by bisection on the task's select inputs, "
        "and measure it: magnitude, channels::16, channels:0.5+magnitude; its cost in minutes is said after one trial",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="networks of each trial of --search (default: 2)")
    parser.add_argument(
        "--target",
        metavar="10x|0.4ms",
        help="prune until the engine is so many times as fast as the reference, or needs so long: channels and zeros "
        "are spread over the layers by measured time saved per score lost, in steps that are fine-tuned and measured; "
        "of several engines, direct-csr or else the first is meant",
    )


def choosing(options: argparse.Namespace) -> Choosing | None:
    """Return what is to be chosen, or None.

    Raises:
        UserError: options that do not go together, or a target that is none.
    """
    from sparsemark.errors import UserError
    from sparsemark.files import is_stream
    from sparsemark.networks.factory import name_of
    from sparsemark.references import ONNX_SUFFIX
    from sparsemark.study.search import SEEDS, Search
    from sparsemark.study.target import Target

    allowed = bar(options)
    if options.seeds is not None and options.search is None:
        raise UserError(f"--seeds {options.seeds}: expected --search beside it")
    if options.search is not None and options.target is not None:
        raise UserError("--search and --target: expected one of them")
    asked = f"--search {options.search}" if options.search is not None else f"--target {options.target}"
    if options.search is None and options.target is None:
        return None
    if options.task is None:
        raise UserError(f"{asked}: expected --task FILE.py beside it, whose score decides")
    if options.reference.endswith(ONNX_SUFFIX):
        raise UserError(f"{asked}: {options.reference} cannot be pruned; give the network's factory")
    named = options.json.with_name(name_of(options.reference)) if is_stream(options.json) else options.json
    folder = named.with_name(f"{named.stem}-target")
    if options.target is not None:
        return Choosing(None, Target.parse(options.target), folder)
    return Choosing(Search(options.search, SEEDS if options.seeds is None else options.seeds, allowed), None, folder)


def choose(wanted: Choosing, pipeline: Pipeline, study: Study) -> Chosen:
    """Choose prunings for the network of a study; errors as in `search` and `Walker`."""
    from sparsemark.report.progress import waiting, watch
    from sparsemark.study.search import search
    from sparsemark.study.target import Walker

    if wanted.target is not None:
        dense = [cell for cell in study.cells if cell.variant.pruning.is_dense]
        # The engine that was built for zeros, where it was asked for.
        cell = next((one for one in dense if one.engine == "direct-csr"), dense[0])
        return Walker(pipeline, cell, wanted.target, wanted.folder, watch).walk().chosen
    if wanted.search is None:
        raise AssertionError("neither a search nor a target")
    return search(pipeline, study.variants[0].model, wanted.search, waiting).chosen
