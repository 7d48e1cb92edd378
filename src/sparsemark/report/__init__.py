"""Show a run: tables, figures, verdicts. Nothing here measures, and nothing here prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.report.document import content_of
from sparsemark.report.findings import findings
from sparsemark.report.headline import headlines
from sparsemark.report.renderers.csv import as_csv
from sparsemark.report.renderers.html import as_fragment
from sparsemark.report.renderers.markdown import as_markdown
from sparsemark.report.renderers.terminal import DEFAULT_WIDTH, as_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparsemark.analysis.front import Bar
    from sparsemark.records.run import Run
    from sparsemark.report.deployment import Deployment
    from sparsemark.report.document import Content
    from sparsemark.report.layers import Layers

__all__ = ["DEFAULT_WIDTH", "FORMATS", "findings", "headlines", "notebook", "render"]


def _page(run: Run, wanted: Wanted) -> str:
    from sparsemark.report.page import as_page  # with Jinja, which no other format needs

    return as_page(run, wanted.bar, wanted.deployment, wanted.layers)


FORMATS: dict[str, Callable[[Run, Wanted], str]] = {
    "table": lambda run, wanted: as_terminal(
        _content(run, wanted), width=wanted.width, colour=wanted.colour, whole_report=wanted.whole
    ),
    "markdown": lambda run, wanted: as_markdown(_content(run, wanted)),
    "csv": lambda run, wanted: as_csv(run.measurements, wanted.bar),
    "html": _page,
}
"""Formats of a report."""


@dataclass(frozen=True)
class Wanted:
    """How a report is wanted; arguments as in `render`."""

    width: int | None = None
    colour: bool = False
    bar: Bar | None = None
    deployment: Deployment | None = None
    whole: bool = True
    layers: Layers | None = None


def _content(run: Run, wanted: Wanted) -> Content:
    return content_of(run, wanted.bar, wanted.deployment)


def render(
    run: Run,
    form: str = "table",
    *,
    width: int | None = None,
    colour: bool = False,
    bar: Bar | None = None,
    deployment: Deployment | None = None,
    whole: bool = True,
    layers: Layers | None = None,
) -> str:
    """Write a run as text that ends in a newline.

    Args:
        run: what was measured.
        form: a name in `FORMATS`.
        width: of the terminal, in columns, to which tables are cut; None for a file, which has every column. `table`
            only.
        colour: whether to use the terminal's escape sequences; `table` only.
        bar: what a network may lose and still keep its score; None takes each metric's own tolerance.
        deployment: where the run's files are; None where a result file is all that is known.
        whole: with the lists below the table; else they are named. `table` only.
        layers: of the dense network and of a pruned one; `html` only.

    Raises:
        UserError: there is no such format.
    """
    if form not in FORMATS:
        raise UserError(f"--format {form!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[form](run, Wanted(width, colour, bar, deployment, whole, layers))


def notebook(run: Run) -> str:
    """Write a run as a piece of HTML for a page of another's, such as a notebook."""
    return as_fragment(content_of(run))
