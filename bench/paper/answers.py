"""Answer for every network of the paper: the fastest that keeps its score, from whatever runs are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.best_mix import ALLOWED, CONTROL, FOLDS, answer, mixes
from bench.tables import MIXES
from sparsemark.analysis.front import Bar, answers, fastest
from sparsemark.machine.fingerprint import machine_name
from sparsemark.report import wording
from sparsemark.specs import FP32, INT8

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.tables import Study
    from sparsemark.analysis.front import Standing
    from sparsemark.records.run import Run

NETWORKS = ("cnn9", "cnn4", "cnn3", "resnet3", "resnet3_max", "unet", "unet_head")
"""Those that the paper describes; the one that it prunes first."""

COLUMNS = ("network", "run", "float32", "int8 (more than the paper asked)")

NOTE = (
    f"The fastest configuration whose score is not more than {ALLOWED:.0f} point below the dense network's, over the "
    "dense network in ONNX Runtime in float32. The score itself is compared, not the end of its interval: where that "
    "reaches beyond the point, a larger loss is not excluded. In `mix` it is compared with the dense network "
    "fine-tuned as long, over five folds: speedup [lowest, highest end of their intervals]; the interval of the change "
    "is by patient, in float32. Elsewhere it is compared with the dense network of the same seed: 95 % intervals of "
    "the paired ratio, and of the change by patient. Where one of several was chosen, it is a little worse than it "
    "looks."
)


def answer_rows(study: Study) -> list[tuple[str, ...]]:
    """Return a row for each network and each run that times it with a score."""
    return [
        (f"`{network}`", *row)
        for network in NETWORKS
        for row in (*_of_mixes(study, network), *_of_runs(study, network))
    ]


def untimed(rows: Iterable[Sequence[str]]) -> str:
    """Return which networks have no row; empty where all have one."""
    known = {network for network, *_ in rows}
    missing = [name for network in NETWORKS if (name := f"`{network}`") not in known]
    return f"Not timed with trained weights yet: {wording.listed(missing)}." if missing else ""


def _of_mixes(study: Study, network: str) -> Iterator[tuple[str, ...]]:
    """Yield the answer of the study of mixes, which is of the network that the paper prunes."""
    if network != NETWORKS[0] or study.mixes is None or study.mixes.run is None:
        return
    found = mixes(study.mixes)
    control = next((mix.accuracy for mix in found if mix.pruning == CONTROL), None)
    if control is None:
        return
    texts = []
    for precision in (FP32, INT8):
        best = answer(found, precision)
        if best is None or best.speedup is None:
            texts.append("none")
            continue
        # In float32 the outputs are those that the change was computed from; quantised ones have no scores by patient.
        change = f"{-best.below(control):+.1f} points"
        if best.change is not None:
            change = best.change.interval if precision == FP32 else f"{change}; in float32 {best.change.interval}"
        texts.append(
            f"{best.words} in {best.runner}: {wording.ratio(best.speedup)}, "
            f"{best.accuracy:.1f} % ({change}), {len(FOLDS)} networks"
        )
    yield f"{machine_name(study.mixes.run.machine_info)}, `{MIXES}`", *texts


def _of_runs(study: Study, network: str) -> Iterator[tuple[str, ...]]:
    for key, run in study.everything.items():
        machine, name = key.split("/")
        if name != MIXES and (texts := _answered(run, network)):
            yield f"{machine}, `{name}`", *texts


def _answered(run: Run, network: str) -> Sequence[str]:
    """Return the answer of a run in float32 and in int8; empty where it has no score of the network."""
    found = next((one for one in answers(run.measured(), Bar(within=ALLOWED / 100)) if one.model == network), None)
    if found is None or not found.judged:
        return []
    texts = []
    for precision in (FP32, INT8):
        cells = [one for one in found.judged if (one.measurement.precision or FP32) == precision]
        best = fastest(one for one in cells if one.keeps and not one.is_contradicted)
        texts.append(_in_words(best, run) if best is not None else "none" if cells else "not timed yet")
    return texts


def _in_words(one: Standing, run: Run) -> str:
    m, score, loss = one.measurement, one.score, one.loss
    speed = "" if one.speedup is None else f": {wording.ratio(one.speedup)}"
    kept = (
        "" if score is None or loss is None else f", {100 * score.value:.1f} % ({-100 * loss:+.1f}{_room(one)} points)"
    )
    counted = wording.several(one.folds) or f"{m.launches} process{'es' if m.launches != 1 else ''}, {m.samples} calls"
    return f"{wording.pruned(m)} in {wording.runner(m, run.engines)}{speed}{kept}, {counted}"


def _room(one: Standing) -> str:
    score = one.score
    if score is None or score.loss_low is None or score.loss_high is None:
        return ""
    return f" [{-100 * score.loss_high:+.1f}, {-100 * score.loss_low:+.1f}]"
