"""Show a run: tables, figures, verdicts. Nothing here measures, and nothing here prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.report.document import content_of
from sparsemark.report.findings import findings
from sparsemark.report.headline import headlines
from sparsemark.report.renderers.csv import as_csv
from sparsemark.report.renderers.html import as_fragment, as_html
from sparsemark.report.renderers.markdown import as_markdown
from sparsemark.report.renderers.terminal import DEFAULT_WIDTH, as_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparsemark.records.run import Run

__all__ = ["DEFAULT_WIDTH", "FORMATS", "findings", "headlines", "notebook", "render"]

FORMATS: dict[str, Callable[[Run, int, bool], str]] = {
    "table": lambda run, width, colour: as_terminal(content_of(run), width=width, colour=colour),
    "markdown": lambda run, _width, _colour: as_markdown(content_of(run)),
    "csv": lambda run, _width, _colour: as_csv(run.measurements),
    "html": lambda run, _width, _colour: as_html(content_of(run)),
}
"""Formats of a report: a run, the width of the terminal in columns, and whether it knows colours, to text."""


def render(run: Run, form: str = "table", *, width: int = DEFAULT_WIDTH, colour: bool = False) -> str:
    """Write a run as text that ends in a newline.

    Args:
        run: what was measured.
        form: a name in `FORMATS`.
        width: of the terminal, in columns; `table` only.
        colour: whether to use the terminal's escape sequences; `table` only.

    Raises:
        UserError: there is no such format.
    """
    if form not in FORMATS:
        raise UserError(f"--format {form!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[form](run, width, colour)


def notebook(run: Run) -> str:
    """Write a run as a piece of HTML for a page of another's, such as a notebook."""
    return as_fragment(content_of(run))
