"""Command line of sparsemark."""

from sparsemark.cli.parser import main

__all__ = ["main"]
