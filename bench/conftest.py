"""Options and fixtures of the benchmarks: the study they measure, and one pipeline for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.records.journal import Journal
from sparsemark.study.file import Study, load_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline

if TYPE_CHECKING:
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
def pipeline(study: Study, pytestconfig: pytest.Config) -> Pipeline:
    """Weights, images and artifacts of the study."""
    work = paths.study_work(study.name)
    try:
        return open_pipeline(study, Places(paths.WEIGHTS, work), data=pytestconfig.getoption("--data"))
    except UserError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def journal(study: Study) -> Journal:
    """Finished cells of this run; `sparsemark report` reads them if pytest is killed before it writes its JSON."""
    path = paths.pytest_journal(paths.study_work(study.name))
    path.unlink(missing_ok=True)
    return Journal(path)
