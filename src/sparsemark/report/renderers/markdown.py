"""A report's content as Markdown, HTML page or CSV: pure functions that return text."""

from __future__ import annotations

import dataclasses
import html
from typing import TYPE_CHECKING, Any

from sparsemark.records.measurement import Measurement
from sparsemark.report.document import NUMBERS, sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sparsemark.report.document import Content

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


def as_markdown(content: Content) -> str:
    """Write the report as GitHub's Markdown."""
    blocks = ["\n".join(f"**{escape(line)}**  " for line in content.headlines)]
    if content.rows:
        rows = [
            [f"**{escape(text)}**" if row.is_reference else escape(text) for text in row.texts] for row in content.rows
        ]
        blocks.append(markdown_table(content.columns, rows, right=NUMBERS))
    for title, lines in sections(content):
        blocks.append(f"### {title}\n\n" + "\n".join(f"- {escape(line)}" for line in lines))
    return "\n\n".join(blocks) + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Write a Markdown table of texts that are escaped already."""
    rule = ["---:" if column in right else "---" for column in columns]
    return "\n".join("| " + " | ".join(texts) + " |" for texts in (columns, rule, *rows))


def escape(text: str) -> str:
    """Make text safe inside a Markdown table."""
    text = html.escape(" ".join(text.split()), quote=False)
    for character in "\\`*_[]|":
        text = text.replace(character, f"\\{character}")
    return text


def as_html(content: Content) -> str:
    """Write the report as one page that loads nothing."""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>sparsemark report</title><style>{_STYLE}</style></head><body>",
        *(f'<p class="headline">{html.escape(line)}</p>' for line in content.headlines),
    ]
    if content.rows:
        lines.append("<table><thead><tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in content.columns))
        lines.append("</tr></thead><tbody>")
        for row in content.rows:
            classes = " ".join(name for name in (row.tone, "reference" if row.is_reference else "") if name)
            cells = zip(content.columns, row.texts, strict=True)
            lines.append(f'<tr class="{classes}">' + "".join(_html_cell(*cell) for cell in cells) + "</tr>")
        lines.append("</tbody></table>")
    for title, texts in sections(content):
        tag = "footer" if texts is content.conditions else "section"
        items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
        lines.append(f"<{tag}><h2>{title}</h2><ul>{items}</ul></{tag}>")
    return "\n".join([*lines, "</body></html>", ""])


def _html_cell(column: str, text: str) -> str:
    classes = ("number " if column in NUMBERS else "") + ("speedup" if column.startswith("speedup") else "")
    return f'<td class="{classes.strip()}">{html.escape(text)}</td>'


def as_csv(measurements: Sequence[Measurement]) -> str:
    """Write every field of every row but the raw samples, unrounded, absent as empty; failed cells are rows too."""
    fields = [f.name for f in dataclasses.fields(Measurement) if f.name not in ("samples_s", "reference_s")]
    # The images stand beside the number that was taken on them.
    fields.remove("accuracy_source")
    fields.insert(fields.index("accuracy"), "accuracy_source")
    return _csv([{field: getattr(m, field) for field in fields} for m in measurements], fields)


def layers_csv(layers: Iterable[Mapping[str, Any]]) -> str:
    """Write what is left in each layer of each variant, a row a layer."""
    return _csv(list(layers), None)


def _csv(rows: Sequence[Mapping[str, Any]], fields: Sequence[str] | None) -> str:
    import pandas as pd

    # As objects: pandas would turn whole numbers beside an absent one into fractions.
    columns = list(fields) if fields else None
    text: str = pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False, lineterminator="\n")
    return text
