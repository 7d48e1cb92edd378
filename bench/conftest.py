"""Options and fixtures of the benchmarks: the study they measure, and one pipeline for all of them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.machine.locks import only_process
from sparsemark.records.journal import Journal
from sparsemark.study.file import Study, load_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.study.pipeline import Pipeline


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sparsemark")
    group.addoption("--study", type=Path, default=paths.DEFAULT_STUDY, help="study file (default: %(default)s)")
    group.addoption("--data", type=Path, default=None, help="folder of the LGG set (default: LGG_DATA, else a phantom)")


def study_of(config: pytest.Config) -> Study:
    try:
        return load_study(config.getoption("--study"))
    except UserError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        cells = study_of(metafunc.config).cells
        metafunc.parametrize("cell", cells, ids=[cell.name for cell in cells])


@pytest.fixture(scope="session")
def study(pytestconfig: pytest.Config) -> Study:
    """The study file, read."""
    return study_of(pytestconfig)


@pytest.fixture(scope="session")
def pipeline(study: Study, pytestconfig: pytest.Config) -> Iterator[Pipeline]:
    """Weights, images and artifacts of the study."""
    work = paths.study_work(study.name)
    with ExitStack() as stack:
        try:
            stack.enter_context(only_process(paths.lock(work), "pytest bench"))
            opened = open_pipeline(study, Places(paths.WEIGHTS, work), data=pytestconfig.getoption("--data"))
        except UserError as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        yield opened


@pytest.fixture(scope="session")
def journal(study: Study, pipeline: Pipeline) -> Journal:  # noqa: ARG001 - it holds the lock of the folder
    """Finished cells of this run; `sparsemark report` reads them if pytest is killed before it writes its JSON."""
    path = paths.pytest_journal(paths.study_work(study.name))
    path.unlink(missing_ok=True)
    return Journal(path)
