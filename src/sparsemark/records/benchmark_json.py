"""Result files: pytest-benchmark's JSON, with sparsemark's numbers in the `extra_info` of each benchmark."""

# History of the schema:
# 1: five metrics are fields; rows without a latency stand among `benchmarks`; contamination is prose.
# 2: metrics by name, with direction and tolerance; `precision` is the engine's; rows without a latency and notes on
#    engines stand in the document's `sparsemark`.

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from sparsemark.files import write_atomically
from sparsemark.records import flat_scores, schema_1, typed
from sparsemark.records.engine_note import EngineNote
from sparsemark.records.measurement import MEASURED, STATUSES, Measurement
from sparsemark.records.origin import Origin
from sparsemark.records.ranges import MEASUREMENT_ORDER, Positive
from sparsemark.records.scores import DataNote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SCHEMA = 2

_ORIGIN = "origin"
"""Field of the document's `sparsemark` object."""

_RAW_SECONDS = {
    "reference_s": "reference_data",
    "aside_samples_s": "aside_data",
    "aside_reference_s": "aside_reference_data",
}
"""Raw seconds that stand beside pytest-benchmark's own, with their names there."""

_NOT_SCALAR = ("scores", "data", "parity_data", "samples_s", "launch_pairs", *_RAW_SECONDS)
_FIELDS = tuple(f.name for f in dataclasses.fields(Measurement) if f.name not in ("name", *_NOT_SCALAR))
_NOTES = {"data": "score", "parity_data": "parity"}
"""Fields that hold a `DataNote`, with what the names in `extra_info` begin with."""

_NOTE_ENDS = {"words": "_data", "caveat": "_caveat", "key": "_data_key"}
_DERIVED = ("images_per_second",)
"""Written for other tools, and never read."""

_OF_NOTES = {start + end for start in _NOTES.values() for end in _NOTE_ENDS.values()}
_RESERVED = {"schema", "cell", *_FIELDS, *_DERIVED, *_OF_NOTES}

Info = dict[str, float | int | str | None]


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False).encode())


def notes(
    engines: Mapping[str, EngineNote], unmeasured: Sequence[Mapping[str, Any]], origin: Origin | None = None
) -> dict[str, Any]:
    """Return the document's `sparsemark` object.

    Args:
        engines: by name.
        unmeasured: entries of the rows without a latency: pytest-benchmark's own tools break on null statistics.
        origin: of the run, left out where it is None.
    """
    return {
        **({} if origin is None else {_ORIGIN: dataclasses.asdict(origin)}),
        "engines": {name: dataclasses.asdict(note) for name, note in engines.items()},
        "unmeasured": list(unmeasured),
    }


def origin_of(beside: Mapping[str, Any]) -> Origin | None:
    """Read the origin of a run from the document's `sparsemark` object; None where there is none.

    Raises:
        ValueError: naming the field that has another type.
    """
    where = f"sparsemark.{_ORIGIN}"
    values = typed.mapping(beside, _ORIGIN, where)
    if not values:
        return None
    reference = typed.scalar(values.get("reference"), str, f"{where}.reference")
    return typed.record({**values, "reference": reference}, Origin, {name: f"{where}.{name}" for name in values})


def engine_notes(beside: Mapping[str, Any]) -> dict[str, EngineNote]:
    """Read the notes on engines from the document's `sparsemark` object.

    Raises:
        ValueError: naming the field that has another type.
    """
    where = "sparsemark.engines"
    found = typed.mapping(beside, "engines", where)
    return {name: _engine_note(typed.mapping(found, name, f"{where}.{name}"), f"{where}.{name}") for name in found}


def _engine_note(values: Mapping[str, Any], where: str) -> EngineNote:
    return typed.record(values, EngineNote, {field: f"{where}.{field}" for field in values})


def is_timed(measurement: Measurement) -> bool:
    """Return whether a row has statistics, and so stands in `benchmarks`."""
    return measurement.status == MEASURED and bool(measurement.samples_s)


def to_benchmark(measurement: Measurement) -> dict[str, Any]:
    """Return one entry of pytest-benchmark's `benchmarks`; every statistic is null where nothing was measured."""
    from pytest_benchmark.stats import Stats

    stats = Stats()
    for sample in measurement.samples_s:
        stats.update(sample)
    values = stats.as_dict() if measurement.samples_s else dict.fromkeys(Stats.fields)
    return {
        "group": measurement.model,
        "name": measurement.name,
        "fullname": measurement.name,
        "params": None,
        "param": None,
        "extra_info": extra_info(measurement),
        "options": {},
        "stats": values | {"data": list(measurement.samples_s), "iterations": 1},
        "sparsemark": raw(measurement),
    }


def extra_info(measurement: Measurement) -> Info:
    """Return what goes into pytest-benchmark's `extra_info`: plain numbers and text, all but the raw samples.

    `cell` is the name: pytest-benchmark's own names the test as well, and `sparsemark run` has none.
    """
    info: Info = {"schema": SCHEMA, "cell": measurement.name}
    info |= {name: getattr(measurement, name) for name in (*_FIELDS, *_DERIVED)}
    info |= flat_scores.flattened(measurement.scores, _RESERVED)
    for field, start in _NOTES.items():
        note = getattr(measurement, field)
        info |= {start + end: getattr(note, part, None) for part, end in _NOTE_ENDS.items()}
    return info


def raw(measurement: Measurement) -> dict[str, Any]:
    """Return what stands beside pytest-benchmark's own: raw seconds, the pairs of each launch, scores in order."""
    seconds = {name: list(getattr(measurement, field)) for field, name in _RAW_SECONDS.items()}
    return {
        **{name: found for name, found in seconds.items() if found or name == _RAW_SECONDS["reference_s"]},
        "launch_pairs": list(measurement.launch_pairs),
        "scores": flat_scores.stored(measurement.scores),
    }


def from_benchmark(entry: Any) -> Measurement:
    """Read one entry of `benchmarks`, of this schema or an older one.

    Raises:
        ValueError: naming the field, where the entry is not one that `to_benchmark` could have made.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{typed.shown(entry)}, expected an object")  # noqa: TRY004 - a file's value, not an argument's type
    schema = typed.mapping(entry, "extra_info").get("schema")
    if isinstance(schema, bool) or schema not in (1, SCHEMA):
        raise ValueError(f"extra_info.schema is {typed.shown(schema)}, this sparsemark reads 1 and {SCHEMA}")
    return _read(schema_1.upgraded(entry) if schema == 1 else entry)


def _read(entry: dict[str, Any]) -> Measurement:
    info, stats, beside = (typed.mapping(entry, key) for key in ("extra_info", "stats", "sparsemark"))
    if info.get("status") not in STATUSES:
        status = typed.shown(info.get("status"))
        raise ValueError(f"extra_info.status is {status}, expected one of {', '.join(STATUSES)}")
    stored = typed.mapping(beside, "scores", "sparsemark.scores") if "scores" in beside else None
    scalars = {field: info.get(field) for field in _FIELDS} | {"name": _name(entry, info)}
    places = {field: f"extra_info.{field}" for field in scalars}
    return dataclasses.replace(
        typed.in_order(typed.record(scalars, Measurement, places), MEASUREMENT_ORDER, places),
        scores=flat_scores.read(info, stored, _RESERVED),
        data=_data_note(info, _NOTES["data"]),
        parity_data=_data_note(info, _NOTES["parity_data"]),
        samples_s=typed.seconds(stats.get("data"), "stats.data"),
        launch_pairs=_launch_pairs(beside, stats, scalars["block"]),
        **_raw_seconds(beside),
    )


def _raw_seconds(beside: Mapping[str, Any]) -> dict[str, Any]:
    return {field: typed.seconds(beside.get(name), f"sparsemark.{name}") for field, name in _RAW_SECONDS.items()}


def _launch_pairs(beside: Mapping[str, Any], stats: Mapping[str, Any], block: Any) -> tuple[int, ...]:
    """Return how many pairs each launch gave; empty where the file does not say.

    Raises:
        ValueError: it is no list of whole numbers from 1, or they are not those of the samples.
    """
    found, where = beside.get("launch_pairs"), "sparsemark.launch_pairs"
    if not found:
        return ()
    if not isinstance(found, list):
        raise ValueError(f"{where} is {typed.shown(found)}, expected a list")  # noqa: TRY004 - a file's value
    pairs = tuple(typed.scalar(value, Positive, where) for value in found)
    held = len(stats.get("data") or ())
    if not held:  # pytest-benchmark's saved runs come without raw samples
        return ()
    if isinstance(block, int) and block > 0 and sum(pairs) * block != held:
        raise ValueError(f"{where} are {sum(pairs)} blocks of {block}, expected as many as the {held} samples give")
    return pairs


def _name(entry: Mapping[str, Any], info: Mapping[str, Any]) -> Any:
    key, holder = ("cell", info) if "cell" in info else ("name", entry)
    if key not in holder:
        raise ValueError(f"{key!r} is missing")
    return typed.scalar(holder[key], str, key)


def _data_note(info: Mapping[str, Any], start: str) -> DataNote | None:
    values = {part: info.get(start + end) for part, end in _NOTE_ENDS.items()}
    if values["words"] is None:
        return None
    return typed.record(values, DataNote, {part: f"extra_info.{start}{end}" for part, end in _NOTE_ENDS.items()})
