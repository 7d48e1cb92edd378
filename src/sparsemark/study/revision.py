"""Arms of a comparison: this working tree, and another revision of it, each with a Python and packages of its own."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.measurement.launch import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOG = logging.getLogger(__name__)

_REQUIREMENTS = ("requirements*.txt", "uv.lock", "poetry.lock", "pdm.lock")
"""Files beside pyproject.toml that decide which packages a revision runs with."""

_INSTALLED = "=="
"""What tells an installed version, `sparsemark==0.1.0`, from a git revision."""

_SHOWN = 12
"""Digits of a commit in names of folders and messages."""

_LIMIT = 3600
"""Seconds that the installation of a revision's packages may take."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Args:
        name: in messages.
        folder: of its files.
        python: executable.
        environment: variables of its processes.
    """

    name: str
    folder: Path
    python: str
    environment: Mapping[str, str] = field(repr=False)

    @property
    def place(self) -> Place:
        """Where its launches run, all of them with the harness of this process."""
        return Place(self.python, self.folder, self.environment, Path(paths.__file__).parent)


def this_tree() -> Arm:
    """Return the working folder as it is, with the packages of this process."""
    return Arm("this tree", Path.cwd(), sys.executable, _environment([]))


def of_revision(revision: str, work: Path) -> Arm:
    """Check out a revision beside this tree, and make the environment that it asks for.

    Where it asks for the packages that this tree asks for, it gets those that are installed here; else its own are
    installed, which takes minutes. Both are kept for the next time.

    Args:
        revision: anything that git resolves to a commit; or a requirement such as `sparsemark==0.1.0`, which is
            installed for the files of this tree.
        work: folder for what is made.

    Raises:
        UserError: there is no git or no such revision, or its packages cannot be installed.
    """
    if _INSTALLED in revision:
        python = _installed(work / hashlib.sha256(revision.encode()).hexdigest()[:_SHOWN] / "env", [revision])
        return Arm(revision, Path.cwd(), python, _environment([], inherit=False))
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", of=revision).strip()
    inner = _git("rev-parse", "--show-prefix", of=revision).strip()
    folder = (work / commit[:_SHOWN]).absolute()
    root = folder / "tree"
    if not root.exists():
        _check_out(commit, root)
    name = f"{revision} ({commit[:_SHOWN]})"
    sources = [path for path in (root / "src", root) if path.exists()]
    if _requirements(root) == _requirements(Path(_git("rev-parse", "--show-toplevel", of=revision).strip())):
        return Arm(name, root / inner, sys.executable, _environment(sources))
    _LOG.info("%s: asks for other packages; installing them", name)
    extras = f"[{_ALL}]" if _ALL in _extras(root) else ""
    lists = [argument for path in sorted(root.glob("requirements*.txt")) for argument in ("-r", str(path))]
    project = [f"{root}{extras}"] if _is_project(root) else []
    python = _installed(folder / "env", [*project, *lists])
    return Arm(name, root / inner, python, _environment(sources, inherit=False))


_ALL = "all"
"""Extra that a project has for everything optional, by custom."""


def _environment(sources: Sequence[Path], *, inherit: bool = True) -> dict[str, str]:
    """Return variables under which an arm's own files are imported before what is installed."""
    found = dict(os.environ)
    before = [found["PYTHONPATH"]] if inherit and "PYTHONPATH" in found else []
    found["PYTHONPATH"] = os.pathsep.join([*map(str, sources), *before])
    return found


def _git(*arguments: str, of: str) -> str:
    try:
        ended = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - git
    except OSError as error:
        raise UserError(f"--against {of}: git: {error.strerror or error}") from error
    if ended.returncode:
        said = " ".join(ended.stderr.split()) or "no such revision"
        raise UserError(f"--against {of}: {said}; expected a revision that git knows, or name==version")
    return ended.stdout


def _check_out(commit: str, root: Path) -> None:
    """Write a commit's files to a folder, whole or not at all."""
    import tarfile

    root.parent.mkdir(parents=True, exist_ok=True)
    torn = root.with_name(f"{root.name}.{os.getpid()}")
    top = _git("rev-parse", "--show-toplevel", of=commit).strip()
    try:
        command = ["git", "-C", top, "archive", commit]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as archive,  # noqa: S603 - git
            tarfile.open(fileobj=archive.stdout, mode="r|") as files,
        ):
            files.extractall(torn, filter="data")
        if archive.returncode:
            raise UserError(f"--against {commit}: git archive ended with code {archive.returncode}")
        torn.rename(root)
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"--against {commit}: {root}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(torn, ignore_errors=True)


def _requirements(root: Path) -> str:
    """Return a digest of what decides a tree's packages."""
    project = _project(root)
    asked = [project.get("dependencies"), project.get("optional-dependencies"), project.get("requires-python")]
    files = sorted(path for pattern in _REQUIREMENTS for path in root.glob(pattern))
    content = [repr(asked).encode(), *(path.read_bytes() for path in files)]
    return hashlib.sha256(b"\0".join(content)).hexdigest()


def _project(root: Path) -> dict[str, object]:
    try:
        found = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_project(root: Path) -> bool:
    return "name" in _project(root)


def _extras(root: Path) -> set[str]:
    found = _project(root).get("optional-dependencies")
    return set(found) if isinstance(found, dict) else set()


def _installed(folder: Path, requirements: Sequence[str]) -> str:
    """Return the Python of an environment with these packages, made if it is not there."""
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    done = folder / "installed"
    if done.exists():
        return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
    ):
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT)  # noqa: S603 - as asked
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if line.strip()] or [f"code {error.returncode}"]
            raise UserError(f"--against: {' '.join(requirements)}: cannot be installed: {lines[-1].strip()}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"--against: {' '.join(requirements)}: cannot be installed: {error}") from error
    done.touch()
    return str(python)
