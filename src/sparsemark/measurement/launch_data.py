"""Inputs and reference outputs of a launch, in one file without pickle."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UserError
from sparsemark.files import replacing
from sparsemark.networks.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.networks.reference import Batch

CHECKED = 4
"""Batches on which each launch checks its engines again: they passed on all of them before."""


@dataclass(frozen=True)
class LaunchData:
    """What a launch computes on.

    Args:
        timed: batches that rotate through the timed calls.
        checked: batches whose outputs are compared first.
        outputs: reference outputs for those, by the network's name.
        steps: of the outputs of those networks that are quantised, by name.
        moved: how far rounding in float32 moves these, by name.
    """

    timed: Sequence[Batch]
    checked: Sequence[Batch]
    outputs: Mapping[str, tuple[NDArray[np.float64], ...]]
    steps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    moved: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, timed: Sequence[Batch], batches: Sequence[Batch], references: Mapping[str, Reference]) -> LaunchData:
        """Take the first few batches that all references know.

        Args:
            timed: as above.
            batches: all that the references' `chosen` counts in.
            references: by the network's name; the order in which they choose batches is the same for all.
        """
        count = min(CHECKED, *(len(reference.chosen) for reference in references.values()))
        chosen = next(iter(references.values())).chosen[:count]
        outputs = {
            name: tuple(output[: len(output) // len(reference.chosen) * count] for output in reference.outputs)
            for name, reference in references.items()
        }
        steps = {name: reference.steps for name, reference in references.items() if reference.steps}
        moved = {name: reference.moved for name, reference in references.items() if reference.moved}
        return cls(timed, [batches[index] for index in chosen], outputs, steps, moved)

    def reference(self, name: str) -> Reference:
        """Return the outputs of one network as `parity.check` takes them."""
        chosen = tuple(range(len(self.checked)))
        return Reference(self.outputs[name], chosen, steps=self.steps.get(name, ()), moved=self.moved.get(name, ()))

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all; errors as in `files.replacing`."""
        arrays: dict[str, NDArray[Any]] = {}
        for kind, batches in (("timed", self.timed), ("checked", self.checked)):
            arrays |= {f"{kind}/{n}/{i}": one for n, batch in enumerate(batches) for i, one in enumerate(batch)}
        for name, outputs in self.outputs.items():
            arrays |= {f"outputs/{name}/{i}": output for i, output in enumerate(outputs)}
        for kind, by_name in (("steps", self.steps), ("moved", self.moved)):
            arrays |= {f"{kind}/{name}/0": np.array(values) for name, values in by_name.items()}
        with replacing(path) as target, target.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> LaunchData:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing or damaged.
        """
        timed: dict[int, list[NDArray[Any]]] = {}
        checked: dict[int, list[NDArray[Any]]] = {}
        outputs: dict[str, list[NDArray[Any]]] = {}
        told: dict[str, dict[str, tuple[float, ...]]] = {"steps": {}, "moved": {}}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                for name in arrays.files:
                    kind, which, _ = name.split("/")
                    if kind == "outputs":
                        outputs.setdefault(which, []).append(arrays[name])
                    elif kind in told:
                        told[kind][which] = tuple(map(float, arrays[name]))
                    else:
                        (timed if kind == "timed" else checked).setdefault(int(which), []).append(arrays[name])
        except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: cannot be read: {error}; run the same command again") from error
        return cls(
            [tuple(batch) for batch in timed.values()],
            [tuple(batch) for batch in checked.values()],
            {name: tuple(found) for name, found in outputs.items()},
            **told,
        )
