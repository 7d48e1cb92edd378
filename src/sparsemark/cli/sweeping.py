"""`--scheduler`: workers of Dask, where its packages are installed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sparsemark.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sparsemark.study.executor import Executor
    from sparsemark.study.file import Study
    from sparsemark.study.prepare import Places


def check_scheduler(options: argparse.Namespace) -> None:
    """Check that a scheduler can be used as it is asked for.

    Raises:
        UserError: Dask is not installed, the scheduler has another form, nothing is to be timed in other processes, or
            there is no scheduler whose workers files could be left for.
    """
    if options.scheduler is None:
        if options.files is not None:
            raise UserError(f"--files {options.files}: expected --scheduler with it; this process needs no store")
        return
    from sparsemark.registry import missing

    absent = missing(("distributed",))
    if absent:
        raise UserError(f"--scheduler {options.scheduler}: {absent}: pip install 'sparsemark[sweep]'")
    if options.quick:
        raise UserError("--quick --scheduler: expected one of them; --quick measures in this process")
    from sparsemark.study.sweep.address import check_address

    check_address(options.scheduler)


@contextmanager
def sweep(options: argparse.Namespace, study: Study, places: Places) -> Iterator[Executor]:
    """Yield the executor of a study; errors as in `sweep.opening.opened`."""
    from sparsemark.study.sweep.opening import opened

    with opened(options.scheduler, study, options.study, places, options.data, store=options.files) as executor:
        yield executor
