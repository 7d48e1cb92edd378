"""The dense file: the checkpoint itself, weights as float32 whether zero or not, run by the class that made it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError
from sparsemark.files import replacing
from sparsemark.formats.base import Weights

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.networks.source import Source


def export(source: Source, path: Path) -> None:
    """Copy the checkpoint.

    Raises:
        UnsupportedError: the source is an ONNX file, which PyTorch does not run.
    """
    if source.is_onnx:
        raise UnsupportedError("the source is an ONNX file, and there is no PyTorch module to go with it")
    with replacing(path) as target:
        shutil.copyfile(source.path, target)


def count(path: Path) -> Weights:
    """Count the weights in a checkpoint that its network uses."""
    from sparsemark.networks.checkpoint import load_checkpoint
    from sparsemark.networks.factory import example_inputs
    from sparsemark.pruning.weights import usage

    checkpoint = load_checkpoint(path)
    weights = usage(checkpoint.build(), example_inputs(checkpoint.variant.model)).weights
    tensors = [weight.parameter.detach() for weight in weights]
    return Weights(sum(t.numel() for t in tensors), sum(int(t.count_nonzero()) for t in tensors))
