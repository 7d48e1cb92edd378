"""ncnn on the CPU, in float32 throughout, with Winograd's convolution.

The network is traced and converted by pnnx when it is loaded. pnnx also reads ONNX, but leaves some operators
unconverted (global max pooling, for one); from a trace it converts them.
"""

from __future__ import annotations

import subprocess
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UnsupportedError
from sparsemark.machine.temporary import temporary_folder
from sparsemark.references import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict
    from sparsemark.specs import ModelSpec

_HALVES = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")
"""Options that store or compute in 16 bits."""

_WINOGRAD = ("winograd", "winograd23", "winograd43", "winograd63")
"""Options that allow Winograd's convolution, with tiles of every size."""

_HEADER = 2
"""Lines of a converted network before its layers."""


def load(path: Path, threads: int) -> Predict:
    """Rebuild the network from its checkpoint by its factory, convert it, and load the result.

    Raises:
        UnsupportedError: the network takes more than one image a call, or has a layer that ncnn does not know.
    """
    import ncnn

    from sparsemark.networks.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    model = checkpoint.variant.model
    if not model.takes_one_image or len(model.input_shape) < 2 or model.input_shape[0] != 1:  # batch first
        given = " ".join(one.text for one in model.inputs)
        raise UnsupportedError(f"ncnn: takes one float32 image a call, and the input is {given}")
    with temporary_folder() as folder:
        shapes = _trace(checkpoint.build(), model, folder / "network.pt")
        net = _open(*_convert(model, folder), threads)

    def predict(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        # A Mat borrows the memory of its array, so that must not be a temporary; a clone has its own.
        pixels = np.ascontiguousarray(image[0])
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(pixels).clone())
        outputs = []
        for index, shape in enumerate(shapes):
            failed, output = extractor.extract(f"out{index}")
            if failed:
                raise RuntimeError(f"ncnn: extracting output {index} failed")
            # Copied, since the Mat ends here; ncnn has no batch axis.
            outputs.append(np.array(output).reshape(shape))
        return tuple(outputs)

    try:
        predict(np.zeros(model.input_shape, np.float32))
    except (RuntimeError, ValueError) as error:
        raise UnsupportedError(f"ncnn: {one_line(error)}") from error
    return predict


def _trace(module: Any, model: ModelSpec, path: Path) -> list[tuple[int, ...]]:
    """Write the network as TorchScript and return the shapes of its outputs."""
    import torch

    from sparsemark.networks.factory import example_inputs
    from sparsemark.networks.outputs import Flat

    flat, (image,) = Flat(module).eval(), example_inputs(model)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a trace holds fixed: parity is checked later, on many images
            shapes = [tuple(output.shape) for output in flat(image)]
            traced = torch.jit.trace(flat, image, check_trace=False)  # type: ignore[no-untyped-call]
            traced.save(str(path))
    except Exception as error:
        raise UnsupportedError(f"ncnn: tracing: {one_line(error)[:300]}") from error
    return shapes


def _convert(model: ModelSpec, folder: Path) -> tuple[Path, Path]:
    """Convert with pnnx and return ncnn's two files; pnnx leaves ten more in the folder of its input."""
    import pnnx

    layers, weights = folder / "network.ncnn.param", folder / "network.ncnn.bin"
    size = ",".join(map(str, model.input_shape))
    command = [pnnx.EXEC_PATH, "network.pt", f"inputshape=[{size}]f32", "fp16=0"]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)  # noqa: S603 - pnnx's own program
    if done.returncode or not weights.exists():
        said = [line.strip() for line in done.stderr.splitlines() if line.strip(" \t-#=")]
        raise UnsupportedError(f"ncnn: pnnx ended with {done.returncode}: {said[-1] if said else 'no reason given'}")
    return layers, weights


def _open(layers: Path, weights: Path, threads: int) -> Any:
    """Load an `ncnn.Net`, which reads both files whole."""
    import ncnn

    for line in layers.read_text().splitlines()[_HEADER:]:
        kind, name = line.split()[:2]
        if ncnn.layer_to_index(kind) < 0:  # the loader would write that to the terminal
            raise UnsupportedError(f"ncnn: {kind} at {name}")
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.openmp_blocktime = 0  # threads that spin burn the processor that the next cell is timed on
    for name in _HALVES:
        setattr(net.opt, f"use_{name}", False)
    for name in _WINOGRAD:
        setattr(net.opt, f"use_{name}_convolution", True)
    if net.load_param(str(layers)) or net.load_model(str(weights)):
        raise UnsupportedError("ncnn: the converted network cannot be loaded")
    return net
