"""Verdicts on what pruning costs and saves: time of inference and training, bytes. Times hold on these processors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.best_mix import FOLDS, mixes
from bench.paper.verdicts import FASTER, LIGHTER, OPEN, Part, Verdict, verdict
from bench.tables import MIXES, TIMED, timed
from sparsemark.analysis.cells import dense_twin, is_control, is_dense, is_mask_only, is_structural
from sparsemark.analysis.comparison import ONE_PROCESS, speedup_of, speedup_over
from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.folds import folds_of
from sparsemark.machine.fingerprint import machine_name
from sparsemark.report import wording
from sparsemark.specs import ALL_ONES, FP32, INT8

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.tables import Study
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

_NOT_MEASURED = Verdict(OPEN, "not measured yet")
_NO_INT8_TRAINING = "nothing is trained in int8: networks are quantised after their training"
_SHOWN = ("none", "block4:0.9")
"""Prunings whose int8 times stand beside the verdicts: none, and as many zeros as the paper's most, in blocks."""

_APART = "epochs of two networks were not run in turns, and no table says what ran beside them"
_PRECISIONS = {"32-true": "float32", "bf16-mixed": "bfloat16"}


def masks_are_faster_in_torch(study: Study) -> Verdict:
    """1a: in PyTorch, as the paper ran it."""
    return _masks_are_faster(study, "torch")


def masks_are_faster_in_onnxruntime(study: Study) -> Verdict:
    """1b: in an engine that people deploy with."""
    found = _masks_are_faster(study, "onnxruntime")
    int8 = _in_int8(study, "onnxruntime", "openvino")
    beyond = f"no network with zeros alone was timed in int8 in a dense engine; {int8}" if int8 else ""
    return Verdict(found.word, found.why, found.evidence, beyond)


def _masks_are_faster(study: Study, engine: str) -> Verdict:
    """1: 90 % zeros over the same engine without zeros, on each processor."""
    parts, controls = [], []
    for run in study.timings:
        cells = timed(run)
        for m in _masked(cells, engine):
            twin = dense_twin(m, cells)
            if twin is not None and (over := speedup_over(m, twin)) is not None:
                parts.append(_part(_machine(run, m), over, m))
            ones = next(
                (one for one in cells if (one.method, one.engine, one.model) == (ALL_ONES, engine, m.model)), None
            )
            if twin is not None and ones is not None and (over := speedup_over(ones, twin)) is not None:
                controls.append(f"{_machine(run, m)} {wording.ratio(over)}")
    if not parts:
        return _NOT_MEASURED
    more = f"to compare, a mask without one zero, which can change nothing: {', '.join(controls)}" if controls else ""
    return verdict(parts, "90 % zeros over the same engine without zeros", more=more, kind="cells")


def _masked(cells: Iterable[Measurement], *engines: str) -> list[Measurement]:
    """Return the float32 cells of networks with 90 % zeros and every shape kept, in the order of the engines."""
    found = [
        m
        for m in cells
        if is_mask_only(m) and not is_control(m) and m.sparsity_target == 0.9 and m.precision in (None, FP32)
    ]
    return [m for engine in engines for m in found if m.engine == engine]


def _part(name: str, over: Interval, m: Measurement) -> Part:
    """Return a ratio of times; the interval of one process is widened by what the next process may differ by."""
    wide = math.exp(ONE_PROCESS) if m.launches == 1 else 1.0
    ends = over.low / wide, over.high * wide
    text = "" if wide == 1 else f", judged as [{ends[0]:.2f}, {ends[1]:.2f}]"
    return Part(name, f"{wording.ratio(over)} ({_calls(m)}{text})", ends, FASTER)


def _calls(m: Measurement) -> str:
    launches = f"{m.launches} process{'es' if m.launches != 1 else ''}" if m.launches else "processes not recorded"
    return f"{launches}, {m.samples} calls{', disturbed' if contamination_of(m) else ''}"


def _machine(run: Run, m: Measurement) -> str:
    return f"{'' if m.model == TIMED else f'{m.model}, '}{machine_name(run.machine_info)}"


def _in_int8(study: Study, *engines: str) -> str:
    """Return the int8 times of the committed runs in some engines, over the dense reference in float32."""
    parts = []
    for run in study.timings:
        cells = [m for m in timed(run) if m.precision == INT8 and m.pruning in _SHOWN and m.engine in engines]
        parts += [
            f"{_pruned(m.pruning)} in {wording.runner(m, {})} {wording.ratio(over)} ({_machine(run, m)}, {_calls(m)})"
            for m in cells
            if (over := speedup_of(m)) is not None
        ]
    if study.mixes is not None and study.mixes.run is not None:
        names = {f"{wording.engine_name(engine, {})} int8" for engine in engines}
        parts += [
            f"{_pruned(mix.pruning)} in {mix.runner} {wording.ratio(mix.speedup)} "
            f"({machine_name(study.mixes.run.machine_info)}, the span of {len(FOLDS)} networks)"
            for mix in mixes(study.mixes)
            if mix.speedup and mix.precision == INT8 and mix.pruning in _SHOWN and mix.runner in names
        ]
    return f"int8 over dense float32: {'; '.join(parts)}" if parts else ""


def _pruned(pruning: str | None) -> str:
    return "without zeros" if pruning == "none" else f"`{pruning}`"


def sparse_matrices_are_faster(study: Study) -> Verdict:
    """2a: the sparse matrices of PyTorch and SciPy, against the dense reference: what a user would run instead."""
    parts, found, beside = [], [], []
    for run in study.timings:
        cells = timed(run)
        of_torch = {m.model: m for m in cells if is_dense(m) and m.engine == "torch"}
        for m in _masked(cells, "torch-csr", "scipy-csr"):
            name = f"{wording.engine_name(m.engine, {})} on {_machine(run, m)}"
            if (over := speedup_of(m)) is not None:
                found.append(over)
                parts.append(_part(name, over, m))
            dense = of_torch.get(m.model)
            if dense is not None and (over := speedup_over(m, dense)) is not None:
                beside.append(f"{name} {wording.ratio(over)}")
    more = f"over the dense network in PyTorch: {', '.join(beside)}" if beside else ""
    if not parts:
        return _NOT_MEASURED
    slower = [1 / over.estimate for over in found]
    said = ""
    if all(over.high < 1 for over in found):
        said = f"; dense is {min(slower):.1f} to {max(slower):.1f} times as fast"
    return verdict(parts, "90 % zeros, over the dense network in ONNX Runtime", kind="cells", more=more, caveat=said)


def sparse_engine_is_faster(study: Study) -> Verdict:
    """2b: `direct-csr`, against the dense reference, and against itself without zeros: an engine can be fast anyway."""
    parts = [*_sparse_engine(study), *_sparse_engine_in_folds(study)]
    if not parts:
        return _NOT_MEASURED
    return verdict(parts, "direct CSR, 90 % zeros", kind="ratios", beyond=_in_int8(study, "direct-csr"))


_OVER_DENSE, _OVER_ITSELF = "over dense ONNX Runtime", "over itself without zeros"


def _sparse_engine(study: Study) -> Iterator[Part]:
    for run in study.timings:
        cells = timed(run)
        for m in _masked(cells, "direct-csr"):
            twin = dense_twin(m, cells)
            itself = None if twin is None else speedup_over(m, twin)
            for name, over in ((_OVER_DENSE, speedup_of(m)), (_OVER_ITSELF, itself)):
                if over is not None:
                    yield _part(f"{_machine(run, m)}, {name}", over, m)


def _sparse_engine_in_folds(study: Study) -> Iterator[Part]:
    """Yield the same of the study of mixes: `cnn9` trained for longer, on five folds."""
    if study.mixes is None or study.mixes.run is None:
        return
    found = {
        one.members[0].pruning: one
        for one in folds_of(study.mixes.timed)
        if one.members[0].engine == "direct-csr" and one.members[0].precision in (None, FP32)
    }
    pruned, dense = found.get("magnitude:0.9"), found.get("none")
    if pruned is None:
        return
    for name, over in (
        (_OVER_DENSE, speedup_of(pruned.measurement)),
        (_OVER_ITSELF, None if dense is None else pruned.over(dense)),
    ):
        if over is not None:
            text = f"{wording.ratio(over)} (the span of {len(pruned.members)} networks)"
            machine = machine_name(study.mixes.run.machine_info)
            yield Part(f"{machine}, `{MIXES}`, {name}", text, (over.low, over.high), FASTER)


def file_is_lighter_with_zeros(study: Study) -> Verdict:
    """3a: zeros stored like any other weight, as PyTorch and ONNX do."""
    return _file_is_lighter(study, "onnxruntime")


def file_is_lighter_when_sparse(study: Study) -> Verdict:
    """3b: zeros left out of the file; beside it, channels and int8."""
    found = _file_is_lighter(study, "direct-csr")
    channels = next((m for m in study.timed if _has_ninety_as_channels(m)), None)
    int8 = next(
        (m for m in study.timed if m.precision == INT8 and m.pruning == "none" and m.engine == "onnxruntime"), None
    )
    others = (("90 % of the parameters removed as channels", channels), ("int8 without zeros", int8))
    beyond = "; ".join(f"{name}: {wording.size(m.artifact_bytes)}" for name, m in others if m is not None)
    return Verdict(found.word, found.why, found.evidence, beyond)


def _has_ninety_as_channels(m: Measurement) -> bool:
    whole = is_structural(m) and not is_control(m) and m.precision in (None, FP32)
    return whole and m.sparsity_target == 0.9 and m.engine == "onnxruntime"


def _dense_file(study: Study) -> Measurement | None:
    return next((m for m in study.timed if is_dense(m) and m.engine == "onnxruntime" and m.control is None), None)


def _file_is_lighter(study: Study, engine: str) -> Verdict:
    dense, pruned = _dense_file(study), _masked(study.timed, engine)
    if dense is None or not dense.artifact_bytes or not pruned or pruned[0].artifact_bytes is None:
        return _NOT_MEASURED
    share = pruned[0].artifact_bytes / dense.artifact_bytes
    text = (
        f"{wording.size(pruned[0].artifact_bytes)} of {wording.size(dense.artifact_bytes)}, {wording.percent(share)} "
        "of the dense ONNX file"
    )
    return verdict([Part("", text, (share, share), LIGHTER)], "90 % zeros")


def memory_is_less(study: Study) -> Verdict:
    """3c: peak memory of a process that runs the network."""
    dense = _dense_file(study)
    cells = [*_masked(study.timed, "onnxruntime", "direct-csr"), *filter(_has_ninety_as_channels, study.timed)]
    if dense is None or dense.peak_rss_bytes is None:
        return _NOT_MEASURED
    parts = [
        Part(
            f"{wording.pruned(m)} in {wording.runner(m, {})}",
            f"{wording.size(m.peak_rss_bytes)}",
            None,
            LIGHTER,
            "one number of each process is recorded",
        )
        for m in cells
        if m.peak_rss_bytes is not None
    ]
    if not parts:
        return _NOT_MEASURED
    lead = f"peak memory of a process, dense in ONNX Runtime {wording.size(dense.peak_rss_bytes)}"
    return verdict(parts, lead, kind="networks")


def retraining_is_faster(study: Study) -> Verdict:
    """4: seconds an epoch of fine-tuning against those of the dense control."""
    names = {
        "no zeros": "cnn9-all-ones-seed0",
        "90 % zeros": "cnn9-magnitude90-seed0",
        "90 % as channels": "cnn9-channels90-seed0",
    }
    return _epochs(study, names, _APART)


def resnet_is_slow(study: Study) -> Verdict:
    """12: seconds an epoch, of networks that were trained in the same way."""
    names = {"cnn9": "cnn9-dense-seed0", "ResNet3": "resnet3-dense-seed0", "U-Net": "unet-dense-seed0"}
    trained = {
        what: _PRECISIONS.get(study.precisions.get(name, ""), "a format not recorded") for what, name in names.items()
    }
    of_two = {what: trained[what] for what in ("cnn9", "ResNet3")}
    unlike = f"; {wording.listed(f'{what} was in {one}' for what, one in of_two.items())}"
    return _epochs(study, names, f"{_APART}{unlike if len(set(of_two.values())) > 1 else ''}")


def _epochs(study: Study, names: dict[str, str], unknown: str) -> Verdict:
    """Return the seconds of an epoch without a verdict: epochs have no interval of their ratio."""
    seconds = {what: found for what, name in names.items() if (found := study.seconds(name)) is not None}
    if not seconds:
        return Verdict(OPEN, "not recorded")
    other = [what for what in names if what not in seconds]
    more = f"not trained on a processor: {', '.join(other)}" if other else ""
    text = "; ".join(f"{what} {found}" for what, found in seconds.items())
    part = Part("", text, None, FASTER, unknown)
    return verdict([part], "seconds of an epoch, median [shortest, longest]", more=more, beyond=_NO_INT8_TRAINING)
