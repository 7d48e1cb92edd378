"""Measurement: one cell of a run, as a frozen record."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


SCHEMA = 1


MEASURED = "measured"


UNSUPPORTED = "unsupported"


PARITY_FAILED = "parity_failed"


ERROR = "error"


STATUSES = (MEASURED, UNSUPPORTED, PARITY_FAILED, ERROR)


SCORES = ("accuracy", "f1", "recall", "precision", "roc_auc")
"""Fields that say how well a network predicts."""


@dataclass(frozen=True)
class Measurement:
    """One cell of a run. Absent is None, never a made-up number; sparsity is a fraction of zeros, 0 to 1.

    Seconds are raw: `samples_s` in the order of the calls, `reference_s` in the order of theirs, both in blocks of
    `block` calls; block i of the one is paired with block i of the other. Times that end in `_ms` are derived from
    them.
    """

    name: str
    status: str
    reason: str | None = None

    # what it is
    model: str | None = None
    method: str | None = None
    scope: str | None = None
    schedule: str | None = None
    control: str | None = None
    sparsity_target: float | None = None
    round_to: int | None = None
    format: str | None = None
    engine: str | None = None
    threads: int | None = None
    batch: int | None = None
    seed: int | None = None

    # what is left in it
    sparsity: float | None = None
    mac_density: float | None = None
    parameters: int | None = None
    nonzeros: int | None = None
    subnormals: int | None = None
    dead_channels: int | None = None
    artifact_bytes: int | None = None
    compressed_bytes: int | None = None

    # what it predicts; `accuracy_source` names the images and the patients
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    accuracy_raw: float | None = None
    accuracy_recalibrated: float | None = None
    f1: float | None = None
    recall: float | None = None
    precision: float | None = None
    roc_auc: float | None = None
    accuracy_source: str | None = None
    parity_max_abs: float | None = None
    parity_max_rel: float | None = None
    agreement: float | None = None
    agreement_source: str | None = None
    disagreements: str | None = None

    # how long it takes
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    samples: int | None = None
    block: int | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    speedup_reference: str | None = None
    reference_engine: str | None = None
    reference_sha256: str | None = None
    reference_p50_ms: float | None = None
    reference_drift: float | None = None
    steal: float | None = None
    waited: float | None = None
    contaminated: str | None = None
    measured_at: str | None = None
    measured_commit: str | None = None
    peak_rss_bytes: int | None = None

    samples_s: tuple[float, ...] = field(default=(), repr=False)
    reference_s: tuple[float, ...] = field(default=(), repr=False)

    def extra_info(self) -> dict[str, float | int | str | None]:
        """The fields that go into pytest-benchmark's `extra_info`: all but the raw samples.

        `cell` is the name: pytest-benchmark's own names the test as well, and `sparsemark run` has none.
        """
        return {"schema": SCHEMA, "cell": self.name, **{name: getattr(self, name) for name in _INFO_FIELDS}}

    def to_benchmark(self) -> dict[str, Any]:
        """One entry of pytest-benchmark's `benchmarks`; every statistic is null where nothing was measured."""
        from pytest_benchmark.stats import Stats

        stats = Stats()
        for sample in self.samples_s:
            stats.update(sample)
        values = stats.as_dict() if self.samples_s else dict.fromkeys(Stats.fields)
        return {
            "group": self.model,
            "name": self.name,
            "fullname": self.name,
            "params": None,
            "param": None,
            "extra_info": self.extra_info(),
            "options": {},
            "stats": values | {"data": list(self.samples_s), "iterations": 1},
            "sparsemark": self.raw(),
        }

    def raw(self) -> dict[str, Any]:
        """The raw samples of the reference, in seconds, that stand beside pytest-benchmark's own."""
        return {"reference_data": list(self.reference_s)}

    @classmethod
    def from_benchmark(cls, entry: Mapping[str, Any]) -> Measurement:
        """Read one entry of `benchmarks`.

        Raises:
            ValueError: naming the field, where the entry is not one that `to_benchmark` could have made.
        """
        info = entry["extra_info"]
        if info["schema"] != SCHEMA:
            raise ValueError(f"extra_info.schema is {info['schema']!r}, this sparsemark reads {SCHEMA}")
        values = {name: info.get(name) for name in _INFO_FIELDS}
        if values["status"] not in STATUSES:
            raise ValueError(f"extra_info.status is {values['status']!r}, expected one of {', '.join(STATUSES)}")
        for name, value in values.items():
            kind = _INFO_KINDS[name]
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                raise ValueError(f"extra_info.{name} is {value!r}, expected {_KIND_NAMES[kind]} or null")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"extra_info.{name} is {value!r}, expected a finite number or null")
        stats, raw = _mapping(entry, "stats"), _mapping(entry, "sparsemark")
        return cls(
            name=_text(info, "cell") if "cell" in info else _text(entry, "name"),
            samples_s=_seconds(stats.get("data"), "stats.data"),
            reference_s=_seconds(raw.get("reference_data"), "sparsemark.reference_data"),
            **values,
        )


_INFO_FIELDS = tuple(
    f.name for f in dataclasses.fields(Measurement) if f.name not in ("name", "samples_s", "reference_s")
)


_KIND_NAMES: dict[type | tuple[type, ...], str] = {str: "text", int: "a whole number", (int, float): "a number"}


_INFO_KINDS: dict[str, type | tuple[type, ...]] = {
    f.name: str if "str" in str(f.type) else int if "int" in str(f.type) else (int, float)
    for f in dataclasses.fields(Measurement)
}


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}, expected text")  # noqa: TRY004 - a field's value, not an argument's type
    return value


def _mapping(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = entry.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {type(value).__name__}, expected an object")  # noqa: TRY004 - as above
    return value


def _seconds(values: Any, where: str) -> tuple[float, ...]:
    values = values or ()
    if not isinstance(values, list | tuple):
        raise ValueError(f"{where} is {values!r}, expected a list of seconds")  # noqa: TRY004 - as above
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ValueError(f"{where} holds {value!r}, expected seconds above 0")
    return tuple(float(value) for value in values)
