"""Figure of the pace of every layer, against what one core can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.report.style import caption, new_figure, save, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sparsemark.direct.explain import Layer
    from sparsemark.direct.peak import Peak

_GIGA = 1e9


def draw_layer_pace(layers: Sequence[Layer], peak: Peak, conditions: Sequence[str], path: Path) -> None:
    """Draw the multiply-adds a second of every layer with weights, against what one core can do.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    shown = [(layer, pace) for layer in layers if (pace := layer.pace) is not None and layer.density is not None]
    of_bytes = any(layer.of_bytes for layer, _ in shown)
    limits = [peak.of_bytes if layer.of_bytes else peak.multiply_adds for layer, _ in shown]
    shares = [100 * pace / limit for (_, pace), limit in zip(shown, limits, strict=True) if limit]
    span = f"{min(shares):.0f} to {max(shares):.0f} %" if shares else "nothing"
    figure = new_figure(9, 4.2, f"The layers reach {span} of the multiply-adds that one core can do")
    axes = figure.add_subplot()
    for limit, dashes, words in (
        (peak.multiply_adds, "-", "multiply-adds"),
        (peak.loads, "--", "one load for each"),
        *([(peak.of_bytes, ":", "in bytes")] if of_bytes and peak.of_bytes else []),
    ):
        axes.axhline(limit / _GIGA, color="0.2", linestyle=dashes, linewidth=1.2)
        axes.text(len(shown) - 0.5, limit / _GIGA, f" {words}", va="center", fontsize=9)
    axes.bar(range(len(shown)), [pace / _GIGA for _, pace in shown], color="#56B4E9", edgecolor="0.2", width=0.7)
    labels = [
        f"{' x '.join(map(str, layer.shape))}\n"
        + ("Winograd" if layer.winograd else f"{100 * (1 - (layer.density or 0)):.0f} % zeros")
        for layer, _ in shown
    ]
    axes.set_xticks(range(len(shown)), labels, fontsize=8, rotation=30, ha="right")
    axes.set(xlim=(-0.6, len(shown) - 0.4), ylim=(0, None), ylabel="G multiply-adds / s", xlabel="layer: what it makes")
    tidy(axes)
    caption(figure, "; ".join(conditions))
    save(figure, path)
