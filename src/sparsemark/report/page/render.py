"""A run as a page: its content in words, cells as data, and the scripts and styles put in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.analysis.front import Bar, standings, with_folds_as_one
from sparsemark.records.measurement import MEASURED
from sparsemark.report import wording
from sparsemark.report.advice import NEXT
from sparsemark.report.break_even import break_even_table, reference_of
from sparsemark.report.conditions import environment, job, software
from sparsemark.report.deployment import Deployment
from sparsemark.report.document import NETWORKS, content_of, sections
from sparsemark.report.finding import NEGLIGIBLE, beside, findings_table
from sparsemark.report.findings import CONTROLS
from sparsemark.report.findings import TITLE as FINDINGS
from sparsemark.report.front import FRONT, SPREAD, places
from sparsemark.report.harmless import harmless_run
from sparsemark.report.headline import reference_name
from sparsemark.report.page import charts, layers, library, rows, vega
from sparsemark.report.page.cells import CONTROL, KINDS, cell_records, course
from sparsemark.report.page.colours import engine_colours
from sparsemark.report.page.files import written
from sparsemark.report.page.orders import OUTLINES, emphasis, orders
from sparsemark.report.page.static import static_figures
from sparsemark.report.page.summary import machine_tile, summaries
from sparsemark.report.page.table import cells_table
from sparsemark.report.scores import Scoring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sparsemark.analysis.front import Standing
    from sparsemark.records.run import Run
    from sparsemark.report.document import Content
    from sparsemark.report.layers import Layers
    from sparsemark.report.page.summary import Summary
    from sparsemark.report.wording import Notes

PARITY_LIMIT = 1e-5
"""Of float32, relative; `measurement.parity` decides by the same."""

_LINES = 6
"""Lines of a list below the table that stays unfolded."""


def as_page(
    run: Run, bar: Bar | None = None, deployment: Deployment | None = None, explained: Layers | None = None
) -> str:
    """Write a run as one HTML document that loads nothing.

    Args:
        run: what was measured.
        bar: what a network may lose and still keep its score; None takes each metric's own tolerance.
        deployment: where its files are; None where a result file is all that is known.
        explained: layers of its dense network and of a pruned one; None leaves them out.
    """
    content = content_of(run, bar, deployment)
    run = harmless_run(run)
    deployment = deployment or Deployment()
    judged = standings(run.measurements, bar or Bar())
    drawn = [one for one in with_folds_as_one(judged) if one.measurement.status == MEASURED]
    judged = [one for one in judged if one.measurement.status == MEASURED]
    held = {one.measurement.name for one in judged if one.dense is not None}
    scoring = Scoring.of(run.measurements)
    order = {row.name: place for place, row in enumerate(content.rows)}
    for rows_of in (judged, drawn):
        rows_of.sort(key=lambda one: min(order.get(m.name, len(order)) for m in one.cells))
    place = places(drawn)
    records = cell_records(judged, scoring, place, run.engines)
    points = cell_records(drawn, scoring, place, run.engines)
    interactive = library.is_installed() and bool(records)
    engines = list(dict.fromkeys(record["engine"] for record in records))
    found = summaries(run, bar, scoring, deployment)
    boxed = [text for summary in found if summary.deploy for text in (summary.deploy, summary.doubt) if text]
    advice = [line for line in content.advice if not any(text in line for text in boxed)]
    _name_folds(records, drawn)
    for record in (*records, *points):
        # A number stands for an engine: its registered name is shown to nobody.
        record["engine"] = engines.index(record["engine"])
        record["chosen"] = any(record["name"] in summary.cells for summary in found)
    data, view = _charts(records, points, drawn, scoring, run.engines) if records else ({}, {})
    if explained is not None and records:
        specs, values = layers.charts(explained)
        data["charts"] |= specs
        data["values"] = values
    return written(
        "page.html",
        data if interactive else None,
        engine_colours([engine or "-" for engine in engines], run.engines),
        content=content,
        title=", ".join(dict.fromkeys(record["model"] for record in records)) or "run",
        most_lines=_LINES,
        when=", ".join(filter(None, (f"measured {run.when[:10]}" if run.when else "", job(run.measured())))),
        machine=next(iter(environment(run.machine_info)), ""),
        summaries=found,
        steps=[line for line in advice if line.startswith(NEXT)],
        notes=[*_more(found), *(line for line in advice if not line.startswith(NEXT))],
        fitness=machine_tile(run),
        software=software(run.machine_info),
        table=cells_table(content, records, held),
        speed_only=not held,
        kinds=[kind for kind in KINDS if any(record["kind"] == kind for record in records)],
        control=CONTROL,
        shapes={kind: OUTLINES[shape] for kind, shape in charts.SHAPES.items()},
        engines=[wording.engine_name(name, run.engines) for name in engines],
        precisions=list(dict.fromkeys(record["precision"] for record in records)),
        networks=list(dict.fromkeys(record["model"] for record in records)),
        records=records,
        lists=[(title, lines) for title, lines in sections(content) if title in (NETWORKS, CONTROLS)],
        break_evens=break_even_table(run),
        findings=_what_it_says(content, run),
        figures=[] if interactive else static_figures(run),
        install=library.INSTALL,
        layers=None if explained is None else _layers(explained),
        **view,
    )


def _more(found: Sequence[Summary]) -> Iterator[str]:
    """Yield what the tiles leave out, a line each."""
    for summary in found:
        network = f"{summary.model}: " if len(found) > 1 else ""
        yield from (f"{network}{tile.number}: {tile.more}" for tile in summary.tiles if tile.more)


def _what_it_says(content: Content, run: Run) -> dict[str, Any]:
    """Return the findings as a table with its title, what its words mean, and the lines beside it."""
    columns, lines = findings_table(content.findings, reference_of(run.measured(), run.engines))
    words = (
        f"unchanged: the whole interval is within {100 * NEGLIGIBLE:g} % of 1x; faster and slower: on one side of it; "
        "not settled: neither; mixed: no verdict holds for more than half of the cells"
    )
    return {
        "title": FINDINGS,
        "lead": (
            "The verdict goes by the ratio in bold, which is over what stands below it. Numbers are those of the cell "
            "from which most was removed."
        ),
        "columns": columns,
        "rows": [(one.model, line) for one, line in zip(content.findings, lines, strict=True)],
        "beside": [words, *beside(content.findings)],
    }


def _name_folds(records: Sequence[dict[str, Any]], drawn: Sequence[Standing]) -> None:
    """Add to the record of each cell which fold it is, where its folds are drawn as one; empty for the others."""
    which = {
        m.name: wording.which(m, one.folds.unit) for one in drawn if one.folds is not None for m in one.folds.members
    }
    for record in records:
        record["fold"] = which.get(record["name"], "")


def _layers(explained: Layers) -> dict[str, Any]:
    """Return what the template shows of the layers."""
    return {
        "columns": [(column, place >= layers.TEXTS) for place, column in enumerate(layers.COLUMNS)],
        "rows": layers.table(explained),
        "totals": layers.totals(explained),
        "changes": layers.changes(explained),
        "charts": ((layers.TIME, "Time"), (layers.WORK, "Multiply-adds")),
    }


def _charts(
    records: Sequence[Mapping[str, Any]],
    drawn: Sequence[Mapping[str, Any]],
    judged: Sequence[Standing],
    scoring: Scoring,
    notes: Notes,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the data of the page's script, and which charts there are.

    Args:
        records: of the cells.
        drawn: points of the charts: folds as one, else a number, which is the place of its cell among the records.
        judged: what the points are of.
        scoring: of the run.
        notes: on its engines.
    """
    runners = {record["runner"]: record["engine"] for record in records}
    colour = vega.colours(list(runners), list(runners.values()))
    points = course(drawn, judged)
    order = {kind: place for place, kind in enumerate(KINDS)}
    titles = sorted({point["panel"] for point in points}, key=lambda title: (order[title.partition(":")[0]], title))
    panels = {f"course-{number}": title for number, title in enumerate(titles)}
    frames = _frames(drawn, judged, scoring, notes)
    for frame, course_axes in (
        (frames[model], own) for model, own in charts.panel_frames(drawn, points, panels).items()
    ):
        frame["panels"] = course_axes
    for model, ranked in orders(drawn, judged, points, panels).items():
        frames[model] |= ranked
    specs: dict[str, Any] = {}
    if any(record["score"] and record["speedup"] for record in records):
        specs["front"] = charts.front(colour)
        if any(frame["flat"] for frame in frames.values()):
            specs["pace"] = rows.pace(colour)
    specs |= {name: charts.speedup(kind, colour) for name, kind in panels.items()}
    paired = [record for record in records if record["blocks"]]
    if paired:
        specs["strip"] = charts.strip(colour)
    if any(record["ms"][1] is not None for record in records):
        specs["tails"] = rows.tails(colour)
    several = {one.measurement.name: wording.several(one.folds) for one in judged if one.folds is not None}
    place = {record["name"]: number for number, record in enumerate(records)}
    compared = {record["runner"] for record in records if record["parity"] is not None}
    if compared:
        specs["parity"] = charts.parity(colour, len(compared), PARITY_LIMIT)
    data = {
        "cells": records,
        "drawn": [
            {**record, "over": several[record["name"]], "facts": _facts(record, one, scoring)}
            if record["name"] in several else place[record["name"]]
            for record, one in zip(drawn, judged, strict=True)
        ],
        "course": points,
        "panels": panels,
        "charts": specs,
        "frames": frames,
        "emphasis": emphasis(),
        "metric": {record["model"]: scoring.scale(one.measurement.model).metric
                   for record, one in zip(drawn, judged, strict=True)},
    }  # fmt: skip
    has_p99 = any(record["ms"][2] is not None for record in records)
    view = {"specs": specs, "panels": panels, "paired": paired, "parity_limit": PARITY_LIMIT}
    ups = {frame["up"] for frame in frames.values()}
    up = f"{'Up' if True in ups else 'Down'} is better, right is faster" if len(ups) == 1 else "Right is faster"
    return data, view | {"means": list(dict.fromkeys(several.values())), "ways": up, "has_p99": has_p99}


def _facts(record: Mapping[str, Any], one: Standing, scoring: Scoring) -> list[tuple[str, str]]:
    """Return what is known of folds as one, and of each of them, as terms and texts."""
    scale, m = scoring.scale(one.measurement.model), one.measurement
    facts = [("pruned", record["pruned"]), ("over", wording.several(one.folds)), ("engine", record["runner"])]
    facts.append(("p50 ms", wording.milliseconds(m.p50_ms)))
    facts.append((SPREAD, wording.ratio(one.speedup) if one.speedup else wording.ABSENT))
    if one.score is not None:
        change = "" if one.dense is None else f" ({scale.change(one.score, one.dense, one.allowed)})"
        facts.append((f"{scale.title} (change{scale.points})", f"{scale.value(one.score.value)}{change}"))
    if record["place"]:
        facts.append((FRONT, record["place"]))
    if one.folds is not None:
        for cell in one.folds.members:
            score = scoring.score(cell)
            texts = [
                "" if cell.speedup is None else wording.bare_ratio(cell.speedup),
                scale.value(score.value) if score else "",
            ]
            facts.append((wording.which(cell, one.folds.unit), ", ".join(filter(None, texts))))
        if one.folds.disturbed:
            facts.append(("disturbed", f"{one.folds.disturbed} of {len(one.folds.members)} {one.folds.unit}"))
    return facts


def _frames(
    records: Sequence[Mapping[str, Any]], judged: Sequence[Standing], scoring: Scoring, notes: Notes
) -> dict[str, dict[str, Any]]:
    """Return the axes of each network's charts."""
    frames = {}
    for model in dict.fromkeys(record["model"] for record in records):
        own = [(record, one) for record, one in zip(records, judged, strict=True) if record["model"] == model]
        first = own[0][1].measurement
        scale = scoring.scale(first.model)
        scores = [scale.value(one.score.value) for record, one in own if one.score and record["kind"] != CONTROL]
        against = next((one for _, one in own if one.dense is not None and one.allowed is not None), None)
        dense = least = None
        keeps = ""
        if against is not None and against.dense is not None and against.allowed is not None:
            dense = scale.factor * against.dense.value
            sign = -1 if scale.higher_is_better else 1
            least = dense + sign * scale.factor * against.allowed
            keeps = f"keeps the score: {scale.within(against.allowed)}"
        frames[model] = charts.frame([record for record, _ in own], dense, least) | {
            "over": f"times as fast as {reference_name(first, notes)}",
            "score": scale.axis(wording.caveat(one.measurement.data) for _, one in own)
            + ("" if scale.higher_is_better else f" ({scale.direction})"),
            "up": scale.higher_is_better,
            "keeps": keeps,
            # Points on one level line leave a chart of the score empty.
            "flat": len(scores) > 1 and len(set(scores)) == 1,
        }
    return frames
