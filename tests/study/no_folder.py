"""Preload of a worker of Dask that is taken for one that does not see the command's folder."""

from __future__ import annotations


def dask_setup(_):
    """Have no token be seen; Dask calls this when a worker starts."""
    from sparsemark.study.sweep.order import Token

    Token.is_seen = property(lambda _: False)
