"""Runs for pages: many cells, and names that try to be more than text."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control
from tests.report.runs import RUNS

if TYPE_CHECKING:
    from sparsemark.records.run import Run

HOSTILE = "<script>window.hit = 1</script>\"'</title>{{ 7 * 7 }}<img src=x onerror='window.hit = 1'>"
LONG = "名前" * 100


def many(count: int) -> Run:
    """A run of `count` cells, those of the study again and again under other names and seeds, each on its own."""
    plain = [m for m in RUNS["study"].measured() if not is_control(m)]
    rows = [
        dataclasses.replace(one, name=f"{one.name}-{n}", seed=n // len(plain), pruning=f"{n}")
        for n, one in ((n, plain[n % len(plain)]) for n in range(count))
    ]
    return dataclasses.replace(RUNS["study"], measurements=tuple(rows))


def named(name: str) -> Run:
    """The study, its network and one engine under a name of a stranger."""
    rows = (
        dataclasses.replace(m, model=name, name=f"{name}{n}", engine=name if m.engine == "ncnn" else m.engine)
        for n, m in enumerate(RUNS["study"].measurements)
    )
    return dataclasses.replace(RUNS["study"], measurements=tuple(rows))


def more_engines(count: int) -> Run:
    """The study with `count` engines more: copies of PyTorch's rows, each engine slower than the one before."""
    rows = [
        dataclasses.replace(
            m, name=f"{m.name}{n}", engine=f"engine{n}",
            **{field: 0.9 ** (n + 1) * getattr(m, field) for field in ("speedup", "speedup_low", "speedup_high")},
        )
        for n in range(count)
        for m in RUNS["study"].measured()
        if m.engine == "torch"
    ]  # fmt: skip
    return dataclasses.replace(RUNS["study"], measurements=(*RUNS["study"].measurements, *rows))
