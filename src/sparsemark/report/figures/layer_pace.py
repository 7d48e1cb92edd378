"""Figure of the pace of every layer, against what one core can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.report.style import caption, new_figure, save, tidy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from sparsemark.direct.explain import Layer
    from sparsemark.direct.peak import Peak

_GIGA = 1e9

_LONG = 0.01
"""Share of the time from which a layer counts in the title: a last layer of two classes says nothing of an engine."""

_UPRIGHT = 12
"""Layers whose names have room beside each other."""


def draw_layer_pace(
    name: str, layers: Sequence[Layer], peak: Peak, conditions: Sequence[str], paths: Iterable[Path]
) -> None:
    """Draw the multiply-adds a second of every layer with weights, against what one core can do.

    Args:
        name: of the artifact.
        layers: in the order in which they run; those without weights or without a time are left out.
        peak: of one core.
        conditions: for the caption.
        paths: of the files, each in the format that its name ends in.

    Raises:
        UserError: matplotlib is not installed, or a file cannot be written.
    """
    shown = [(layer, pace) for layer in layers if (pace := layer.pace) is not None and layer.density is not None]
    figure = new_figure(10, 4.2, layer_title(name, [layer for layer, _ in shown], peak))
    axes = figure.add_subplot()
    of_bytes = any(layer.of_bytes for layer, _ in shown)
    for limit, dashes, words in (
        (peak.multiply_adds, "-", "peak"),
        (peak.loads, "--", "a load for each"),
        *([(peak.of_bytes, ":", "peak in bytes")] if of_bytes and peak.of_bytes else []),
    ):
        axes.axhline(limit / _GIGA, color="0.2", linestyle=dashes, linewidth=1.2)
        axes.annotate(
            f"{words}, {limit / _GIGA:.1f}", (1.0, limit / _GIGA), (4, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False,
        )  # fmt: skip
    axes.bar(range(len(shown)), [pace / _GIGA for _, pace in shown], color="#56B4E9", edgecolor="0.2", width=0.7)
    _write_shares(axes, [layer for layer, _ in shown], peak)
    labels = [
        f"{'x'.join(map(str, layer.shape))}\n"
        + ("Winograd" if layer.winograd else f"{100 * (1 - (layer.density or 0)):.0f} % zeros")
        for layer, _ in shown
    ]
    axes.set_xticks(range(len(shown)), labels, fontsize=7.5)
    axes.set(xlim=(-0.6, len(shown) - 0.4), ylim=(0, None), ylabel="G multiply-adds / s", xlabel="layer: what it makes")
    if len(shown) > _UPRIGHT:
        axes.tick_params(axis="x", rotation=90)
    tidy(axes)
    caption(figure, "; ".join(["each layer timed alone, without an interval", *conditions]))
    for path in paths:
        save(figure, path)


def layer_title(name: str, layers: Sequence[Layer], peak: Peak) -> str:
    """Return the share of the peak that all layers reach together, and its range over those that take time."""
    reached = [(layer, share, layer.seconds or 0.0) for layer in layers if (share := _share(layer, peak)) is not None]
    total = sum(seconds for _, _, seconds in reached)
    if not total:
        return f"{name}: no layer was timed"
    whole = sum(share * seconds for _, share, seconds in reached) / total
    part = min(_LONG, 1 / len(reached))
    longest = [share for _, share, seconds in reached if seconds >= part * total]
    least, most = min(longest), max(longest)
    of = (
        "layer by layer" if len(longest) == len(reached) else f"in each layer of {100 * part:.2g} % of the time or more"
    )
    span = f", {least:.0f} to {most:.0f} % {of}" if round(least) < round(most) else ""
    return f"{name}: {whole:.0f} % of the multiply-adds that one core can do{span}"


def _share(layer: Layer, peak: Peak) -> float | None:
    """Return the pace of a layer in percent of the most of its precision, or None."""
    limit = peak.of_bytes if layer.of_bytes else peak.multiply_adds
    return 100 * layer.pace / limit if layer.pace and limit else None


def _write_shares(axes: Axes, layers: Iterable[Layer], peak: Peak) -> None:
    for place, layer in enumerate(layers):
        share = _share(layer, peak)
        if share is not None and layer.pace is not None:
            axes.annotate(
                f"{share:.0f} %", (place, layer.pace / _GIGA), (0, 2), textcoords="offset points",
                ha="center", va="bottom", fontsize=8,
            )  # fmt: skip
