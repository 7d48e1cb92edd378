"""Table of all cells on a page: its columns in the order in which a narrow screen can do without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.report import trust, wording
from sparsemark.report.document import NUMBERS
from sparsemark.report.front import FRONT, SPEEDUP

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sparsemark.report.document import Content, Row

_SORTED_BY = {"removed": "removed", SPEEDUP: "speedup", "p50 ms": "ms", "size": "bytes"}
"""Columns that are sorted by a number of the record in place of their text."""

_MODEL, _PRUNED = "model", "pruned"
_CLASSES = {SPEEDUP: "speedup", _PRUNED: "pruned"}
"""Columns that the style sheet knows."""

_NAMING = (_MODEL, _PRUNED, "engine", "precision", "batch", "threads", "seed", "fold")
"""Columns that tell cells apart; they come first, and stay where they are empty."""

_AFTER = (trust.COLUMN, FRONT, "p50 ms", "p90 ms", "images/s", "removed", "size")
"""Columns behind the speedup and the score, which answer the question."""


@dataclass(frozen=True)
class Cell:
    """One text of the table.

    Args:
        text: as shown.
        value: what it is sorted by, None where that is the text.
        classes: of the style sheet.
        grade: of trust, of which the text is the mark; empty for other columns.
        why: what lowered it.
    """

    text: str
    value: float | str | None
    classes: str
    grade: str = ""
    why: str = ""


def cells_table(content: Content, records: Sequence[Mapping[str, Any]], held: Collection[str]) -> dict[str, Any]:
    """Return titles and rows of the table, with what each column is sorted by, and what its marks mean.

    Columns that are empty in every row are left out.

    Args:
        content: of the report.
        records: of its cells.
        held: names of the cells whose score was held against the dense one; colour judges no others.
    """
    known = {record["name"]: record for record in records}
    several = len({record["model"] for record in records}) > 1
    texts = [dict(zip(content.columns, row.texts, strict=True)) | {trust.COLUMN: row.trust}
             for row in content.rows]  # fmt: skip
    shown = [
        column
        for column in _ordered((*content.columns, trust.COLUMN))
        if (several or column != _MODEL) and (column in _NAMING or any(row[column] != wording.ABSENT for row in texts))
    ]
    return {
        "columns": [(column, _classes(column)) for column in shown],
        "rows": [
            _row(row, own, known[row.name], shown, is_held=row.name in held)
            for row, own in zip(content.rows, texts, strict=True)
        ],
        "legend": tuple(_legend(content, texts, shown, is_scored=bool(held))),
    }


def _ordered(columns: Sequence[str]) -> list[str]:
    """Return columns that name the cell, then speedup, score, and what fewer readers need."""
    answers = [column for column in columns if column not in (*_NAMING, *_AFTER)]
    return [*(one for one in _NAMING if one in columns), *answers, *(one for one in _AFTER if one in columns)]


def _classes(column: str) -> str:
    names = (["number"] if column in NUMBERS else []) + ([_CLASSES[column]] if column in _CLASSES else [])
    return " ".join(names)


def _row(
    row: Row, texts: Mapping[str, str], record: Mapping[str, Any], shown: Sequence[str], *, is_held: bool
) -> dict[str, Any]:
    cells = []
    for column in shown:
        value: float | str | None = None
        if field := _SORTED_BY.get(column):
            found = record[field]
            number = found[0] if isinstance(found, list) else found
            value = "" if number is None else number
        text = texts[column].replace(" %", "\u00a0%") if column == _PRUNED else texts[column]
        grade, why = (record["grade"], record["why"]) if column == trust.COLUMN else ("", "")
        cells.append(Cell(text, value, _classes(column), grade, why))
    marks = row.tone, "reference" if row.is_reference else "", "" if is_held else "unscored"
    classes = " ".join(mark for mark in marks if mark)
    return {"name": row.name, "cells": cells, "classes": classes}


def _legend(
    content: Content, texts: Sequence[Mapping[str, str]], shown: Sequence[str], *, is_scored: bool
) -> Iterator[str]:
    """Yield what the marks of the table mean, of those that it has."""
    if any(row.tone for row in content.rows):
        yield (
            "speedup: green is faster than the reference, red slower, with the score kept; the others are "
            "not told apart from it, or do not keep the score"
        )
    if not is_scored:
        yield "speed only: no row has a score to keep, so no speedup is coloured as good or bad"
    yield trust.LEGEND
    if any(row.get(FRONT, "").startswith("by ") for row in texts) and FRONT in shown:
        yield "front: F1 is the fastest row that no other beats; by F1: beaten by that row"
    if any("(x" in row[_PRUNED] for row in texts):
        yield "(x16): channels in multiples of 16"
    if any("channels" in row[_PRUNED] for row in texts):
        yield "pruned says what was asked for, removed what is gone: channels are whole"
