"""The ONNX file: one self-contained file, BatchNorm folded into the convolutions by the exporter.

Zeros are stored as zeros. ONNX has sparse initialisers, but ONNX Runtime makes them dense on load: a size on disk,
never a latency.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import replacing
from sparsemark.formats.base import Weights
from sparsemark.networks.onnx_graph import BUFFERS, CONTENTS, LISTED, content_of
from sparsemark.networks.onnx_model import load_onnx
from sparsemark.networks.onnx_weights import tally_of
from sparsemark.references import one_line, root_cause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from sparsemark.networks.source import Source
    from sparsemark.pruning.weights import Weight


def export(source: Source, path: Path) -> None:
    """Export the checkpoint's network with torch.onnx, or copy the user's own ONNX file.

    Raises:
        UnsupportedError: the exporter cannot handle the network; the message is the exporter's.
        UserError: the user's file is no ONNX.
    """
    if source.is_onnx:
        model = load_onnx(source.path)
        with replacing(path) as target:
            if _is_one_file(source.path):
                shutil.copyfile(source.path, target)
            else:
                target.write_bytes(model.SerializeToString())
        return
    import torch

    from sparsemark.networks.checkpoint import load_checkpoint
    from sparsemark.networks.factory import example_inputs
    from sparsemark.networks.outputs import Flat, is_nested_plainly
    from sparsemark.pruning.weights import usage

    module, inputs = load_checkpoint(source.path).build(), example_inputs(source.model)
    weights = usage(module, inputs).weights
    described = _described(module, weights)
    with torch.no_grad():
        outputs = module(*(one.clone() for one in inputs))
    if not is_nested_plainly(outputs):
        module = Flat(module)
    with replacing(path) as target, _quiet():
        try:
            # One file: external data would be a second one, and these networks are small.
            torch.onnx.export(
                module,
                tuple(one.clone() for one in inputs),
                str(target),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except OSError:
            raise
        except Exception as error:
            raise UnsupportedError(f"torch.onnx: {root_cause(error)}") from error
        _strip_remarks(target, described, contents=_contents(weights))


def _described(module: torch.nn.Module, weights: Sequence[Weight]) -> dict[str, list[str]]:
    """Return the names of weights and of buffers: operators alone do not tell a position embedding from a mask."""
    return {
        LISTED: [weight.key for weight in weights],
        BUFFERS: [name for name, _ in module.named_buffers()],
    }


def _contents(weights: Sequence[Weight]) -> list[list[int]]:
    """Return how many weights hold the same values: layers that start as copies of each other are several."""
    counted = Counter(content_of(weight.parameter.detach().numpy()) for weight in weights)
    return [[*content, times] for content, times in counted.items()]


def _strip_remarks(path: Path, described: Mapping[str, Sequence[str]], *, contents: Sequence[Sequence[int]]) -> None:
    """Replace the exporter's remarks, stack traces among them, by names: one network has the same bytes in any folder.

    Args:
        path: of the file.
        described: names by key of the model's metadata, of which those are kept that the file has.
        contents: of the network's weights, as in `Listing`.
    """
    import onnx

    from sparsemark.networks.outputs import Flat

    model = onnx.load(str(path))
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    present = {tensor.name for tensor in graph.initializer}
    for key, names in described.items():
        kept = [stored for name in names for stored in (name, Flat.PREFIX + name) if stored in present]
        model.metadata_props.add(key=key, value=json.dumps(kept))
    model.metadata_props.add(key=CONTENTS, value=json.dumps(contents))
    path.write_bytes(model.SerializeToString(deterministic=True))


def _is_one_file(path: Path) -> bool:
    import onnx
    from onnx.external_data_helper import uses_external_data

    graph = onnx.load(str(path), load_external_data=False).graph
    return not any(uses_external_data(tensor) for tensor in graph.initializer)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress on stdout, and its warnings about torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def count(path: Path) -> Weights:
    """Count the weights in an ONNX file.

    Raises:
        UserError: the file is no ONNX, or a constant in it is damaged.
    """
    try:
        return Weights.of(tally_of(load_onnx(path)))
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: its weights cannot be counted: {one_line(error)}") from error
