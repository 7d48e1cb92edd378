"""Families of networks that people bring, in the sizes in which they are known, with random weights.

Written from the papers' tables, so that a study needs no other package: He 2015 (ResNet), Howard 2019 (MobileNetV3),
Liu 2020 (EfficientNet-lite), Huang 2017 (DenseNet), Liu 2022 (ConvNeXt; its atto size is timm's), Touvron 2021
(ViT-tiny), Isensee 2021 (U-Net with InstanceNorm), Myronenko 2018 (SegResNet). What is "like" another has its operators
and about its size.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from bench.networks import unet as unet_transposed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Layer = Callable[..., nn.Module]

__all__ = [
    "convnext_atto",
    "densenet121",
    "efficientnet_lite0",
    "mobilenetv3_small",
    "resnet18",
    "segresnet_like",
    "unet_bilinear",
    "unet_instance_norm",
    "unet_transposed",
    "vit_tiny",
    "yolo_like",
]


def _scaled(module: nn.Module) -> nn.Module:
    """Draw weights of a variance that keeps activations in range through fifty layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return module


def _convolution(  # noqa: PLR0917 - a convolution is that much
    inputs: int, outputs: int, kernel: int, stride: int = 1, activation: Layer | None = nn.ReLU, groups: int = 1
) -> nn.Sequential:
    """Convolution, BatchNorm, activation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), *([activation()] if activation else []))


class _Sum(nn.Module):
    """Branches of one input, added."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (branch(x) for branch in self.branches)
        total: Tensor = first
        for other in others:
            total = total + other
        return total


def resnet18() -> nn.Module:
    """Build a ResNet-18."""
    layers: list[nn.Module] = [_convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for inputs, outputs in ((64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)):
        stride = outputs // inputs
        around = nn.Identity() if stride == 1 else _convolution(inputs, outputs, 1, stride, None)
        main = nn.Sequential(_convolution(inputs, outputs, 3, stride), _convolution(outputs, outputs, 3, 1, None))
        layers += [_Sum(main, around), nn.ReLU()]
    return _scaled(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)))


class _Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        fewer = max(8, (channels // 4 + 4) // 8 * 8)
        self.fewer, self.back = nn.Conv2d(channels, fewer, 1), nn.Conv2d(fewer, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.back(F.relu(self.fewer(F.adaptive_avg_pool2d(x, 1))))
        gated: Tensor = x * F.hardsigmoid(gate)
        return gated


def _inverted(  # noqa: PLR0917 - a row of a paper's table
    inputs: int, wide: int, outputs: int, kernel: int, stride: int, activation: Layer, *, gate: bool = False
) -> nn.Module:
    """Inverted residual: wide, depthwise, narrow again."""
    main = nn.Sequential(
        *([_convolution(inputs, wide, 1, 1, activation)] if wide != inputs else []),
        _convolution(wide, wide, kernel, stride, activation, groups=wide),
        *([_Gate(wide)] if gate else []),
        _convolution(wide, outputs, 1, 1, None),
    )
    return _Sum(nn.Identity(), main) if (inputs, stride) == (outputs, 1) else main


def mobilenetv3_small() -> nn.Module:
    """Build a MobileNetV3-small."""
    relu, swish = nn.ReLU, nn.Hardswish
    rows: list[tuple[int, int, int, int, int, Layer, bool]] = [
        (16, 16, 16, 3, 2, relu, True), (16, 72, 24, 3, 2, relu, False), (24, 88, 24, 3, 1, relu, False),
        (24, 96, 40, 5, 2, swish, True), (40, 240, 40, 5, 1, swish, True), (40, 240, 40, 5, 1, swish, True),
        (40, 120, 48, 5, 1, swish, True), (48, 144, 48, 5, 1, swish, True), (48, 288, 96, 5, 2, swish, True),
        (96, 576, 96, 5, 1, swish, True), (96, 576, 96, 5, 1, swish, True),
    ]  # fmt: skip
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, 1000)]
    blocks = [
        _inverted(inner, wide, outer, kernel, stride, layer, gate=gate)
        for inner, wide, outer, kernel, stride, layer, gate in rows
    ]
    return _scaled(nn.Sequential(_convolution(3, 16, 3, 2, swish), *blocks, _convolution(96, 576, 1, 1, swish), *head))


def efficientnet_lite0() -> nn.Module:
    """Build an EfficientNet-lite0."""
    layers: list[nn.Module] = [_convolution(3, 32, 3, 2, nn.ReLU6)]
    inputs = 32
    for factor, outputs, count, stride, kernel in (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ):  # fmt: skip
        for n in range(count):
            layers.append(_inverted(inputs, factor * inputs, outputs, kernel, 1 if n else stride, nn.ReLU6))
            inputs = outputs
    head = [_convolution(inputs, 1280, 1, 1, nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return _scaled(nn.Sequential(*layers, *head))


class _Joined(nn.Module):
    """The input, and what is made of it, one behind the other."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.inner(x)], dim=1)


def densenet121() -> nn.Module:
    """Build a DenseNet-121."""

    def before(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        return [nn.BatchNorm2d(inputs), nn.ReLU(), convolution]

    growth, channels = 32, 64
    layers: list[nn.Module] = [_convolution(3, channels, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, count in enumerate((6, 12, 24, 16)):
        if stage:
            layers += [*before(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(count):
            layers.append(_Joined(nn.Sequential(*before(channels, 4 * growth, 1), *before(4 * growth, growth, 3))))
            channels += growth
    head = [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)]
    return _scaled(nn.Sequential(*layers, *head))


class _Split(nn.Module):
    """YOLO's stage: half of the channels through a chain, of which every link is kept."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        half, silu = channels // 2, nn.SiLU
        self.first = _convolution(channels, channels, 1, 1, silu)
        self.chain = nn.ModuleList(
            nn.Sequential(_convolution(half, half, 3, 1, silu), _convolution(half, half, 3, 1, silu))
            for _ in range(count)
        )
        self.last = _convolution(channels + count * half, channels, 1, 1, silu)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, dim=1))
        for link in self.chain:
            parts.append(parts[-1] + link(parts[-1]))
        y: Tensor = self.last(torch.cat(parts, dim=1))
        return y


_BINS, _CLASSES = 16, 80


class _Yolo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        down = partial(_convolution, kernel=3, stride=2, activation=nn.SiLU)
        self.stem = nn.Sequential(down(3, 16), down(16, 32), _Split(32, 1), down(32, 64), _Split(64, 2))
        self.middle = nn.Sequential(down(64, 128), _Split(128, 2))
        self.deep = nn.Sequential(down(128, 128), _Split(128, 1))
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.joins = nn.ModuleList(
            _convolution(a, b, 1, 1, nn.SiLU) for a, b in ((512, 128), (256, 64), (128, 64))
        )  # fmt: skip
        self.heads = nn.ModuleList(nn.Conv2d(channels, 4 * _BINS + _CLASSES, 1) for channels in (64, 64, 128))
        self.register_buffer("bins", torch.arange(float(_BINS)))

    def forward(self, images: Tensor) -> Tensor:
        high = self.stem(images)
        middle = self.middle(high)
        pooled = [self.deep(middle)]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        deep = self.joins[0](torch.cat(pooled, dim=1))
        middle = self.joins[1](torch.cat([F.interpolate(deep, scale_factor=2.0), middle], dim=1))
        high = self.joins[2](torch.cat([F.interpolate(middle, scale_factor=2.0), high], dim=1))
        levels = [head(x).flatten(2) for head, x in zip(self.heads, (high, middle, deep), strict=True)]
        box, kind = torch.split(torch.cat(levels, dim=2), [4 * _BINS, _CLASSES], dim=1)
        shares = box.view(len(box), 4, _BINS, -1).softmax(dim=2)
        sides = (shares * self.get_buffer("bins").view(1, 1, -1, 1)).sum(dim=2)
        return torch.cat([sides, kind.sigmoid()], dim=1)


def yolo_like() -> nn.Module:
    """Build a detector with the stages, the joins and the head of a small YOLO, boxes decoded."""
    return _scaled(_Yolo())


class _UNet(nn.Module):
    """A U-Net of blocks; `down` and `up` make the first of a level, given its input's and its own channels."""

    def __init__(self, widths: Sequence[int], block: Layer, down: Layer, up: Layer) -> None:
        super().__init__()
        self.first = block(3, widths[0])
        self.down = nn.ModuleList(nn.Sequential(down(a, b), block(b, b)) for a, b in pairwise(widths))
        pairs = list(pairwise(widths[::-1]))
        self.up = nn.ModuleList(up(a, b) for a, b in pairs)
        self.join = nn.ModuleList(block(2 * b, b) for _, b in pairs)
        self.mask: nn.Module = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images)
        skipped = []
        for down in self.down:
            skipped.append(x)
            x = down(x)
        for up, join, skip in zip(self.up, self.join, skipped[::-1], strict=True):
            x = join(torch.cat([up(x), skip], dim=1))
        mask: Tensor = torch.sigmoid(self.mask(x))
        return mask


_WIDTHS = (16, 32, 64, 128)


def unet_bilinear() -> nn.Module:
    """Build a U-Net that pools, and enlarges bilinearly."""

    def block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(_convolution(inputs, outputs, 3), _convolution(outputs, outputs, 3))

    def down(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.MaxPool2d(2), _convolution(inputs, outputs, 3))

    def up(inputs: int, outputs: int) -> nn.Module:
        larger = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
        return nn.Sequential(larger, _convolution(inputs, outputs, 3))

    return _scaled(_UNet(_WIDTHS, block, down, up))


def unet_instance_norm() -> nn.Module:
    """Build a U-Net of strided and transposed convolutions, with InstanceNorm and LeakyReLU, as nnU-Net's."""

    def layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        return [convolution, nn.InstanceNorm2d(outputs, affine=True), nn.LeakyReLU(0.01)]

    def block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(*layer(inputs, outputs), *layer(outputs, outputs))

    def down(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(*layer(inputs, outputs, 2))

    return _scaled(_UNet(_WIDTHS, block, down, partial(nn.ConvTranspose2d, kernel_size=2, stride=2)))


def segresnet_like() -> nn.Module:
    """Build a network with the blocks of SegResNet: GroupNorm before each convolution, residuals, bilinear."""

    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.GroupNorm(8, inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]

    def residual(channels: int) -> nn.Module:
        return _Sum(nn.Identity(), nn.Sequential(*layer(channels, channels), *layer(channels, channels)))

    def block(inputs: int, outputs: int) -> nn.Module:
        fitting = (
            [] if inputs == outputs else [nn.Conv2d(inputs, outputs, 3 if inputs == 3 else 1, padding=int(inputs == 3))]
        )
        return nn.Sequential(*fitting, residual(outputs))

    def up(inputs: int, outputs: int) -> nn.Module:
        larger = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), larger)

    network = _UNet(_WIDTHS, block, partial(nn.Conv2d, kernel_size=3, stride=2, padding=1), up)
    # Residuals add up, so the mask is of what is normalised again.
    network.mask = nn.Sequential(nn.GroupNorm(8, _WIDTHS[0]), nn.ReLU(), network.mask)
    return _scaled(network)


class _ChannelsLast(nn.Module):
    """A module whose channels are the last axis, on an image."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


def convnext_atto() -> nn.Module:
    """Build a ConvNeXt-atto."""

    def norm(channels: int) -> nn.Module:
        return nn.LayerNorm(channels, eps=1e-6)

    def block(channels: int) -> nn.Module:
        wide = nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        return _Sum(nn.Identity(), nn.Sequential(depthwise, _ChannelsLast(nn.Sequential(norm(channels), *wide))))

    layers: list[nn.Module] = [nn.Conv2d(3, 40, 4, 4), _ChannelsLast(norm(40))]
    for stage, (channels, count) in enumerate(((40, 2), (80, 2), (160, 6), (320, 2))):
        if stage:
            layers += [_ChannelsLast(norm(channels // 2)), nn.Conv2d(channels // 2, channels, 2, 2)]
        layers += [block(channels) for _ in range(count)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm(320), nn.Linear(320, 1000)]
    return nn.Sequential(*layers, *head)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.all, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        all_ = self.all(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = all_.unbind(0)
        shares = (query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(dim=-1)
        y: Tensor = self.out((shares @ value).transpose(1, 2).reshape(batch, tokens, width))
        return y


class _ViT(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.kind = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, tokens + 1, width))
        layers: list[nn.Module] = []
        for _ in range(depth):
            wide = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            inner = nn.Sequential(_Attention(width, heads)), nn.Sequential(*wide)
            layers += [_Sum(nn.Identity(), nn.Sequential(nn.LayerNorm(width), one)) for one in inner]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, 1000)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.kind.expand(len(x), -1, -1), x], dim=1) + self.places
        logits: Tensor = self.head(self.layers(x)[:, 0])
        return logits


def vit_tiny() -> nn.Module:
    """Build a ViT-tiny for images of 224 x 224 in patches of 16."""
    return _ViT(192, 12, 3, 14 * 14)
