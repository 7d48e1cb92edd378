"""Report as one page that loads nothing: the answer, charts that filter with the table, and every condition."""

from __future__ import annotations

from sparsemark.report.page.comparison import as_comparison_page
from sparsemark.report.page.index import Entry, as_index
from sparsemark.report.page.render import as_page

__all__ = ["Entry", "as_comparison_page", "as_index", "as_page"]
