"""What every variant predicts, over all seeds: the table behind the accuracies of the latency table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.report import wording
from sparsemark.report.renderers.markdown import escape, markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.records.measurement import Measurement

_COLUMNS = ("network", "pruned", "seeds", "raw %", "recalibrated %", "final %", "ROC AUC", "F1", "recall", "precision")
_NUMBERS = _COLUMNS[2:]


def accuracy_markdown(evaluated: Sequence[Measurement]) -> str:
    """Write mean and range over seeds, a row for each network and what was pruned from it, then the images.

    `raw` is the pruned network as it is, `recalibrated` with BatchNorm statistics estimated again, `final` after
    fine-tuning, or after training where nothing was pruned.

    Args:
        evaluated: a row a variant and seed, in the order in which they shall stand.
    """
    groups: dict[tuple[str, str, str], list[Measurement]] = {}
    for m in evaluated:
        if m.accuracy is not None:
            # Images of no patient, or of patients seen in training, are never averaged with others.
            groups.setdefault((m.model or "", wording.pruned(m), wording.caveat(m.accuracy_source)), []).append(m)
    rows = [
        [
            escape(model),
            escape(f"{pruned} {caveat}".rstrip()),
            str(len({m.seed for m in group})),
            _spread([m.accuracy_raw for m in group], 100, 1),
            _spread([m.accuracy_recalibrated for m in group], 100, 1),
            _spread([m.accuracy for m in group], 100, 1),
            *(_spread([getattr(m, name) for m in group], 1, 3) for name in ("roc_auc", "f1", "recall", "precision")),
        ]
        for (model, pruned, caveat), group in groups.items()
    ]
    sources = dict.fromkeys(f"- seed {m.seed}: {escape(m.accuracy_source)}" for m in evaluated if m.accuracy_source)
    failures = [f"- {escape(m.name)}: {escape(m.reason or '')}" for m in evaluated if m.reason]
    notes = "\n".join(["Mean over seeds, with the lowest and the highest in brackets.", "", *sources, *failures])
    return f"{markdown_table(_COLUMNS, rows, right=_NUMBERS)}\n\n{notes}\n"


def _spread(values: Sequence[float | None], scale: float, decimals: int) -> str:
    known = [scale * value for value in values if value is not None]
    if not known:
        return wording.ABSENT
    mean = f"{np.mean(known):.{decimals}f}"
    return mean if len(known) == 1 else f"{mean} [{min(known):.{decimals}f}, {max(known):.{decimals}f}]"
