"""Tables of what was timed: figure 10 in milliseconds, the runs behind it; and how the CNN was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.paper.numbers import ONE_SHOT, Table
from bench.tables import MIXES, OTHERS, timed
from sparsemark.analysis.cells import is_control, is_dense, is_mask_only
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.contamination import Disturbance
from sparsemark.machine.fingerprint import machine_name
from sparsemark.report import wording
from sparsemark.report.wording import ABSENT
from sparsemark.specs import FP32

if TYPE_CHECKING:
    from bench.paper.numbers import Rows
    from bench.tables import Study
    from sparsemark.records.measurement import Measurement

_ENGINES = ("torch", "onnxruntime", "torch-csr", "scipy-csr", "direct-csr")


def runs(study: Study) -> Rows:
    """Return each run that verdicts are drawn from, with how much of it was disturbed."""
    named = [(run, study.timed_by) for run in study.runs] + [(run, OTHERS) for run in study.others]
    if study.mixes is not None and study.mixes.run is not None:
        named.append((study.mixes.run, MIXES))
    rows = []
    for run, name in named:
        cells = timed(run)
        processes = sorted({m.launches for m in cells if m.launches})
        count = Disturbance.of(run.measurements)
        rows.append(
            (
                machine_name(run.machine_info),
                f"`{name}`",
                (run.when or ABSENT)[:10],
                f"{processes[0]} to {processes[-1]}" if len(processes) > 1 else ", ".join(map(str, processes)),
                f"{len(count.cells)} of {count.timed}",
            )
        )
    return ("machine", "run", "day", "processes a cell", "disturbed cells"), rows


def _milliseconds(study: Study) -> Rows:
    shares = (0, *ONE_SHOT)
    rows = [
        (
            f"{wording.engine_name(engine, {})} on {machine_name(run.machine_info)}",
            *(_in_words(_cell(timed(run), engine, share)) for share in shares),
        )
        for run in study.runs
        for engine in _ENGINES
    ]
    return ("engine", "no zeros", *(f"{share} %" for share in ONE_SHOT)), rows


def _cell(cells: list[Measurement], engine: str, share: int) -> Measurement | None:
    """Return the float32 cell of the network with that share of zeros, in percent, or None."""
    own = [m for m in cells if m.engine == engine and m.precision in (None, FP32) and not is_control(m)]
    if not share:
        return next((m for m in own if is_dense(m)), None)
    return next((m for m in own if is_mask_only(m) and m.sparsity_target == share / 100), None)


def _in_words(m: Measurement | None) -> str:
    if m is None:
        return ABSENT
    over = speedup_of(m)
    return f"{wording.milliseconds(m.p50_ms)}{'' if over is None else f' ({over.estimate:.2f}x)'}"


_PAPER = {
    "optimiser": "Adam",
    "learning rate": "0.001",
    "momentum": "0.9",
    "batch": "32",
    "epochs": "30",
    "augmentation": "flips, rotation",
    "initial weights": "normal, deviation 0.1",
    "epoch that is kept": "not stated",
    "number format": "not stated",
    "test accuracy, split by patient": "split not stated: 89",
    "test accuracy, split by slice": "split not stated: 89",
}
_RECIPES = {"ours": "cnn9", "the paper's settings, by us": "cnn9_paper"}
_AUGMENTED = {"paper": "flips, rotation", "strong": "the same, and scale, shift, shear, contrast, noise"}
_DRAWN = {"normal": "normal, deviation 0.1", "kaiming": "Kaiming's normal"}
_FORMATS = {"32-true": "float32", "bf16-mixed": "bfloat16"}


def _training(study: Study) -> Rows:
    columns = [_PAPER, *(_settings(study, network) for network in _RECIPES.values())]
    rows = [(what, *(column.get(what, ABSENT) for column in columns)) for what in _PAPER]
    return ("", "paper", *_RECIPES), rows


def _settings(study: Study, network: str) -> dict[str, str]:
    """Return the settings in the header of a network of seed 0, and its scores; empty where it is not committed."""
    phase = study.recipe(f"{network}-dense-seed0").get("train")
    levels = {
        "test accuracy, split by patient": study.level([f"{network}-dense-seed0"]),
        "test accuracy, split by slice": study.level([f"{network}_slice-dense-seed0"]),
    }
    scores = {
        what: f"{level.percent:.1f} [{level.low:.1f}, {level.high:.1f}]"
        for what, level in levels.items()
        if level is not None
    }
    if phase is None:
        return scores
    decay = f", weight decay {phase['weight_decay']}" if phase["weight_decay"] else ""
    rate = "at the peak of one cycle" if phase["schedule"] == "one-cycle" else phase["schedule"]
    return scores | {
        "optimiser": f"Adam{decay}",
        "learning rate": f"{phase['learning_rate']}, {rate}",
        "momentum": f"{phase['beta1']}",
        "batch": f"{phase['batch']}",
        "epochs": f"{phase['epochs']}",
        "augmentation": _AUGMENTED[phase["augmentation"]],
        "initial weights": _DRAWN[phase["initialization"]],
        "epoch that is kept": "best on validation" if phase["select"] == "best" else phase["select"],
        "number format": _FORMATS[phase["precision"]],
    }


TIMES = (
    Table(
        "Milliseconds of one image (figure 10)",
        _milliseconds,
        "Median of `cnn9`, and in brackets how many times as fast it is as the dense network in ONNX Runtime. The "
        "paper's own numbers are in its figure, which our copy of it lacks. Milliseconds of two cells were taken at "
        "different moments; the ratio in brackets was taken in turns. Compare by the ratio.",
    ),
    Table(
        "How the CNN was trained",
        _training,
        "Seed 0; the networks split by slice have the settings of their column. The two right columns differ by the "
        "settings alone. What is left between the last column and the paper comes from widths, kernels and pooling, "
        "which the paper does not give, from its split, or from chance: we can't tell which. Our other networks have "
        "the settings of *ours*, the U-Nets with more epochs and smaller batches. Every pruned network, and the dense "
        "one that it is compared with, was trained on for six epochs.",
    ),
)
