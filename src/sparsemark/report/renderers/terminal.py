"""Report for a terminal: the answer, the front, one table, and the lists below it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement as Extent
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sparsemark.report.document import FASTER, NUMBERS, SLOWER, sections
from sparsemark.report.front import SPEEDUP, TITLE
from sparsemark.report.trust import COLUMN as COLUMN_OF_TRUST
from sparsemark.report.trust import LEGEND as LEGEND_OF_TRUST

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sparsemark.report.document import Content, Row

DEFAULT_WIDTH = 120
"""Columns of a report that goes to a file or a pipe."""

_COLOURS = {FASTER: "green", SLOWER: "red"}
_FOLDED = ("model", "pruned", "engine")  # columns of the front that hold no numbers
_GAP = 3  # columns between two columns of a table
_LONGEST_WORD = 24  # columns of a word that is never broken
_UNBOUNDED = 10_000  # columns: wider than any table


def as_terminal(content: Content, *, width: int | None, colour: bool, whole_report: bool = True) -> str:
    """Write the report for a terminal of `width` columns, with escape sequences if `colour`.

    Without a width no column is left out, and only text is broken, at `DEFAULT_WIDTH`. Without `whole_report` the lists
    below the table are named, but for what did not run.
    """
    parts: list[RenderableType] = [Text(line, style="bold") for line in content.headlines]
    parts += [Padding(Text(line), (0, 0, 0, 2)) for line in content.advice]
    if content.front.rows:
        front = content.front
        whole = [column for column in front.columns if column not in _FOLDED]
        parts.append(Text(f"\n{TITLE}", style="bold"))
        parts.append(grid(front.columns, front.rows, whole=whole, right=NUMBERS))
        parts.append(Text(front.legend, style="dim"))
    if content.rows:
        titles = _titles(content)
        columns = titles if width is None else _fitting(content, width)
        parts += [Text(), _table(content, columns)]
        if left_out := [column for column in titles if column not in columns]:
            parts.append(Text(f"too narrow for: {', '.join(left_out)}", style="dim"))
        parts += [Text(line, style="dim") for line in (LEGEND_OF_TRUST, *content.remarks)]
    folded = []
    for title, lines in sections(content):
        if not whole_report and lines is not content.failures:
            folded.append(re.split(r": | \(", title)[0].lower())
            continue
        style = "dim" if lines is content.conditions else ""
        parts += [
            Text(f"\n{title}", style="bold"),
            *(Padding(Text(f"- {line}", style), (0, 0, 0, 2)) for line in lines),
        ]
    if folded:
        parts.append(Text(f"\n--all adds: {', '.join(folded)}", style="dim"))
    return draw(parts, width=width or DEFAULT_WIDTH, colour=colour)


def _titles(content: Content) -> list[str]:
    """Return the columns of the table: those of the content, and how far the speedup can be trusted beside it."""
    place = content.columns.index(SPEEDUP) + 1
    return [*content.columns[:place], COLUMN_OF_TRUST, *content.columns[place:]]


def _texts(content: Content, row: Row) -> dict[str, str]:
    return dict(zip(content.columns, row.texts, strict=True)) | {COLUMN_OF_TRUST: row.trust}


def _fitting(content: Content, width: int) -> list[str]:
    """Return the columns that fit; the least needed are left out first."""
    shown = [_texts(content, row) for row in content.rows]
    widths = {
        column: max(*map(len, column.split(" (")), *(len(texts[column]) for texts in shown)) + _GAP
        for column in _titles(content)
    }
    models = {row.texts[content.columns.index("model")] for row in content.rows}
    for column in ("p90 ms", "removed", *(["model"] if len(models) == 1 else []), "size"):
        if sum(widths.values()) > width:
            widths.pop(column, None)
    return list(widths)


def _table(content: Content, columns: Sequence[str]) -> Table:
    rows = []
    for row in content.rows:
        texts = _texts(content, row)
        tone = _COLOURS.get(row.tone, "")
        rows.append([Text(texts[column], tone if column == SPEEDUP else "") for column in columns])
    styles = ["reverse" if row.is_reference else "" for row in content.rows]
    return grid(columns, rows, whole=columns, right=NUMBERS, styles=styles)


def grid(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    whole: Collection[str] = (),
    right: Collection[str] = (),
    styles: Sequence[str] = (),
) -> Table:
    """Return a table.

    Args:
        columns: titles.
        rows: texts in their order; brackets in them are brackets, not rich's markup.
        whole: columns that are never folded: half a number would be another number.
        right: columns set to the right.
        styles: one for each row, or none at all.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold")
    texts = {column: [column, *(str(row[index]) for row in rows)] for index, column in enumerate(columns)}
    words = [word for column in columns if column not in whole for text in texts[column] for word in text.split()]
    least = min(_LONGEST_WORD, max(map(cell_len, words), default=0))
    for column in columns:
        title = column.replace(" (", "\n(")  # a long title must not make its column wider than the numbers
        longest = max(map(cell_len, [*title.splitlines(), *texts[column][1:]]))
        # Rich shrinks the widest columns alike, below their own least width too, and would then crop what stands to the
        # right: whole columns have a fixed width, the others a least width in common.
        table.add_column(
            title,
            justify="right" if column in right else "left",
            overflow="fold",
            width=longest if column in whole else None,
            min_width=None if column in whole else min(longest, least),
        )
    for index, row in enumerate(rows):
        cells = [Text(text) if isinstance(text, str) else text for text in row]
        table.add_row(*cells, style=styles[index] if styles else "")
    return table


def draw(parts: Sequence[RenderableType], *, width: int, colour: bool) -> str:
    """Return what rich can draw as text, wider than `width` where a number would be cut otherwise."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=colour, no_color=not colour, legacy_windows=False)
    group = Group(*parts)
    needed = Extent.get(console, console.options.update(max_width=_UNBOUNDED), group).minimum
    console.width = max(width, needed)
    console.print(group)
    text = "\n".join(line.rstrip() for line in file.getvalue().splitlines())
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"
