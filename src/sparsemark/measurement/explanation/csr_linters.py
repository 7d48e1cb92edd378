"""Linters of a CSR file in `direct-csr`. Each looks at the layers, times a change beside them, and returns both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.explain import repeated
from sparsemark.direct.network import Network
from sparsemark.errors import UnsupportedError
from sparsemark.measurement.explanation.changes import filled, subnormal, thinned, widened
from sparsemark.measurement.explanation.csr_file import layer_alone
from sparsemark.measurement.explanation.layers_alone import beyond_cache, sum_over_layers
from sparsemark.measurement.explanation.pairs import time_pairs
from sparsemark.records.explanation import Advice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sparsemark.measurement.explanation.subject import CsrSubject, Window
    from sparsemark.records.explanation import Fact

    Changed = tuple[np.ndarray[Any, Any], tuple[int, ...]]

_TOGETHER = max(channels for channels, _ in isa.MICROKERNELS)
"""Output channels that a tile shares: other widths rule out the fastest kernels, Winograd's among them."""

_DENSE = 0.5
"""Density from which a layer gains next to nothing from its zeros."""

_NARROW = 4
"""Channels up to which a rounding would double the work."""


def alignment(subject: CsrSubject) -> Advice | None:
    """Channels that are no multiple of what a tile shares, against the same layers rounded up."""
    odd = [
        window
        for window in subject.windows
        if window.attributes.get("group", 1) == 1
        and len(window.weight) > _NARROW
        and (len(window.weight) % _TOGETHER or window.weight.shape[1] % _TOGETHER)
    ]
    first = subject.explanation.input_shapes[0][1]

    def change(window: Window) -> Changed:
        return widened(window, _TOGETHER, inputs=window.weight.shape[1] != first)

    return _apart("alignment", odd, change, {"multiple": _TOGETHER})


def separable(subject: CsrSubject) -> Advice | None:
    """Zeros of depthwise and strided layers, after the same layers without any: the gain is that of the zeros."""
    found = [window for window in subject.windows if window.kind and (window.layer.density or 0) < 1]
    kinds = " and ".join(sorted({window.kind or "" for window in found}))
    made = _apart("separable", found, lambda window: (filled(window.weight), window.source), {"kinds": kinds})
    # Turned, since here what there is comes after the change.
    return made and replace(made, before_s=made.after_s, after_s=made.before_s)


def subnormals(subject: CsrSubject) -> Advice | None:
    """Weights below the normal range, against the same network with zeros in their place."""
    count = sum(int(subnormal(matrix.data).sum()) for matrix in subject.graph.matrices.values())
    if not count:
        return None
    flushed = {
        name: replace(matrix, data=np.where(subnormal(matrix.data), np.float32(0), matrix.data))
        for name, matrix in subject.graph.matrices.items()
    }
    other = Network(replace(subject.graph, matrices=flushed), 1).plan(subject.plan.lowered.shape)
    before, after = time_pairs(repeated(subject.plan), repeated(other))
    return Advice("subnormals", (), before, after, {"count": count})


def first_layer(subject: CsrSubject) -> Advice | None:
    """A dense first layer before a sparse network, against the same layer as sparse as the network."""
    counted = [layer for layer in subject.explanation.layers if layer.density is not None]
    if not subject.windows or not counted:
        return None
    first = subject.windows[0]
    whole = sum(layer.left for layer in counted) / max(1, sum(layer.multiply_adds for layer in counted))
    density = first.layer.density or 0.0
    if first.layer is not counted[0] or density < _DENSE or whole > _DENSE:
        return None
    facts: dict[str, Fact] = {"density": density, "network": whole}
    return _apart("first-layer", [first], lambda w: (thinned(w.weight, whole / density), w.source), facts)


def cache(subject: CsrSubject) -> Advice | None:
    """Layers whose activations exceed the second-level cache, against twice the same layer on half the rows."""
    return beyond_cache(subject.windows, layer_alone)


def _apart(
    name: str, windows: Sequence[Window], change: Callable[[Window], Changed], facts: Mapping[str, Fact]
) -> Advice | None:
    """Time layers one by one, each beside its changed form; sums over the layers."""
    calls = []
    kept = []
    for window in windows:
        weight, source = change(window)
        try:
            pair = (
                layer_alone(window.weight, window.attributes, window.source),
                layer_alone(weight, window.attributes, source),
            )
        except UnsupportedError:
            continue
        calls.append(pair)
        kept.append(window)
    return sum_over_layers(name, kept, calls, facts)


LINTERS: Mapping[str, Callable[[CsrSubject], Advice | None]] = {
    "alignment": alignment,
    "separable": separable,
    "subnormals": subnormals,
    "first-layer": first_layer,
    "cache": cache,
}
"""A new linter is one function and one line here, and its words in `sparsemark.report.knobs`."""
