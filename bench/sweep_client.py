"""Client of a sweep of stub cells: `python -m bench.sweep_client ADDRESS CELLS JOURNAL`, in the folder of its work.

The address `none` measures the same cells in this process, without a scheduler.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from bench.sweep_stubs import StubPipeline, stub_launches, study
from sparsemark.errors import UserError
from sparsemark.records.journal import Journal
from sparsemark.records.measurement import MEASURED
from sparsemark.study.launches import measure_in_launches
from sparsemark.study.prepare import Places
from sparsemark.study.sampling import Sampling
from sparsemark.study.sweep.opening import opened


def sweep(address: str, count: int, journal: Path) -> dict[str, float]:
    """Measure stub cells, and return what it took."""
    asked, memory, launching = study(count), [], []
    file = Path("stub.toml")
    file.touch()

    def watch(items, what, kinds=None):  # noqa: ARG001 - the protocol
        for number, item in enumerate(items):
            if number in (len(items) // 10, len(items) - 1) and what == "launches":
                memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            if what == "launches":
                launching.append(time.monotonic())
            yield item

    began = time.monotonic()
    alone = address == "none"
    if alone:
        stub_launches()
    places = Places(None, Path("work"))
    with nullcontext() if alone else opened(address, asked, file, places, None) as executor:
        connected, processor = time.monotonic(), time.process_time()
        found = measure_in_launches(
            StubPipeline(), asked.cells, Journal(journal), watch, Sampling(1), executor=executor
        )
        ended, processor = time.monotonic(), time.process_time() - processor
    return {
        "cells": len(found),
        "measured": sum(row.status == MEASURED for row in found),
        "connect_s": connected - began,
        "ms_a_cell": 1e3 * (ended - connected) / count,
        "processor_ms_a_cell": 1e3 * processor / count,
        "launches_s": launching[-1] - launching[0] if launching else 0.0,
        "seconds": time.monotonic() - began,
        "grown_mib": memory[-1] - memory[0] if memory else 0.0,
    }


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(sweep(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))) + "\n")
    except UserError as error:
        sys.exit(f"sweep: {error}")
