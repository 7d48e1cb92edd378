"""Small networks that hold, between them, what users bring: each a factory that any test may export, prune and run.

Weights are drawn from a fixed seed and BatchNorm's statistics are not those of a new layer, so that folding them shows.
"""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from sparsemark import formats
from sparsemark.files import lock
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.reference import float64_outputs
from sparsemark.networks.source import Source
from sparsemark.specs import ModelSpec, Pruning, Variant
from sparsemark.study.prepare import Prepared, prune_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from sparsemark.formats.base import Artifact
    from sparsemark.measurement.parity import Reference

IMAGE = (1, 3, 16, 12)
SHELF = "SPARSEMARK_TEST_SHELF"
"""Variable with the folder that the processes of a session share."""


def seeded(factory: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Make a network with the same weights in every process, in eval mode, and leave torch's generator as it was."""

    @functools.wraps(factory)
    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(7)
            module = factory()
            for layer in module.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.running_mean.uniform_(-0.3, 0.3)
                    layer.running_var.uniform_(0.5, 1.5)
                    layer.weight.uniform_(0.5, 1.5)
                    layer.bias.uniform_(-0.2, 0.2)
        return module.eval()

    return build


def block(channels_in: int, channels_out: int, activation: type[nn.Module] = nn.ReLU, **options: int) -> nn.Sequential:
    """Convolution, BatchNorm, activation."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), activation())


@seeded
def plain() -> nn.Module:
    """A plain CNN as the paper's: convolution, BatchNorm, ReLU, pooling, dropout, linear layers."""
    features = [block(3, 6), nn.MaxPool2d(2), nn.Dropout2d(0.2), block(6, 8), nn.MaxPool2d(2), nn.Dropout(0.2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(8 * 4 * 3, 8), nn.ReLU(), nn.Linear(8, 3))


class Residual(nn.Module):
    """A stride, a shortcut of 1 x 1 and one of nothing, SiLU, average over all positions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 6, nn.SiLU)
        self.first = nn.Sequential(block(6, 8, nn.SiLU, stride=2), block(8, 8, nn.Identity))
        self.shortcut = nn.Sequential(nn.Conv2d(6, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))
        self.second = block(8, 8, nn.Identity)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = F.silu(self.first(x) + self.shortcut(x))
        x = F.silu(self.second(x) + x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


residual = seeded(Residual)


class UNet(nn.Module):
    """Transposed convolution, concatenation, a mask as probability, and a second output from the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.down = block(3, 6)
        self.middle = block(6, 8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.fuse = block(12, 6)
        self.mask = nn.Conv2d(6, 1, 1)
        self.kind = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        skip = self.down(x)
        middle = self.middle(F.max_pool2d(skip, 2))
        fused = self.fuse(torch.cat([self.up(middle), skip], dim=1))
        return torch.sigmoid(self.mask(fused)), self.kind(middle.mean(dim=(2, 3)))


unet = seeded(UNet)


@seeded
def mobile() -> nn.Module:
    """Depthwise separable convolutions, hard-swish, ReLU6, average pooling."""
    depthwise = [block(8, 8, nn.Hardswish, groups=8), nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.ReLU6()]
    pooled = [nn.AvgPool2d(3, stride=2, padding=1), nn.Conv2d(6, 8, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(block(3, 8, nn.Hardswish, stride=2), *depthwise, *pooled, nn.Flatten(), nn.Linear(8, 3))


@seeded
def odd() -> nn.Module:
    """Odd channel counts, 5 x 5 and 3 x 1 kernels, asymmetric padding, dilation, unequal strides, GELU, softmax."""
    return nn.Sequential(
        nn.ZeroPad2d((1, 2, 0, 3)),
        nn.Conv2d(3, 7, 5, stride=(2, 1), padding=(2, 1)),
        nn.GELU(),
        nn.Conv2d(7, 5, 3, padding=2, dilation=2),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(5, 3, (3, 1), padding=(1, 0)),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(3 * 5 * 7, 5),
        nn.Softmax(dim=1),
    )


@seeded
def grouped() -> nn.Module:
    """Groups of several channels, and a transposed convolution with overlap and output padding."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ELU(),
        nn.Conv2d(8, 4, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1),
        nn.Conv2d(4, 2, 1),
    )


@seeded
def mlp() -> nn.Module:
    """Linear layers only, on vectors."""
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.Sigmoid(), nn.Linear(16, 1))


SHAPES = dict.fromkeys(("plain", "residual", "unet", "mobile", "odd", "grouped"), IMAGE) | {"mlp": (1, 12)}
"""Input shape of each network."""

NETWORKS = {name: ModelSpec(name, f"{Path(__file__)}:{name}", shape) for name, shape in SHAPES.items()}
"""Every network, by the name of its factory."""

CASES = [
    *((name, "none") for name in NETWORKS),
    *((name, "magnitude:0.9") for name in ("plain", "unet", "grouped")),
    *((name, "channels:0.5") for name in ("residual", "unet", "mobile")),
    ("unet", "threshold:0.97"),
    *(("mlp", f"{method}:0.6") for method in ("magnitude", "magnitude-layerwise", "threshold", "random", "filters")),
    *(("mlp", text) for text in ("channels:0.6", "block4:0.6", "nm24", "all-ones")),
]
"""What formats and engines are tested on: every network, and every kind of zeros on the smallest one."""

OUTPUT_LAYERS = {
    "plain": {"9"},
    "residual": {"head"},
    "unet": {"mask", "kind"},
    "mobile": {"10"},
    "odd": {"9"},
    "grouped": {"5"},
    "mlp": {"4"},
}
"""Layers whose channels are what the user gets."""


def build(name: str) -> nn.Module:
    """A new network of this name."""
    factory: Callable[[], nn.Module] = globals()[name]
    return factory()


def example(name: str, seed: int = 0) -> torch.Tensor:
    """One input of the network of this name."""
    return torch.randn(SHAPES[name], generator=torch.Generator().manual_seed(seed))


@functools.cache
def shelf() -> Path:
    """A folder for exported networks: an export takes longer than most tests.

    Shared by the processes of a session, which `SHELF` tells it; one that is not among them has its own.
    """
    if SHELF in os.environ:
        return Path(os.environ[SHELF])
    folder = tempfile.TemporaryDirectory(prefix="sparsemark-tests-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@contextmanager
def alone_with(name: str) -> Iterator[None]:
    """Keep other processes of the session from making the same files within the block."""
    with (shelf() / f"{name}.lock").open("w") as file:
        lock(file.fileno(), wait=True)
        yield


def pruned(variant: Variant, dense: Checkpoint, path: Path) -> None:
    """Write the checkpoint of a variant, pruned from a dense network and nothing else."""
    unpruned = path.with_name(f"{path.stem}-from.safetensors")
    save_checkpoint(unpruned, dense)
    prune_from(variant, Prepared.of(dense.variant, unpruned, {}), None, path=path, work=path.parent)


@functools.cache
def source(name: str, prune: str = "none") -> Source:
    """Checkpoint of a network, pruned as `Pruning.parse` reads it."""
    variant = Variant(NETWORKS[name], Pruning.parse(prune))
    path = shelf() / f"{variant.name}.safetensors"
    with alone_with(variant.name):
        if not path.exists():
            pruned(variant, Checkpoint(Header(Variant(NETWORKS[name])), build(name).state_dict()), path)
    return Source(NETWORKS[name], path)


@functools.cache
def artifact(name: str, prune: str, form: str) -> Artifact:
    """Export of a network; CSR files are made from the ONNX file rather than exported twice."""
    checkpoint = origin = source(name, prune)
    if form == "csr":
        origin = Source(origin.model, artifact(name, prune, "onnx").path)
    with alone_with(checkpoint.path.stem):
        return formats.export(origin, form, checkpoint.path.with_suffix(""))


def images(name: str, count: int = 3) -> list[NDArray[np.float32]]:
    """Different inputs of a network."""
    return [example(name, seed).numpy() for seed in range(count)]


def batches(name: str, count: int = 3) -> list[tuple[NDArray[np.float32], ...]]:
    """The same as batches of its one input."""
    return [(image,) for image in images(name, count)]


@functools.cache
def reference(name: str, prune: str) -> Reference:
    """Float64 outputs for `images(name)`."""
    return float64_outputs(source(name, prune), batches(name))
