"""Index of pages: each run with its answer and a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.report.conditions import environment
from sparsemark.report.harmless import harmless_run
from sparsemark.report.headline import headlines
from sparsemark.report.page.files import written
from sparsemark.report.page.summary import machine_tile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.analysis.front import Bar
    from sparsemark.records.run import Run


@dataclass(frozen=True)
class Entry:
    """A run and the file of its page, as the index links it."""

    title: str
    address: str
    run: Run


def as_index(entries: Iterable[Entry], bar: Bar | None = None) -> str:
    """Write an HTML document that links the pages of several runs.

    Args:
        entries: in their order.
        bar: what a network may lose and still keep its score; None takes each metric's own tolerance.
    """
    found = []
    for entry in entries:
        run = harmless_run(entry.run)
        found.append(
            {
                "title": entry.title,
                "address": entry.address,
                "when": run.when[:10],
                "lines": headlines(run, bar),
                "machine": next(iter(environment(run.machine_info)), ""),
                "fitness": machine_tile(run),
                "cells": len(run.measured()),
            }
        )
    return written("index.html", None, {}, title="results", when="", entries=found)
