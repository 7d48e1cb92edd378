"""The processor as LLVM sees it: known without Numba, since a network is planned and run without it."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm


def _features() -> Any:
    try:
        return llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell those of every processor
        return llvm.FeatureMap()


CPU: str = llvm.get_host_cpu_name()
FEATURES = _features()

LANES = 16 if FEATURES.get("avx512f") else 8 if FEATURES.get("avx") else 4
"""Floats in one vector register of this processor."""

IS_X86: bool = llvm.get_process_triple().startswith("x86")

REGISTERS = 16 if IS_X86 and not FEATURES.get("avx512f") else 32
"""Vector registers of this processor."""
