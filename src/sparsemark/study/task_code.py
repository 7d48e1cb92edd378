"""Code of a task's file, without the functions that decide nothing of what is asked."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from sparsemark.files import content_hash, key_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

TRAINING = ("batches", "loss", "train")
"""Functions of a task that train networks, and do not score them."""


def code_without(path: Path, functions: Collection[str]) -> str:
    """Return a key of a Python file's statements but for functions and methods of these names, and for comments."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # no Python's source any more; what was imported was
        return content_hash(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            node.body = [one for one in node.body if not _is_one_of(one, functions)]
    return key_of(ast.dump(tree))


def _is_one_of(node: ast.stmt, functions: Collection[str]) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in functions
