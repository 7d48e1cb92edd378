"""Cluster: workers of Dask, started on this machine or joined, and the one of each host that times."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster

from sparsemark.errors import UserError
from sparsemark.machine.host import Host, this_host
from sparsemark.references import one_line
from sparsemark.study.sweep.address import local_workers
from sparsemark.study.sweep.order import describe, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sparsemark.study.sweep.order import Described, Token

_LOG = logging.getLogger(__name__)

CELL = "cell"
"""Resource of Dask that timing takes one of: workers without it only prepare."""

_PATIENCE = 10.0
"""Seconds that a scheduler is given to answer."""

_LOOK = 1.0
"""Seconds between two looks at which workers there are."""

_QUIET = {"distributed.worker.profile.enabled": False, "distributed.comm.timeouts.connect": f"{_PATIENCE}s"}
"""Dask's configuration: its profiler would wake up a hundred times a second in workers that are started here."""

_NO_LEAKS = "ignore::UserWarning:multiprocessing.resource_tracker"
"""Filter of warnings, as `python -W` takes it."""


class Cluster:
    """Workers of a scheduler, connected to when they are first needed.

    Args:
        scheduler: `local:N`, or an address.
        engines: whose versions must be the same everywhere.
        token: in the command's folder, by which workers are told that see it.
    """

    def __init__(self, scheduler: str, engines: Iterable[str], token: Token) -> None:
        self._scheduler, self._engines, self._token = scheduler, tuple(engines), token
        self._all_see_folder = True
        self._stack = contextlib.ExitStack()
        self._client: Client | None = None
        self._known: dict[str, Described] = {}
        self._refused: set[str] = set()
        self._looked = 0.0
        self._timers: dict[str, str] = {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        # A scheduler that is gone says so for seconds, in a logger of its own.
        with contextlib.suppress(Exception):
            self._stack.close()

    @property
    def is_local(self) -> bool:
        """Whether its workers are processes of this machine."""
        return local_workers(self._scheduler) is not None

    @property
    def is_started(self) -> bool:
        """Whether it was connected to."""
        return self._client is not None

    @property
    def client(self) -> Client:
        """Dask's client.

        Raises:
            UserError: no scheduler answers, or it has no worker that can be used.
        """
        if self._client is None:
            self._client = self._connect()
            self.workers()
            if link := self.dashboard:
                _LOG.info("Dask's dashboard: %s", link)
            if not self._known:
                raise UserError(
                    f"--scheduler {self._scheduler}: no worker has joined it yet; start one: dask worker ADDRESS"
                )
        return self._client

    def _connect(self) -> Client:
        local = local_workers(self._scheduler)
        for name in list(logging.root.manager.loggerDict):
            if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):  # what matters of it is an error here
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._stack.enter_context(dask.config.set(_QUIET))
        if local is None:
            try:
                client = Client(self._scheduler, timeout=_PATIENCE, set_as_default=False)
            except (OSError, ValueError) as error:
                raise UserError(
                    f"--scheduler {self._scheduler}: no scheduler answers within {_PATIENCE:.0f} s: {one_line(error)}"
                ) from error
            self._stack.enter_context(client)
            return client
        _silence_tracker()
        cluster = LocalCluster(
            n_workers=local,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            resources={CELL: 1},
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        self._stack.callback(cluster.close)
        client = Client(cluster, set_as_default=False)
        self._stack.enter_context(client)
        return client

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard; None where it has none."""
        import importlib.util

        link = None if self._client is None else self._client.dashboard_link
        return str(link) if link and importlib.util.find_spec("bokeh") else None

    def workers(self) -> Mapping[str, Described]:
        """Return the workers that there are now, by address.

        Raises:
            UserError: the scheduler is gone, or of the first workers one has other versions.
        """
        client = self.client
        try:
            there: dict[str, Any] = client.scheduler_info()["workers"]
        except Exception as error:
            raise self.lost(error) from error
        is_first = not self._known and not self._refused
        new = [address for address in there if address not in self._known and address not in self._refused]
        if new:
            answers = client.run(describe, self._engines, self._token, workers=new, on_error="return")
            if is_first:
                self._all_see_folder = all(getattr(answer, "sees_folder", True) for answer in answers.values())
            for address, answer in answers.items():
                self._meet(address, answer, is_first=is_first)
        self._known = {address: one for address, one in self._known.items() if address in there}
        self._timers = {}
        for address, one in sorted(self._known.items()):
            if there[address].get("resources", {}).get(CELL):
                self._timers.setdefault(one.host.name, address)
        self._looked = time.monotonic()
        return self._known

    def _meet(self, address: str, answer: Described | BaseException, *, is_first: bool) -> None:
        """Take a worker, or refuse it: of the first ones that ends the run."""
        why = self._refusal(answer)
        if why is None and not isinstance(answer, BaseException):
            self._known[address] = answer
            return
        line = f"worker {address}: {why}"
        if is_first:
            raise UserError(line)
        self._refused.add(address)
        _LOG.info("%s; it is not used", line)

    def _refusal(self, answer: Described | BaseException) -> str | None:
        """Return why a worker cannot be used; None where it can."""
        if isinstance(answer, BaseException):
            return f"{one_line(answer)}; install the same sparsemark there"
        own = versions(self._engines)
        for name, version in own.items():
            if answer.versions.get(name) != version:
                return f"{name} is {answer.versions.get(name)} there and {version} here; install the same"
        if not answer.sees_folder and self._all_see_folder:
            return "it does not see the command's folder, as all others did; give the command again to send files"
        return None

    def timers(self) -> Mapping[str, str]:
        """Return the address of the worker of each host that times; looked up again every second."""
        if time.monotonic() - self._looked > _LOOK:
            self.workers()
        return self._timers

    def hosts(self) -> Sequence[Host]:
        """Return the hosts that time; errors as in `client`, and where none does."""
        if self.is_local and not self.is_started:
            return [this_host()]
        workers = self.workers()
        hosts = {name: workers[address].host for name, address in self._timers.items()}
        if not hosts:
            raise UserError(
                f"--scheduler {self._scheduler}: no worker has the resource {CELL}; start one on each host: "
                f"dask worker ADDRESS --nthreads 1 --resources {CELL}=1"
            )
        return [hosts[name] for name in sorted(hosts)]

    def host(self, address: str) -> Host:
        """Return the host of a worker."""
        return self._known[address].host

    def sees_folder(self, address: str) -> bool:
        """Return whether a worker sees the command's folder."""
        return self._known[address].sees_folder

    @property
    def all_see_folder(self) -> bool:
        """Whether all workers that there were at first see the command's folder."""
        return self._all_see_folder

    @property
    def size(self) -> int:
        """Number of workers that there were lately, at least one."""
        return max(1, len(self._known))

    def lost(self, error: object = None) -> UserError:
        """Return the error of a scheduler that is gone."""
        why = f": {one_line(error)}" if isinstance(error, BaseException) else ""
        return UserError(
            f"--scheduler {self._scheduler}: the scheduler is gone{why}; what was measured is kept, and the same "
            "command goes on once it is back"
        )


def _silence_tracker() -> None:
    """Start multiprocessing's tracker of semaphores without its warning of those that a killed worker held.

    It would write it to stderr after the command's last line.
    """
    sys.warnoptions.append(_NO_LEAKS)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(_NO_LEAKS)
