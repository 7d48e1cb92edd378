"""Textbook CSR in PyTorch: im2col, then torch's sparse matrix product."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from scipy.sparse import csr_array

    from sparsemark.engines.base import Predict
    from sparsemark.engines.im2col import Product


def load(path: Path, threads: int) -> Predict:  # noqa: ARG001 - torch has one pool, set around the measurement
    """Load a CSR file."""
    from sparsemark.engines.im2col import compile_graph
    from sparsemark.formats.csr.graph import load_csr

    return compile_graph(load_csr(path), _product)


def _product(matrix: csr_array) -> Product:
    import torch

    rows, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        weight = torch.sparse_csr_tensor(rows, columns, values, matrix.shape, check_invariants=True)

    def multiply(columns: torch.Tensor) -> torch.Tensor:
        return weight @ columns

    return multiply
