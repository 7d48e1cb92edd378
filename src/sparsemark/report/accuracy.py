"""Scores of every variant over all seeds: the table behind the scores of the latency table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.groups import interval_of, pooled
from sparsemark.report import wording
from sparsemark.report.harmless import harmless_rows
from sparsemark.report.renderers.markdown import escape, markdown_table
from sparsemark.report.scores import UNSCORED, Scale, Scoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sparsemark.records.measurement import Measurement

_TITLES = {"roc_auc": "ROC AUC", "f1": "F1", "recall": "recall", "precision": "precision"}
"""Metrics that readers know by another name or expect in this order; all others follow in the order of the task."""

_DECIMALS = 3  # of fractions beside the headline, which is in percent with one


def accuracy_markdown(evaluated: Sequence[Measurement]) -> str:
    """Write mean and range over seeds, a row for each network and what was pruned from it, then the data.

    `raw` is the pruned network before anything else was done, `recalibrated` with BatchNorm statistics estimated again,
    `final` after fine-tuning, or after training where nothing was pruned. Where checkpoints hold scores by group, the
    95 % interval of the mean stands behind it, by resampling the groups of all seeds and folds together. Variants with
    different headline metrics stand in separate tables.

    Args:
        evaluated: a row a variant and seed, in the order in which they shall stand.
    """
    evaluated = harmless_rows(evaluated)
    scoring = Scoring.of(evaluated)
    scored = [m for m in evaluated if scoring.score(m)]
    blocks = [
        _table(scale, [m for m in scored if scoring.scale(m.model) == scale], scoring.scales)
        for scale in scoring.shown(scored)
    ]
    lower = [
        f"- {escape(scale.metric)}: {scale.direction}"
        for scale in scoring.scales.values()
        if not scale.higher_is_better
    ]
    sources = dict.fromkeys(f"- {_drawn(m)}: {escape(m.data.words)}" for m in evaluated if m.data is not None)
    failures = [f"- {escape(m.name)}: {escape(m.reason or '')}" for m in evaluated if m.reason]
    over = "seeds and folds" if _has_folds(evaluated) else "seeds"
    explained = f"Mean over {over}, with the lowest and the highest in brackets."
    if any(m.preparation_s is not None for m in scored):
        explained += " Minutes: pruning and fine-tuning of one network, on the machine that did it."
    if any(score.groups for m in scored for score in m.scores.values()):
        explained += (
            " 95 % interval: of the mean final score, by resampling groups (patients in a study of patients), those of "
            f"all {over} together; a group that was tested several times is one."
        )
    remarks = [f"- {escape(m.name)}: {escape(m.notes)}" for m in evaluated if m.notes]
    notes = [explained, "", *lower, *sources, *failures, *remarks]
    return "\n\n".join([*blocks, "\n".join(notes)]) + "\n"


def _table(headline: Scale, rows: Sequence[Measurement], known: Mapping[str, Scale]) -> str:
    groups: dict[tuple[str, str, str, bool], list[Measurement]] = {}
    metrics: dict[str, None] = {}
    for m in rows:
        # Numbers with a caveat are never averaged with others, nor folds with seeds that each draw a split.
        key = (m.model or "", wording.pruned(m), wording.caveat(m.data), m.fold is not None)
        groups.setdefault(key, []).append(m)
        metrics |= dict.fromkeys(m.scores)
    others = [*(name for name in _TITLES if name in metrics), *(name for name in metrics if name not in _TITLES)]
    others = [name for name in others if name != headline.metric]
    # The file is called after accuracy; any other headline is named.
    of = ("" if headline.metric == UNSCORED else f" {headline.metric}") + (" %" if headline.percent else "")
    folds = ["folds"] if _has_folds(rows) else []
    grouped = {name for m in rows for name, score in m.scores.items() if score.groups}
    wide = [name for name in (headline.metric, *others) if name in grouped]
    numbers = ["seeds", *folds, *(f"{step}{of}" for step in ("raw", "recalibrated", "final"))]
    numbers += [*("95 % interval" for name in wide if name == headline.metric)]
    costs = ["minutes"] if any(m.preparation_s is not None for m in rows) else []
    numbers += costs
    for name in others:
        numbers += [_title(name), *([f"{_title(name)} 95 % interval"] if name in wide else [])]
    texts = [
        [
            escape(model),
            escape(f"{pruned} {caveat}".rstrip()),
            str(len({m.seed for m in group})),
            *(str(len({m.fold for m in group})) if folded else wording.ABSENT for _ in folds),
            *(_spread(group, headline.metric, step, headline) for step in ("raw", "recalibrated", "value")),
            *(_interval(group, name, headline) for name in wide if name == headline.metric),
            *(_minutes(group) for _ in costs),
            *(text for name in others for text in _other(group, name, known[name], with_interval=name in wide)),
        ]
        for (model, pruned, caveat, folded), group in groups.items()
    ]
    numbers = list(map(escape, numbers))
    return markdown_table(["network", "pruned", *numbers], texts, right=numbers)


def _other(group: Sequence[Measurement], metric: str, scale: Scale, *, with_interval: bool) -> list[str]:
    spread = _spread(group, metric, "value", scale, in_percent=False)
    return [spread, _interval(group, metric, scale, in_percent=False)] if with_interval else [spread]


def _interval(group: Sequence[Measurement], metric: str, scale: Scale, *, in_percent: bool = True) -> str:
    """Return the interval of the mean; absent where one of several checkpoints has no scores by group."""
    scores = [m.scores[metric] for m in group if metric in m.scores]
    interval = scores[0].interval if len(scores) == 1 else None
    groups = [score.groups for score in scores if score.groups]
    if len(groups) == len(scores) > 1:
        interval = interval_of(pooled(groups))
    if interval is None:
        return wording.ABSENT
    write = _writer(scale, in_percent=in_percent)
    return " to ".join(map(write, interval))


def _minutes(group: Sequence[Measurement]) -> str:
    """Return what pruning and fine-tuning took, as a mean over those that say."""
    seconds = [m.preparation_s for m in group if m.preparation_s is not None]
    return f"{np.mean(seconds) / 60:.2g}" if seconds else wording.ABSENT


def _has_folds(rows: Iterable[Measurement]) -> bool:
    return any(m.fold is not None for m in rows)


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric)


def _drawn(m: Measurement) -> str:
    return f"seed {m.seed}" + ("" if m.fold is None else f", fold {m.fold}")


def _spread(group: Iterable[Measurement], metric: str, part: str, scale: Scale, *, in_percent: bool = True) -> str:
    scores = [m.scores[metric] for m in group if metric in m.scores]
    values = [value for score in scores if (value := getattr(score, part)) is not None]
    if not values:
        return wording.ABSENT
    write = _writer(scale, in_percent=in_percent)
    mean = write(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} [{write(min(values))}, {write(max(values))}]"


def _writer(scale: Scale, *, in_percent: bool) -> Callable[[float], str]:
    return scale.value if in_percent or not scale.percent else f"{{:.{_DECIMALS}f}}".format
