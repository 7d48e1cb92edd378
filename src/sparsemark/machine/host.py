"""Host: the machine that a process runs on, as a sweep over several records it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.machine.control_group import Limits, limits
from sparsemark.machine.fingerprint import boot_id, identity, microcode

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "SPARSEMARK_HOST"
"""Environment variable with the host's name, where that of the system is none: containers, tests."""


@dataclass(frozen=True)
class Host:
    """A host.

    Args:
        name: of the host.
        machine: what decides a latency, as `fingerprint.identity` returns it.
        microcode: of the processor.
        boot_id: of the system's latest start.
        limits: of the process's control group.
    """

    name: str
    machine: Mapping[str, Any]
    microcode: str | None
    boot_id: str | None
    limits: Limits

    @property
    def processor(self) -> str:
        """Model of the processor."""
        return str(self.machine.get("cpu_model"))


def host_name() -> str:
    """Return the name of this host, or what the environment calls it."""
    return os.environ.get(NAME) or socket.gethostname()


def this_host() -> Host:
    """Describe the host of this process."""
    return Host(host_name(), identity(), microcode(), boot_id(), limits())
