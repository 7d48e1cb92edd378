"""`sparsemark init`: files to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from sparsemark.cli.arguments import Commands

STARTER = Path(__file__).parents[1] / "starter"
"""Every file in it is copied, but for the package's own `__init__.py`."""

_SCRIPT = 0o755
_NEEDS = {"direct": "numba", "plots": "matplotlib"}
"""Extras that the next commands need, each with the module that it brings."""


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "init",
        help="files to start from: a network, its task, a study, continuous integration",
        description="Write a small network, a commented task and a study of it, and workflows for continuous "
        "integration. They run as they are; put your network and your images in their place. Where one of the files is "
        "there already, none is written.",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Write every file or none, and show what to type next."""
    from sparsemark.cli.terminal import write
    from sparsemark.files import check_writable, write_atomically
    from sparsemark.registry import missing

    files = {options.folder / path.name: path for path in starter_files()}
    for path in files:
        if path.exists() or path.is_symlink():
            raise UserError(
                f"{path}: is there already, and nothing was written; expected a folder without it, such as sparsemark "
                "init NEW"
            )
        check_writable(path)
    for path, source in files.items():
        write_atomically(path, source.read_bytes())
        if path.suffix == ".sh":
            path.chmod(_SCRIPT)
        write(f"wrote {path}\n")
    absent = [extra for extra, module in _NEEDS.items() if missing((module,))]
    write("\n".join(["", *_next(options.folder, absent)]) + "\n")
    return 0


def starter_files() -> list[Path]:
    """Return the files to copy, by name."""
    return sorted(path for path in STARTER.iterdir() if path.is_file() and path.name != "__init__.py")


def _next(folder: Path, absent: Sequence[str]) -> list[str]:
    """Return what to type next.

    Args:
        folder: with the files.
        absent: extras of sparsemark that the commands need and that are not installed.
    """
    from shlex import quote

    commands = [] if folder == Path() else [f"cd {quote(str(folder))}"]
    if absent:
        commands.append(f"pip install 'sparsemark[{','.join(absent)}]'")
    commands += [
        "sparsemark bench model.py:build --task task.py --prune magnitude:0.8,0.9 --prune channels:0.5:16 "
        "--engine onnxruntime --engine direct-csr --artifacts deploy",
        "sparsemark run study.toml",
    ]
    return [
        "Try the example first, or put your network into model.py (build), your images and score into task.py, and the "
        "sizes of an input into study.toml: the lines to change are marked YOURS. shapes.py and simple_task.py can go "
        "then. Next, for either:",
        *(f"  {command}" for command in commands),
    ]
