"""Measurement: one cell of a run, as a frozen record."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - files are read by these annotations
from dataclasses import dataclass, field

from sparsemark.records.ranges import (  # noqa: TC001 - as above
    Count,
    Distance,
    Drift,
    Fraction,
    Milliseconds,
    Moment,
    Positive,
    Processors,
    Ratio,
    Seconds,
    Seed,
    Wait,
)
from sparsemark.records.scores import DataNote, Score  # noqa: TC001 - as above

MEASURED = "measured"
UNSUPPORTED = "unsupported"
PARITY_FAILED = "parity_failed"
ERROR = "error"
BETWEEN_NOTES = "; "
"""Between the notes of a row, each of which is a clause without one."""

CONSTANT = "its output no longer depends on its input"
"""Note on a pruned network that guesses, whatever it scores."""

NEVER_DEPENDED = "its output does not depend on its input"
"""Note on a network that guessed before anything was pruned."""

WHOLLY_DENSE = "the whole network dense in ONNX Runtime"
"""End of the note of `direct-csr` on a network that it hands over: nothing sparse runs."""

STATUSES = (MEASURED, UNSUPPORTED, PARITY_FAILED, ERROR)


@dataclass(frozen=True)
class Measurement:
    """One cell of a run. Absent is None, never a made-up number; sparsity is a fraction of zeros, 0 to 1.

    Seconds are raw: `samples_s` in the order of the calls, `reference_s` in the order of theirs, both in blocks of
    `block` calls; block i of the one is paired with block i of the other. `launch_pairs` says how many pairs each fresh
    process gave, in order; those of contaminated launches that were measured again are set aside. Times that end in
    `_ms` are derived from them. `held_from_s` and `held_until_s` enclose the times in which launches held their host.
    `yardstick_ms` is the median time of a fixed workload beside the cell, and
    `yardstick_spread` how far it moved between the ends of the launches, as a fraction.
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
    sparsity_target: Fraction | None = None
    round_to: Positive | None = None
    format: str | None = None
    engine: str | None = None
    precision: str | None = None
    threads: Positive | None = None
    batch: Positive | None = None
    seed: Seed | None = None
    fold: Count | None = None

    # what is left in it
    sparsity: Fraction | None = None
    mac_density: Fraction | None = None
    parameters: Count | None = None
    nonzeros: Count | None = None
    subnormals: Count | None = None
    dead_channels: Count | None = None
    artifact_bytes: Count | None = None
    compressed_bytes: Count | None = None

    # what it predicts: metrics by name, the first is the headline; data of the scores, and of the parity check
    scores: Mapping[str, Score] = field(default_factory=dict)
    data: DataNote | None = None
    parity_max_abs: Distance | None = None
    parity_max_rel: Distance | None = None
    engine_agreement: Fraction | None = None
    agreement_with_dense: Fraction | None = None
    disagreements: str | None = None
    parity_data: DataNote | None = None

    # what making it cost: choosing what to prune, and fine-tuning
    finetuning_epochs: Count | None = None
    preparation_s: Wait | None = None

    # how long it takes
    p50_ms: Milliseconds | None = None
    p90_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    samples: Count | None = None
    launches: Positive | None = None
    block: Positive | None = None
    speedup: Ratio | None = None
    speedup_low: Ratio | None = None
    speedup_high: Ratio | None = None
    speedup_reference: str | None = None
    reference_engine: str | None = None
    reference_sha256: str | None = None
    reference_p50_ms: Milliseconds | None = None
    reference_drift: Drift | None = None
    steal: Fraction | None = None
    waited: Fraction | None = None
    lock_wait_s: Wait | None = None
    yardstick_ms: Milliseconds | None = None
    yardstick_spread: Drift | None = None
    measured_at: str | None = None
    measured_commit: str | None = None
    peak_rss_bytes: Count | None = None

    # where, in a sweep over several hosts
    host: str | None = None
    host_class: str | None = None
    processor: str | None = None
    microcode: str | None = None
    boot_id: str | None = None
    cgroup_cpus: Processors | None = None
    cgroup_cpuset: str | None = None
    cgroup_memory_bytes: Count | None = None
    held_from_s: Moment | None = None
    held_until_s: Moment | None = None

    samples_s: tuple[Seconds, ...] = field(default=(), repr=False)
    reference_s: tuple[Seconds, ...] = field(default=(), repr=False)
    launch_pairs: tuple[Positive, ...] = field(default=(), repr=False)
    aside_samples_s: tuple[Seconds, ...] = field(default=(), repr=False)
    aside_reference_s: tuple[Seconds, ...] = field(default=(), repr=False)

    @property
    def pairs_of_launches(self) -> tuple[int, ...]:
        """Pairs of blocks of each launch; one launch where a file does not say."""
        if self.launch_pairs:
            return self.launch_pairs
        return (len(self.samples_s) // self.block,) if self.block and self.samples_s else ()

    @property
    def images_per_second(self) -> float | None:
        """Throughput: inputs a call over the median time of one; None without a latency."""
        return 1e3 * (self.batch or 1) / self.p50_ms if self.p50_ms else None

    @property
    def headline(self) -> tuple[str, Score] | None:
        """The first metric with its name, which tables show and choices go by; None without any score."""
        return next(iter(self.scores.items()), None)
