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

    from sparsemark.study.file import Study
    from sparsemark.study.prepare import Places


@dataclass(frozen=True)
class Order:
    """A sweep.

    Args:
        name: of this sweep, other than that of any other one.
        study: without its variants and cells, which come with the tasks.
        places: folders, relative to `folder`.
        data: images, or None.
        folder: working folder of the command, which references in the study are relative to.
    """

    name: str
    study: Study
    places: Places
    data: Path | None
    folder: Path


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


def describe(engines: Iterable[str], token: Path, content: str) -> Described:
    """Describe the worker of this process.

    Args:
        engines: whose versions count.
        token: file in the command's folder.
        content: of that file, which no other file has.
    """
    try:
        sees = token.read_text() == content
    except OSError:
        sees = False
    return Described(this_host(), versions(engines), sees)


def versions(engines: Iterable[str]) -> dict[str, Any]:
    """Return the digest of sparsemark's code, and the versions of Python, torch and what the engines need, by name."""
    import platform

    modules = {module for name in engines for module in find(name, ENGINES, "engine").requires}
    code = code_digest(Path(paths.__file__).parent)[:12]
    python = ".".join(platform.python_version_tuple()[:2])
    return {"sparsemark's code": code, "python": python, **package_versions(["torch", *sorted(modules)])}
