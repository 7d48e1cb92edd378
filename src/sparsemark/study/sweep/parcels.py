"""Parcels: files on their way between processes that have no folder in common, each checked by its digest.

Small files travel as bytes in Dask's messages, others through a store that fsspec opens. Nothing in them is unpickled.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.files import content_hash, replacing, write_atomically
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MOST = 256 * 2**20
"""Bytes of a parcel without a store: a message of Dask is held in memory by each process that it passes."""

_SKIPPED = ("__pycache__", "results")
"""Folders that no worker needs."""

TRAINING = "training"
"""Folder of a study's work from which a training resumes: large, and of use only where it began."""


@dataclass(frozen=True)
class Item:
    """A file.

    Args:
        path: relative to the folder, parts divided by `/`.
        sha256: of its content.
        content: bytes; None where they are in the store.
    """

    path: str
    sha256: str
    content: bytes | None


Parcel = tuple[Item, ...]


class Store:
    """Files by digest, at a URL of fsspec.

    Args:
        url: such as `s3://bucket/folder` or `file:///shared/folder`.

    Raises:
        UserError: no such protocol, or its package is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self._url = url
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, OSError, ValueError) as error:
            raise UserError(f"--files {url}: {one_line(error)}") from error
        self._known: set[str] = set()

    def put(self, path: Path, sha256: str) -> None:
        """Store a file, unless it is there; errors as in `get`."""
        if sha256 in self._known:
            return
        to = self._path(sha256)
        part = f"{to}.{uuid.uuid4().hex}.part"  # nobody reads a file that is half written
        try:
            if not self._system.exists(to):
                self._system.makedirs(self._root, exist_ok=True)
                self._system.put_file(str(path), part)
                self._system.mv(part, to)
        except Exception as error:  # each system of files has its own
            raise UserError(f"--files {self._url}: cannot be written: {one_line(error)}") from error
        self._known.add(sha256)

    def get(self, sha256: str, path: Path) -> None:
        """Fetch a file.

        Raises:
            UserError: it is not there, or is not what its name says.
        """
        with replacing(path) as target:
            try:
                self._system.get_file(self._path(sha256), str(target))
            except Exception as error:  # as above
                raise UserError(f"--files {self._url}: {sha256} cannot be read: {one_line(error)}") from error
            if content_hash(target) != sha256:
                raise UserError(f"--files {self._url}: {sha256} holds something else; delete it")

    def _path(self, sha256: str) -> str:
        return f"{self._root.rstrip('/')}/{sha256}"


class Folder:
    """A folder whose files travel.

    Args:
        root: the folder.
        store: URL of the store, or None.
        within: folders below it that parcels may write to.
    """

    def __init__(self, root: Path, store: str | None, within: Sequence[Path] = (Path(),)) -> None:
        self.root, self._within = root, tuple(within)
        self._store = None if store is None else Store(store)
        self._digests: dict[tuple[Path, int, int], str] = {}

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file's content; read again where size or time have changed."""
        seen = path.stat()
        key = path, seen.st_mtime_ns, seen.st_size
        if key not in self._digests:
            self._digests[key] = content_hash(path)
        return self._digests[key]

    def pack(self, paths: Iterable[Path]) -> Parcel:
        """Return files as a parcel.

        Args:
            paths: absolute or relative to the folder; those that are not below it are left out.

        Raises:
            UserError: they are too large to be sent without a store, or the store cannot be written.
        """
        items, size = [], 0
        for path in dict.fromkeys(self.root / path for path in paths):
            if not path.is_relative_to(self.root):
                continue
            name = path.relative_to(self.root).as_posix()
            if self._store is not None:
                sha256 = self.digest(path)
                self._store.put(path, sha256)
                items.append(Item(name, sha256, None))
                continue
            size += path.stat().st_size
            if size > MOST:
                raise UserError(
                    f"{name}: more than {MOST >> 20} MiB would go through Dask's messages; let the workers share the "
                    "command's folder, or name a store that they see: --files URL"
                )
            content = path.read_bytes()
            items.append(Item(name, hashlib.sha256(content).hexdigest(), content))
        return tuple(items)

    def unpack(self, parcel: Parcel) -> None:
        """Write the files that are not there yet.

        Raises:
            UserError: a file is not what its digest says, lies elsewhere, or cannot be fetched or written.
        """
        for item in parcel:
            path = self._place(item.path)
            if path.is_file() and self.digest(path) == item.sha256:
                continue
            if item.content is not None:
                if hashlib.sha256(item.content).hexdigest() != item.sha256:
                    raise UserError(f"{item.path}: what came is not what its digest says; run the same command again")
                write_atomically(path, item.content)
            elif self._store is not None:
                self._store.get(item.sha256, path)
            else:
                raise UserError(f"{item.path}: came without content, and there is no store")

    def _place(self, name: str) -> Path:
        path = (self.root / name).resolve()
        inside = any(path.is_relative_to((self.root / one).resolve()) for one in self._within)
        if PurePosixPath(name).is_absolute() or not inside:
            raise UserError(f"{name}: expected a file below {' or '.join(map(str, self._within))}")
        return path

    @contextmanager
    def made(self, *below: Path) -> Iterator[list[Path]]:
        """Yield a list that holds, after the block, the files below some folders that are new or changed."""
        found: list[Path] = []
        before = dict(self._seen(below))
        yield found
        found += [path for path, stamp in self._seen(below) if before.get(path) != stamp]

    def _seen(self, below: Iterable[Path]) -> Iterator[tuple[Path, Any]]:
        for folder in below:
            for path in walked(self.root / folder, (TRAINING,)):
                seen = path.stat()
                yield path, (seen.st_mtime_ns, seen.st_size, seen.st_ino)


def walked(root: Path, skipped: Sequence[str] = _SKIPPED) -> Iterator[Path]:
    """Yield the files below a folder that workers may need: none that is hidden, and no virtual environment.

    Args:
        root: the folder.
        skipped: names of folders that are passed over.
    """
    for folder, names, files in os.walk(root):
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".") and name not in skipped and not Path(folder, name, "pyvenv.cfg").exists()
        )
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and path.resolve().is_relative_to(root.resolve()):
                yield path
