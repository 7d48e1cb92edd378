"""A report as a piece of HTML for a page of another's."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from sparsemark.report.document import NUMBERS, sections
from sparsemark.report.front import SPEEDUP, TITLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.report.document import Content
    from sparsemark.report.front import Front


def as_fragment(content: Content) -> str:
    """Write the report as one element, which takes its style from the page that it is put into."""
    return "\n".join(["<div>", *_body(content), "</div>", ""])


def _body(content: Content) -> list[str]:
    lines = [f'<p class="headline">{html.escape(line)}</p>' for line in content.headlines]
    if content.advice:
        lines.append(f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in content.advice)}</ul>")
    if content.front.rows:
        lines.append(f"<h2>{html.escape(TITLE)}</h2>")
        lines += [*_front(content.front), f"<p>{html.escape(content.front.legend)}</p>"]
    if content.rows:
        lines.append("<table><thead><tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in content.columns))
        lines.append("</tr></thead><tbody>")
        for row in content.rows:
            classes = " ".join(name for name in (row.tone, "reference" if row.is_reference else "") if name)
            cells = zip(content.columns, row.texts, strict=True)
            lines.append(f'<tr class="{classes}">' + "".join(_cell(*cell) for cell in cells) + "</tr>")
        lines.append("</tbody></table>")
    lines += [f"<p>{html.escape(line)}</p>" for line in content.remarks]
    for title, texts in sections(content):
        tag = "footer" if texts is content.conditions else "section"
        items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
        lines.append(f"<{tag}><h2>{title}</h2><ul>{items}</ul></{tag}>")
    return lines


def _front(front: Front) -> Iterator[str]:
    yield "<table><thead><tr>" + "".join(f"<th>{html.escape(column)}</th>" for column in front.columns)
    yield "</tr></thead><tbody>"
    for row in front.rows:
        yield "<tr>" + "".join(_cell(*cell) for cell in zip(front.columns, row, strict=True))
    yield "</tbody></table>"


def _cell(column: str, text: str) -> str:
    classes = ("number " if column in NUMBERS else "") + ("speedup" if column == SPEEDUP else "")
    return f'<td class="{classes.strip()}">{html.escape(text)}</td>'
