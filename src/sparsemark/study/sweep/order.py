"""Order: what workers must know of a sweep, sent to each of them once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark import paths
from sparsemark.engines import ENGINES
from sparsemark.files import code_digest
from sparsemark.machine.fingerprint import package_versions
from sparsemark.machine.host import Host, this_host
from sparsemark.registry import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sparsemark.study.sweep.parcels import Parcel


@dataclass(frozen=True)
class Order:
    """A sweep.

    Args:
        name: of this sweep, other than that of any other one.
        study: fields of the study but for its variants and cells, which come with the tasks. It is put together where
            it is needed, since that takes torch, which a worker that only times does not need.
        places: fields of the folders, relative to `folder`.
        data: images, or None.
        made: folders of what is made, relative to `folder`.
        folder: working folder of the command, which references in the study are relative to.
        token: a file in it, and its content, by which workers are told that see the folder.
        store: URL of the files of workers that do not; None sends them in messages.
        sources: what those need of the folder; empty where all see it.
    """

    name: str
    study: Mapping[str, Any]
    places: Mapping[str, Any]
    data: Path | None
    made: tuple[Path, ...]
    folder: Path
    token: Token
    store: str | None = None
    sources: Parcel = ()

    @property
    def ships(self) -> bool:
        """Whether files travel."""
        return bool(self.sources)


@dataclass(frozen=True)
class Token:
    """File in the command's folder whose content no other file has."""

    path: Path
    content: str

    @property
    def is_seen(self) -> bool:
        """Whether this process sees it."""
        try:
            return self.path.read_text() == self.content
        except (OSError, ValueError):
            return False


@dataclass(frozen=True)
class Described:
    """A worker.

    Args:
        host: that it runs on.
        versions: of all that decides a measurement, by name.
        sees_folder: whether it sees the command's folder.
    """

    host: Host
    versions: Mapping[str, Any]
    sees_folder: bool


def describe(engines: Iterable[str], token: Token) -> Described:
    """Describe the worker of this process.

    Args:
        engines: whose versions count.
        token: in the command's folder.
    """
    return Described(this_host(), versions(engines), token.is_seen)


def versions(engines: Iterable[str]) -> dict[str, Any]:
    """Return the digest of sparsemark's code, and the versions of Python, torch and what the engines need, by name."""
    import platform

    modules = {module for name in engines for module in find(name, ENGINES, "engine").requires}
    code = code_digest(Path(paths.__file__).parent)[:12]
    python = ".".join(platform.python_version_tuple()[:2])
    return {"sparsemark's code": code, "python": python, **package_versions(["torch", *sorted(modules)])}
