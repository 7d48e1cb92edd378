"""Runs whose truth is known: latencies are drawn, with noise that wanders as a shared machine's does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.analysis.statistics import summarise
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote, Score
from sparsemark.specs import Pruning

if TYPE_CHECKING:
    from collections.abc import Sequence

REFERENCE_MS = 15.0
BLOCK = 8
MACHINE = {
    "cpu_model": "Imaginary CPU",
    "cpu_count": 2,
    "cpu_flags": "avx2",
    "kernel": "6.1",
    "python": "3.11.7",
    "versions": {"torch": "2.13.0", "onnxruntime": "1.22.0"},
}

TRUE_MS = {
    ("torch", "mask"): lambda s: 23.0,
    ("onnxruntime", "mask"): lambda s: 15.0,
    ("ncnn", "mask"): lambda s: 7.4,
    ("torch-csr", "mask"): lambda s: 62.0 - 30 * s,
    ("scipy-csr", "mask"): lambda s: 58.0 - 26 * s,
    ("direct-csr", "mask"): lambda s: 1.8 + 14 * (1 - s),
    ("torch", "channels"): lambda s: 23.0 * (1 - 0.8 * s),
    ("onnxruntime", "channels"): lambda s: 15.0 * (1 - 0.83 * s),
    ("ncnn", "channels"): lambda s: 7.4 * (1 - 0.8 * s),
}
"""Milliseconds as a function of sparsity, roughly as on the machine of DESIGN."""

FORMAT = {"torch": "dense", "torch-csr": "csr", "scipy-csr": "csr", "direct-csr": "csr"}


def wander(rng: np.random.Generator, n: int, scale: float, memory: float) -> np.ndarray:
    """AR(1) noise of standard deviation `scale`."""
    steps = rng.normal(0, scale * np.sqrt(1 - memory**2), n)
    noise = np.empty(n)
    noise[0] = rng.normal(0, scale)
    for i in range(1, n):
        noise[i] = memory * noise[i - 1] + steps[i]
    return noise


def samples(
    rng: np.random.Generator, ms: float, *, pairs: int = 20, process: float = 0.005, call: float = 0.02
) -> tuple[list[float], list[float]]:
    """Seconds of candidate and reference, in pairs of blocks.

    Args:
        ms: true time of the candidate; the reference takes `REFERENCE_MS`.
        process: standard deviation between processes of one binary, which no block of one run can show.
        call: standard deviation of single calls.
    """
    machine = np.repeat(wander(rng, pairs, 0.01, 0.9), BLOCK)  # felt by both
    own = np.repeat(wander(rng, pairs, 0.005, 0.5), BLOCK)  # felt by one
    offset = rng.normal(0, process)
    n = pairs * BLOCK
    candidate = ms * np.exp(machine + own + offset + np.abs(rng.normal(0, call, n)))
    reference = REFERENCE_MS * np.exp(machine + np.abs(rng.normal(0, call, n)))
    return list(candidate / 1e3), list(reference / 1e3)


def timed(name: str, candidate: Sequence[float], reference: Sequence[float], **fields: Any) -> Measurement:
    """A measured cell of these raw seconds."""
    summary = dataclasses.asdict(summarise(candidate, reference, BLOCK))
    common = {"threads": 1, "batch": 1, "block": BLOCK, "speedup_reference": "cnn9-dense-seed0-onnxruntime"}
    fields = common | summary | fields
    return Measurement(name, "measured", samples_s=tuple(candidate), reference_s=tuple(reference), **fields)


def accuracy(value: float, **more: Any) -> dict[str, Score]:
    """Scores of a cell with the one metric that every run here has, gated to one point; `more` goes to the Score."""
    return {"accuracy": Score(value, **({"tolerance": 0.01} | more))}


def cell(
    noise: int = 0, ms: float = REFERENCE_MS, name: str = "cnn9-dense-seed0-onnxruntime", **fields: Any
) -> Measurement:
    """One measured cell; `fields` go to `samples` if they are its own, else to the Measurement."""
    options = {key: fields.pop(key) for key in ("pairs", "process", "call") if key in fields}
    return timed(name, *samples(np.random.default_rng(noise), ms, **options), **fields)


def study_run(
    seed: int = 0, model: str = "cnn9", source: str = "LGG, 22 test patients", caveat: str | None = None
) -> Run:
    """A small study: masks, channels, three sorts of engine, controls, failures.

    Args:
        seed: of the noise.
        model: its name.
        source: of the scores, in words.
        caveat: of these data.
    """
    rng = np.random.default_rng(seed)
    rows = []

    def add(method: str, sparsity: float, engine: str, control: str | None = None, **more: Any) -> None:
        kind = "channels" if "channels" in method else "mask"
        ms = TRUE_MS[engine, kind](sparsity)
        left = 1 - sparsity if kind == "channels" else 1.0
        lost = {0.0: 0.0, 0.3: -0.003, 0.5: 0.001, 0.7: 0.006, 0.9: 0.035}[sparsity] * (3 if method == "random" else 1)
        raw = max(0.35, 0.88 - lost * 12)
        fields = {
            "model": model, "method": method, "pruning": Pruning.of(method, sparsity).text,
            "sparsity_target": sparsity, "engine": engine, "control": control, "precision": "fp32", "launches": 1,
            "seed": 0, "format": FORMAT.get(engine, "onnx"), "sparsity": sparsity,
            "parameters": int(1e6 * left), "artifact_bytes": int(4_000_000 * left),
            "scores": accuracy(
                0.88 - lost, low=0.85 - lost, high=0.905 - lost, raw=raw, recalibrated=(raw + 0.88 - lost) / 2
            ),
            "data": DataNote(source, caveat), "engine_agreement": 1.0, "parity_data": DataNote(source, caveat),
        }  # fmt: skip
        label = "dense" if method == "none" else f"{method}{100 * sparsity:g}"
        name = f"{model}-{label}-seed0-{engine}" + (f"-{control}" if control else "")
        fields["speedup_reference"] = name if control else f"{model}-dense-seed0-onnxruntime"
        rows.append(timed(name, *samples(rng, ms, process=0.002), **(fields | more)))

    for engine in ("onnxruntime", "torch", "ncnn", "torch-csr", "scipy-csr"):
        add("none", 0.0, engine)
    for sparsity in (0.3, 0.5, 0.7, 0.9):
        for engine in ("onnxruntime", "torch", "ncnn", "torch-csr", "scipy-csr", "direct-csr"):
            add("magnitude", sparsity, engine)
        for engine in ("onnxruntime", "torch", "ncnn"):
            add("channels", sparsity, engine)
        add("random", sparsity, "onnxruntime")
    add("all-ones", 0.0, "onnxruntime")
    add("none", 0.0, "onnxruntime", control="aa")
    rows += [
        Measurement(
            f"{model}-magnitude90-seed0-openvino", "parity_failed", "max |d| is 2.1e-03, allowed 1e-05",
            model=model, method="magnitude", sparsity_target=0.9, engine="openvino",
        ),
        Measurement(
            f"{model}-channels90-seed0-torch-csr", "unsupported", "grouped convolution has no CSR product",
            model=model, method="channels", sparsity_target=0.9, engine="torch-csr",
        ),
    ]  # fmt: skip
    commit = {"id": "0123456789abcdef", "dirty": False}
    return Run(tuple(rows), MACHINE, commit, "2026-01-02T03:04:05+00:00")
