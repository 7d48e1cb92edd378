"""Show a run: tables, figures, verdicts. Nothing here measures, and nothing here prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.report.document import content_of
from sparsemark.report.findings import findings, headlines
from sparsemark.report.renderers import markdown as tables
from sparsemark.report.renderers.terminal import as_terminal

if TYPE_CHECKING:
    from sparsemark.records.run import Run

__all__ = ["DEFAULT_WIDTH", "FORMATS", "findings", "headlines", "render"]

FORMATS = ("table", "markdown", "csv", "html")

DEFAULT_WIDTH = 120
"""Columns of a report that goes to a file or a pipe."""


def render(run: Run, form: str = "table", *, width: int = DEFAULT_WIDTH, colour: bool = False) -> str:
    """Write a run as text that ends in a newline.

    Args:
        run: what was measured.
        form: one of `FORMATS`.
        width: of the terminal, in columns; `table` only.
        colour: whether to use the terminal's escape sequences; `table` only.

    Raises:
        UserError: there is no such format.
    """
    if form == "table":
        return as_terminal(content_of(run), width=width, colour=colour)
    if form == "markdown":
        return tables.as_markdown(content_of(run))
    if form == "html":
        return tables.as_html(content_of(run))
    if form == "csv":
        return tables.as_csv(run.measurements)
    raise UserError(f"--format {form!r}: expected one of {', '.join(FORMATS)}")
