"""A report as one HTML page that loads nothing."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from sparsemark.report.document import NUMBERS, sections
from sparsemark.report.front import LEGEND, SPEEDUP, TITLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.report.document import Content
    from sparsemark.report.front import Front

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
.headline { font-size: 1.2rem; font-weight: 600; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
td.number { text-align: right; }
tr.reference { background: #eee; font-weight: 600; }
tr.faster td.speedup { color: #056b2e; }
tr.slower td.speedup { color: #a11212; }
footer { color: #555; font-size: .85rem; }
"""


def as_html(content: Content) -> str:
    """Write the report as an HTML document."""
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>sparsemark report</title><style>{_STYLE}</style></head><body>",
    ]
    return "\n".join([*head, *_body(content), "</body></html>", ""])


def as_fragment(content: Content) -> str:
    """Write the report as one element, which takes its style from the page that it is put into."""
    return "\n".join(["<div>", *_body(content), "</div>", ""])


def _body(content: Content) -> list[str]:
    lines = [f'<p class="headline">{html.escape(line)}</p>' for line in content.headlines]
    if content.advice:
        lines.append(f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in content.advice)}</ul>")
    if content.front.rows:
        lines.append(f"<h2>{html.escape(TITLE)}</h2>")
        lines += [*_front(content.front), f"<p>{html.escape(LEGEND)}</p>"]
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
