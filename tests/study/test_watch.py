"""Kinds of networks and cells, by which the time left is told."""

from __future__ import annotations

from sparsemark.specs import Cell, InputSpec, ModelSpec, Pruning, Variant
from sparsemark.study.watch import kinds_of_cells, kinds_of_variants

MODEL = ModelSpec("net", "net.py:build", (InputSpec((1, 3, 8, 8)),))
DENSE, HALF, MOST = (Variant(MODEL, Pruning.parse(text)) for text in ("none", "magnitude:0.5", "magnitude:0.9"))


def test_pruned_networks_are_alike_and_dense_ones_are():
    dense, half, most = kinds_of_variants([DENSE, HALF, MOST])
    assert half == most != dense


def test_the_first_cell_of_a_network_has_it_fine_tuned_and_others_run_it():
    cells = [Cell(variant, "csr", engine) for variant in (DENSE, HALF, MOST) for engine in ("direct-csr", "scipy-csr")]
    kinds = kinds_of_cells(cells)
    assert kinds[2:4] == kinds[4:6], "a network like the one before"
    assert len(set(kinds)) == 4
