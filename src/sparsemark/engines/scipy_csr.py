"""Textbook CSR in SciPy: im2col, then scipy's sparse matrix product, which runs on one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from scipy.sparse import csr_array

    from sparsemark.engines.base import Predict
    from sparsemark.engines.im2col import Product


def load(path: Path, threads: int) -> Predict:
    """Load a CSR file.

    Raises:
        UnsupportedError: more than one thread is asked for.
    """
    from sparsemark.engines.im2col import compile_graph
    from sparsemark.formats.csr.graph import load_csr

    if threads > 1:
        raise UnsupportedError("scipy's sparse product runs on one thread")
    return compile_graph(load_csr(path), _product)


def _product(matrix: csr_array) -> Product:
    import torch

    def multiply(columns: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(matrix @ columns.numpy())

    return multiply
