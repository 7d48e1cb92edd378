"""Opening of a sweep: a study, a scheduler, and what tells apart this sweep from any other."""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.files import content_hash, write_atomically
from sparsemark.study.sweep.cluster import Cluster
from sparsemark.study.sweep.executor import Sweep
from sparsemark.study.sweep.order import Order, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sparsemark.study.file import Study
    from sparsemark.study.prepare import Places


@contextmanager
def opened(
    scheduler: str, study: Study, file: Path, places: Places, data: Path | None, *, store: str | None = None
) -> Iterator[Sweep]:
    """Yield the executor of a study on a scheduler's workers, which are started or joined when they are first needed.

    Args:
        scheduler: `local:N`, or an address.
        study: to be run.
        file: that it was read from.
        places: folders.
        data: images, or None.
        store: URL where files are left for workers that do not see this folder; None sends them in messages.

    Raises:
        UserError: no scheduler answers; no worker has what timing needs, or another version of what decides a
            measurement; no host is what the study asks for; the store cannot be opened.
    """
    token = Token(paths.sweep_token(places.work).absolute(), uuid.uuid4().hex)
    write_atomically(token.path, token.content.encode())
    engines = sorted({cell.engine for cell in study.cells} | {study.protocol.reference})
    name, known = f"sparsemark-{token.content}", vars(replace(study, variants=(), cells=(), hosts=()))
    data = None if data is None else data.absolute()
    made = (places.work,) if places.weights is None else (places.work, places.weights)
    order = Order(name, known, vars(places), data, made, Path.cwd(), token, store)
    try:
        with Cluster(scheduler, engines, token) as cluster:
            sweep = Sweep(cluster, order, study.hosts, _watching(file))
            try:
                yield sweep
            finally:
                sweep.close()
    finally:
        with suppress(OSError):
            token.path.unlink()


def _watching(file: Path) -> Callable[[], None]:
    """Return a function that raises UserError once a file is no longer what it was."""
    seen, digest = file.stat(), content_hash(file)

    def check() -> None:
        try:
            now = file.stat()
            is_same = (now.st_mtime_ns, now.st_size) == (seen.st_mtime_ns, seen.st_size) or content_hash(file) == digest
        except OSError:
            is_same = False
        if not is_same:
            raise UserError(f"{file}: changed while it ran; what was measured is kept, run the same command again")

    return check
