"""A report as GitHub's Markdown, and the Markdown that other texts are made of."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from sparsemark.report.document import NUMBERS, sections
from sparsemark.report.front import SPEEDUP, TITLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.report.document import Content


_MARKS = re.compile(r"[\\`*_\[\]|~$#]")
"""Characters with a meaning within a line."""


def as_markdown(content: Content) -> str:
    """Write the report as GitHub's Markdown."""
    blocks = ["\n".join(f"**{escape(line)}**  " for line in content.headlines)]
    if content.advice:
        blocks.append("\n".join(f"- {escape(line)}" for line in content.advice))
    if content.front.rows:
        titles = [column if column == SPEEDUP else escape(column) for column in content.front.columns]
        members = [[escape(text) for text in row] for row in content.front.rows]
        blocks += [f"### {escape(TITLE)}", markdown_table(titles, members, right=NUMBERS), escape(content.front.legend)]
        blocks.append("### All rows")
    if content.rows:
        rows = [
            [f"**{escape(text)}**" if row.is_reference else escape(text) for text in row.texts] for row in content.rows
        ]
        # The name of a metric is its task's; a bracket without a link after it needs no escape.
        columns = [column if column == SPEEDUP else escape(column) for column in content.columns]
        blocks.append(markdown_table(columns, rows, right=NUMBERS))
    blocks += map(escape, content.remarks)
    for title, lines in sections(content):
        blocks.append(f"### {title}\n\n" + "\n".join(f"- {escape(line)}" for line in lines))
    return "\n\n".join(blocks) + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Write a Markdown table of texts that are escaped already."""
    rule = ["---:" if column in right else "---" for column in columns]
    return "\n".join("| " + " | ".join(texts) + " |" for texts in (columns, rule, *rows))


def escape(text: str) -> str:
    """Return harmless text in which nothing is Markdown's or HTML's, and nobody is mentioned."""
    text = html.escape(text, quote=False)
    return _MARKS.sub(r"\\\g<0>", text).replace("@", "&#64;")
