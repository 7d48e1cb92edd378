"""Import graph of this repository: edges between files, and the circles among them."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Name = tuple[str, ...]
"""Parts of a file's dotted name, `__init__` among them: ("sparsemark", "cli", "__init__")."""


def names(root: Path, *folders: str) -> dict[Name, Path]:
    """Python files below these folders by name, the name relative to `root`."""
    paths = (path for folder in folders for path in sorted((root / folder).rglob("*.py")))
    return {path.relative_to(root).with_suffix("").parts: path for path in paths}


@functools.cache
def tree(path: Path) -> ast.Module:
    """Syntax tree of a file, parsed once a process."""
    return ast.parse(path.read_text())


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements, those inside functions too, without those that only type checkers see."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    skipped = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else ()
    for child in ast.iter_child_nodes(node):
        if child not in skipped and not isinstance(child, ast.expr):
            yield from statements(child)


def imported(path: Path, known: Mapping[Name, Path]) -> set[Name]:
    """Files that a file imports, as far as they are known; `from package import module` imports the module."""

    def file(dotted: str) -> Name | None:
        parts = tuple(dotted.split("."))
        return next((name for name in (parts, (*parts, "__init__")) if name in known), None)

    found = set()
    for statement in statements(tree(path)):
        if isinstance(statement, ast.Import):
            found |= {file(alias.name) for alias in statement.names}
        else:
            found |= {
                file(f"{statement.module}.{alias.name}") or file(f"{statement.module}") for alias in statement.names
            }
    return {name for name in found if name is not None}


def siblings(edges: Iterable[tuple[Name, Name]]) -> dict[Name, dict[str, set[str]]]:
    """Edges between the files and sub-folders of each folder, whatever lies in a sub-folder taken as one."""
    levels: dict[Name, dict[str, set[str]]] = {}
    for one, other in edges:
        depth = next(depth for depth, parts in enumerate(zip(one, other, strict=False)) if parts[0] != parts[1])
        levels.setdefault(one[:depth], {}).setdefault(one[depth], set()).add(other[depth])
    return levels


def circle(edges: Mapping[str, Iterable[str]]) -> str | None:
    """Some circle among these edges, as a path that ends where it begins; None where there is none."""
    done: set[str] = set()

    def search(path: list[str]) -> list[str] | None:
        for following in sorted(edges.get(path[-1], ())):
            if following in path:
                return [*path[path.index(following) :], following]
            if following not in done:
                found = search([*path, following])
                if found:
                    return found
        done.add(path[-1])
        return None

    for start in sorted(edges):
        found = None if start in done else search([start])
        if found:
            return " -> ".join(found)
    return None
