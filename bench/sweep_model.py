"""Discrete-event model of a sweep on many hosts: makespan against its bound, and what saturates first.

`python -m bench.sweep_model [HOSTS CELLS]`. A block of cells goes to one host, so that 10^6 cells are some ten thousand
events a resource. Seconds are those measured here, see README.md; failures and stragglers are assumed.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import simpy

if TYPE_CHECKING:
    from collections.abc import Generator


@dataclass(frozen=True)
class Model:
    """A sweep; seconds, each of one launch where nothing else is said.

    Args:
        hosts: that time.
        cells: of one launch times `launches`.
        launches: of a cell, on one host.
        launch_s: in a fresh process, mean; exponentially distributed from `least` of it on.
        client_s: of the client for a result: row, journal, next task.
        scheduler_s: of Dask's scheduler for a task.
        hours_between_failures: of a host, mean; the cell at work is lost.
        back_s: until a lost host is back.
        stragglers: share of hosts that are `slower` times as slow.
        block: cells that are one event.
    """

    hosts: int
    cells: int
    launches: int = 3
    launch_s: float = 7.0
    least: float = 0.8
    client_s: float = 0.003
    scheduler_s: float = 0.0025
    hours_between_failures: float = 200.0
    back_s: float = 300.0
    stragglers: float = 0.02
    slower: float = 3.0
    block: int = 1

    def run(self, seed: int = 0) -> dict[str, float]:
        """Return makespan, bound and the share of the time that client and scheduler were busy."""
        rng, environment = random.Random(seed), simpy.Environment()  # noqa: S311 - no secret
        single = {name: simpy.Resource(environment) for name in ("scheduler", "client")}
        busy = dict.fromkeys(single, 0.0)
        left = [math.ceil(self.cells * self.launches / self.block)]

        def serve(name: str, seconds: float) -> Generator[Any, Any, None]:
            with single[name].request() as turn:
                yield turn
                busy[name] += seconds
                yield environment.timeout(seconds)

        def host(speed: float) -> Generator[Any, Any, None]:
            fails = rng.expovariate(1 / (3600 * self.hours_between_failures))
            while left[0] > 0:
                left[0] -= 1
                yield from serve("scheduler", self.block * self.scheduler_s)
                mean = self.launch_s * speed
                yield environment.timeout(self.block * (self.least * mean) + sum_of(rng, self.block, mean, self.least))
                if environment.now > fails:  # what was at work is done again
                    left[0] += 1
                    yield environment.timeout(self.back_s)
                    fails = environment.now + rng.expovariate(1 / (3600 * self.hours_between_failures))
                    continue
                yield from serve("client", self.block * self.client_s)

        slow = round(self.stragglers * self.hosts)
        for number in range(self.hosts):
            environment.process(host(self.slower if number < slow else 1.0))
        environment.run()
        speed = self.hosts - slow + slow / self.slower
        bound = self.cells * self.launches * self.launch_s / speed
        shares = {f"{name}_busy": seconds / environment.now for name, seconds in busy.items()}
        return {"makespan_s": environment.now, "bound_s": bound, **shares}


def sum_of(rng: random.Random, count: int, mean: float, least: float) -> float:
    """Return the sum of so many exponential times beyond the least one."""
    return rng.gammavariate(count, (1 - least) * mean) if least < 1 else 0.0


if __name__ == "__main__":
    hosts, cells = (int(text) for text in sys.argv[1:3] or ("1000", "1000000"))
    for count in (hosts // 10, hosts // 3, hosts):
        found = Model(count, cells, block=max(1, cells // (20 * count))).run()
        sys.stdout.write(f"{count} hosts: " + ", ".join(f"{name} {one:.3g}" for name, one in found.items()) + "\n")
