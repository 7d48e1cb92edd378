"""Verdicts on what pruning costs and saves: time of inference and training, bytes. Times hold on these processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.best_mix import FOLDS, mixes
from bench.paper_study import TIMED, timed
from bench.paper_verdicts import FAILS, HERE, HOLDS, OPEN, Verdict
from sparsemark.analysis.cells import dense_twin, is_control, is_dense, is_mask_only, is_structural
from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.machine.fingerprint import machine_name
from sparsemark.report import wording
from sparsemark.specs import FP32, INT8

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.paper_study import Study
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

_FASTER = 1.05
"""Ratio that a claim of speed must exceed, with its whole interval: pruning is not worth less."""

_LIGHT, _UNSEEN = 0.5, 0.01
"""Share of the dense file's bytes below which a file is lighter, and that of them which is no saving."""

_NOT_MEASURED = Verdict(OPEN, "not measured yet")
_PRECISIONS = {"32-true": "float32", "bf16-mixed": "bfloat16"}
_NO_INT8_TRAINING = "nothing is trained in int8: networks are quantised after their training"
_SHOWN = ("none", "block4:0.9")
"""Prunings whose int8 times stand beside the verdicts: none, and as many zeros as the paper's most, in blocks."""


def masks_are_faster(study: Study) -> Verdict:
    """1: dense engines only, as the paper ran it, each against itself without zeros; at 90 % zeros."""
    found, texts, launches = [], [], []
    for run in study.timings:
        for m in _masked(timed(run), "torch", "onnxruntime"):
            dense = dense_twin(m, timed(run))
            over = None if dense is None else speedup_over(m, dense)
            if over is not None:
                found.append(over)
                launches.append(m.launches or 1)
                texts.append(f"{wording.engine_name(m.engine, {})} {wording.ratio(over)} ({_where(run, m)})")
    if not found:
        return _NOT_MEASURED
    faster = [over.low > _FASTER for over in found]
    evidence = f"90 % zeros, each over the same engine without zeros: {'; '.join(texts)}"
    int8 = _in_int8(study, "onnxruntime", "openvino")
    beyond = f"no masked network was timed in int8 in a dense engine; {int8}" if int8 else ""
    if all(faster):
        return Verdict(
            HOLDS, f"every dense engine is over 5 % faster with its whole interval, {HERE}", evidence, beyond
        )
    excluded = sum(over.high < _FASTER for over in found)
    alone = any(faster) and max(count for count, is_shown in zip(launches, faster, strict=True) if is_shown) == 1
    why = (
        f"of {len(found)} cells in dense engines, a gain of 5 % is excluded by the interval of {excluded} and shown by "
        f"that of {sum(faster)}{', of a single process' if alone else ''}, {HERE}"
    )
    return Verdict(FAILS if excluded and not any(faster) else OPEN, why, evidence, beyond)


def _masked(cells: Iterable[Measurement], *engines: str) -> list[Measurement]:
    """Return the float32 cells of networks with 90 % zeros and every shape kept, in the order of the engines."""
    found = [
        m
        for m in cells
        if is_mask_only(m) and not is_control(m) and m.sparsity_target == 0.9 and m.precision in (None, FP32)
    ]
    return [m for engine in engines for m in found if m.engine == engine]


def _where(run: Run, m: Measurement) -> str:
    launches = f"{m.launches} process{'es' if m.launches != 1 else ''}" if m.launches else "processes not recorded"
    return f"{_model(m)}{machine_name(run.machine_info)}, {launches}, {m.samples} calls"


def _model(m: Measurement) -> str:
    return "" if m.model == TIMED else f"{m.model}, "


def _in_int8(study: Study, *engines: str) -> str:
    """Return the int8 times of the committed runs in some engines, over the dense reference in float32."""
    parts = []
    for run in study.timings:
        cells = [m for m in timed(run) if m.precision == INT8 and m.pruning in _SHOWN and m.engine in engines]
        parts += [
            f"{_pruned(m.pruning)} in {wording.runner(m, {})} {wording.ratio(over)} ({_where(run, m)})"
            for m in cells
            if (over := speedup_of(m)) is not None
        ]
    if study.mixes is not None and study.mixes.run is not None:
        names = {f"{wording.engine_name(engine, {})} int8" for engine in engines}
        parts += [
            f"{_pruned(mix.pruning)} in {mix.runner} {wording.ratio(mix.speedup)} "
            f"({machine_name(study.mixes.run.machine_info)}, {len(FOLDS)} networks, the span of their intervals)"
            for mix in mixes(study.mixes)
            if mix.speedup and mix.precision == INT8 and mix.pruning in _SHOWN and mix.runner in names
        ]
    return f"int8 over dense float32: {'; '.join(parts)}" if parts else ""


def _pruned(pruning: str | None) -> str:
    return "without zeros" if pruning == "none" else f"`{pruning}`"


def sparse_storage_is_faster(study: Study) -> Verdict:
    """2: against the dense reference: that is what a user would run instead."""
    textbook: list[Interval] = []
    direct: list[Interval] = []
    texts = []
    for run in study.timings:
        for m in _masked(timed(run), "scipy-csr", "torch-csr", "direct-csr"):
            over = speedup_of(m)
            if over is not None:
                (direct if m.engine == "direct-csr" else textbook).append(over)
                texts.append(f"{wording.engine_name(m.engine, {})} {wording.ratio(over)} ({_where(run, m)})")
    if not textbook or not direct:
        return _NOT_MEASURED
    slow, fast = all(one.high < 1 for one in textbook), all(one.low > _FASTER for one in direct)
    evidence = f"90 % zeros, over the dense network in ONNX Runtime: {'; '.join(texts)}"
    beyond = _in_int8(study, "direct-csr")
    if slow and fast:
        why = f"in an engine built for it; the sparse matrices of SciPy and PyTorch are slower than dense, {HERE}"
        return Verdict(HOLDS, why, evidence, beyond)
    if fast:
        return Verdict(HOLDS, f"an engine built for it is faster than dense, {HERE}", evidence, beyond)
    if slow and all(one.high < _FASTER for one in direct):
        why = f"no sparse matrix is 5 % faster than dense, and those of SciPy and PyTorch are slower, {HERE}"
        return Verdict(FAILS, why, evidence, beyond)
    why = f"not every cell of an engine built for it is told from the dense network, {HERE}"
    return Verdict(OPEN, why, evidence, beyond)


def lighter(study: Study) -> Verdict:
    """3: bytes of the file, masks and channels at 90 %, against the dense ONNX file; peak memory beside it."""
    dense = next((m for m in study.timed if is_dense(m) and m.engine == "onnxruntime" and m.control is None), None)
    rows = [
        *_masked(study.timed, "onnxruntime", "direct-csr"),
        *[m for m in study.timed if is_structural(m) and m.sparsity_target == 0.9 and m.engine == "onnxruntime"
          and m.precision in (None, FP32)][:1],
    ]  # fmt: skip
    if dense is None or dense.artifact_bytes is None or not rows:
        return _NOT_MEASURED
    texts = [f"{_as_file(m)} {wording.size(m.artifact_bytes)}{_memory(m)}" for m in (dense, *rows)]
    shares = {_as_file(m): m.artifact_bytes / dense.artifact_bytes for m in rows if m.artifact_bytes is not None}
    light = [name for name, share in shares.items() if share < _LIGHT]
    whole = [name for name, share in shares.items() if share > 1 - _UNSEEN]
    evidence = f"one network, exact bytes of its file, peak memory of a process in brackets: {'; '.join(texts)}"
    int8 = [m for m in study.timed if m.precision == INT8 and m.pruning == "none" and m.engine == "onnxruntime"]
    beyond = "; ".join(f"int8, without zeros: {wording.size(m.artifact_bytes)}" for m in int8[:1])
    none = f"; {wording.listed(whole)} saves none" if whole else ""
    if light:
        return Verdict(HOLDS, f"under half of the bytes: {wording.listed(light)}{none}", evidence, beyond)
    return Verdict(FAILS, f"no file has under half of the bytes{none}", evidence, beyond)


def _as_file(m: Measurement) -> str:
    return f"{wording.pruned(m)} as {m.format.upper() if m.format else '-'}"


def _memory(m: Measurement) -> str:
    return "" if m.peak_rss_bytes is None else f" ({wording.size(m.peak_rss_bytes)})"


def retraining_is_faster(study: Study) -> Verdict:
    """4: seconds an epoch of fine-tuning against those of the dense control."""
    names = {
        "no zeros": "cnn9-all-ones-seed0",
        "90 % zeros": "cnn9-magnitude90-seed0",
        "90 % as channels": "cnn9-channels90-seed0",
    }
    seconds = {what: found for what, name in names.items() if (found := study.seconds(name)) is not None}
    if len(seconds) < len(names):
        return Verdict(OPEN, "not recorded for all of them")
    text = "; ".join(f"{what} {found}" for what, found in seconds.items())
    return Verdict(
        OPEN,
        f"no table says what ran beside the epochs, so that no ratio of them stands, {HERE}",
        f"seconds of an epoch of fine-tuning, median [shortest, longest]: {text}",
        _NO_INT8_TRAINING,
    )


def resnet_is_slow(study: Study) -> Verdict:
    """12: seconds an epoch, of networks that were trained in the same way."""
    names = {"cnn9": "cnn9-dense-seed0", "ResNet3": "resnet3-dense-seed0", "U-Net": "unet-dense-seed0"}
    known = {what: found for what, name in names.items() if (found := study.seconds(name)) is not None}
    if len(known) < 2:
        return Verdict(OPEN, "not trained yet")
    text = "; ".join(f"{what} {found}" for what, found in known.items())
    other = [what for what in names if what not in known]
    elsewhere = f"; not on a processor: {', '.join(other)}" if other else ""
    trained = {what: study.precisions.get(names[what]) for what in known}
    said = [f"{what} in {_PRECISIONS.get(one or '', 'a precision not recorded')}" for what, one in trained.items()]
    unlike = f", and they were of two precisions: {wording.listed(said)}" if len(set(trained.values())) > 1 else ""
    return Verdict(
        OPEN,
        f"no table says what ran beside the epochs{unlike}, {HERE}",
        f"seconds of an epoch, median [shortest, longest]: {text}{elsewhere}",
        _NO_INT8_TRAINING,
    )
