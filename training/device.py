"""Device that training runs on, and the precision that it computes natively."""

from __future__ import annotations

import torch

from sparsemark.errors import UserError

CPU = "cpu"
DEVICES = ("auto", CPU, "cuda")

FP32 = "32-true"
BF16 = "bf16-mixed"


def choose_device(name: str) -> str:
    """Return `cuda` or `cpu` for `auto`, and check the device otherwise.

    Raises:
        UserError: an unknown name, or `cuda` on a machine without it.
    """
    if name not in DEVICES:
        raise UserError(f"--device {name!r}: expected one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch finds no CUDA device; expected one, or --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def native_precision(device: str) -> str:
    """Return `bf16-mixed` where the device has instructions for bfloat16, else `32-true`.

    A processor with AVX2 alone emulates bfloat16: a step of cnn9 takes 12 times as long as in float32.
    """
    if choose_device(device) == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return BF16 if native else FP32


def device_name(device: torch.device) -> str:
    """Return the name of a GPU's model, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
