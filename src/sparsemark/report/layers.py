"""Layers of two explained files beside each other: of the dense network and of the pruned one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.records.explanation import ExplainedLayer  # noqa: TC001 - files are read by these annotations
from sparsemark.report.harmless import harmless, harmless_values

if TYPE_CHECKING:
    from pathlib import Path

MARK = "sparsemark_explanation"
"""Field of the document that `sparsemark explain --json` writes; it holds the schema."""

SCHEMA = 1
"""Of the document: 1, layers and ranked changes."""


@dataclass(frozen=True)
class Explained:
    """What a page shows of one explained file; fields as in `Explanation`, and the changes that pay, in words."""

    artifact: str
    engine: str
    seconds: float
    layers: tuple[ExplainedLayer, ...]
    suggested: tuple[str, ...] = ()
    peak: float | None = None

    def share_of_peak(self, layer: ExplainedLayer) -> float | None:
        """Return the multiply-adds a second of a layer over the peak of one core; None where either is unknown."""
        return layer.rate / self.peak if layer.rate and self.peak else None


@dataclass(frozen=True)
class LayerPair:
    """A layer in both files; None where one of them has no layer of that name."""

    name: str
    dense: ExplainedLayer | None
    pruned: ExplainedLayer | None


@dataclass(frozen=True)
class Layers:
    """Two explained files and the pairs of their layers, in the order of the dense one."""

    dense: Explained
    pruned: Explained
    pairs: tuple[LayerPair, ...]


def read_layers(dense: Path, pruned: Path) -> Layers:
    """Return the layers of two files that `sparsemark explain --json` wrote, paired by name.

    Raises:
        UserError: a file cannot be read, or is no such document.
    """
    return paired(_read(dense), _read(pruned))


def paired(dense: Explained, pruned: Explained) -> Layers:
    """Return two explained files with their layers paired; what neither times nor counts is left out."""
    before, after = (_by_name(one.layers) for one in (dense, pruned))
    names = [*before, *(name for name in after if name not in before)]
    return Layers(dense, pruned, tuple(LayerPair(name, before.get(name), after.get(name)) for name in names))


def _by_name(layers: tuple[ExplainedLayer, ...]) -> dict[str, ExplainedLayer]:
    """Return layers by name; a name that comes again gets its number."""
    found: dict[str, ExplainedLayer] = {}
    for layer in layers:
        if layer.seconds is None and not layer.multiply_adds:
            continue
        name, number = layer.name, 1
        while name in found:
            number += 1
            name = f"{layer.name} ({number})"
        found[name] = layer
    return found


def _read(path: Path) -> Explained:
    import msgspec

    expected = "expected what sparsemark explain --json writes"
    try:
        document: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        if document.get(MARK) != SCHEMA:
            raise UserError(f"{path}: {MARK} is {harmless(str(document.get(MARK)))}, {expected}, {SCHEMA}")
        explained = msgspec.convert(document, Explained)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}, {expected}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {harmless(str(error))}, {expected}") from error
    layers = tuple(replace(layer, **harmless_values(vars(layer))) for layer in explained.layers)
    return replace(
        explained,
        artifact=harmless(explained.artifact),
        engine=harmless(explained.engine),
        layers=layers,
        suggested=tuple(map(harmless, explained.suggested)),
    )
