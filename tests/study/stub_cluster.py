"""Workers of a sweep as real processes, whose hosts are faked and whose cells are stubs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import dask
from distributed import Nanny, Scheduler, SpecCluster

import bench.sweep_stubs

STUBS = Path(bench.sweep_stubs.__file__)


@contextmanager
def stub_cluster(folder, hosts, preload=STUBS, **environment):
    """Yield a cluster with one worker for each host, which has a lock of its own and runs a file at its start."""
    workers = {
        host: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": 0,
                "resources": {"cell": 1},
                "preload": [str(preload)],
                "local_directory": str(folder),
                "env": {"SPARSEMARK_HOST": host, "SPARSEMARK_HOST_LOCK": str(folder / f"{host}.lock"), **environment},
            },
        }
        for host in hosts
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard": False}}
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs="CRITICAL") as cluster,
    ):
        yield cluster
