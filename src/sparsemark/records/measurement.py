"""Measurement: one cell of a run, as a frozen record."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - files are read by these annotations
from dataclasses import dataclass, field

from sparsemark.records.scores import DataNote, Score  # noqa: TC001 - as above

MEASURED = "measured"
UNSUPPORTED = "unsupported"
PARITY_FAILED = "parity_failed"
ERROR = "error"
STATUSES = (MEASURED, UNSUPPORTED, PARITY_FAILED, ERROR)


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
    notes: str | None = None

    # what it is
    model: str | None = None
    method: str | None = None
    pruning: str | None = None
    scope: str | None = None
    schedule: str | None = None
    control: str | None = None
    sparsity_target: float | None = None
    round_to: int | None = None
    format: str | None = None
    engine: str | None = None
    precision: str | None = None
    threads: int | None = None
    batch: int | None = None
    seed: int | None = None
    fold: int | None = None

    # what is left in it
    sparsity: float | None = None
    mac_density: float | None = None
    parameters: int | None = None
    nonzeros: int | None = None
    subnormals: int | None = None
    dead_channels: int | None = None
    artifact_bytes: int | None = None
    compressed_bytes: int | None = None

    # what it predicts: metrics by name, the first is the headline; data of the scores, and of the parity check
    scores: Mapping[str, Score] = field(default_factory=dict)
    data: DataNote | None = None
    parity_max_abs: float | None = None
    parity_max_rel: float | None = None
    engine_agreement: float | None = None
    agreement_with_dense: float | None = None
    disagreements: str | None = None
    parity_data: DataNote | None = None

    # how long it takes
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    samples: int | None = None
    launches: int | None = None
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
    measured_at: str | None = None
    measured_commit: str | None = None
    peak_rss_bytes: int | None = None

    samples_s: tuple[float, ...] = field(default=(), repr=False)
    reference_s: tuple[float, ...] = field(default=(), repr=False)

    @property
    def headline(self) -> tuple[str, Score] | None:
        """The first metric with its name, which tables show and choices go by; None without any score."""
        return next(iter(self.scores.items()), None)
