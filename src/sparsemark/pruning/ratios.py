"""Ratios: how much of each layer goes, from a file as `sparsemark sensitivity` writes it.

They say how the layers compare. To reach the sparsity that is asked for, what they leave of each layer is raised to a
common power: none passes 1, the order stays, and a layer with ratio 0 stays whole.
"""

from __future__ import annotations

import json
import math
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from scipy.optimize import brentq

from sparsemark.errors import UserError
from sparsemark.files import convert_document, write_atomically
from sparsemark.pruning.weights import listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

_LEAST = 1e-6
"""Smallest ratio above 0 in a file that is scaled: smaller ones beside usual ones are beyond floating point."""

_LARGEST = 16 * 2**20
"""Bytes of a file: ten thousand layers are 2 MB."""

_HIGHEST = 1 - 1e-6
"""Share of what ratios let go that can be asked for: all of it is reached by no power."""


@dataclass(frozen=True)
class Ratios:
    """Fractions to remove, by name of the weight.

    Args:
        by_name: fractions in [0, 1); of channels where those are removed, and of layers whose channels go together the
            smallest counts. A layer that is not named stays whole, unless it is coupled so to one that is.
        exact: taken as they are, whatever sparsity the whole then has.
        shapes: of the weights that they were measured on, by name.
        where: they come from, for messages.
    """

    by_name: Mapping[str, float]
    exact: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    where: str = "ratios"

    def of(self, name: str) -> float:
        """Return the fraction of a weight, 0 where it is not named."""
        return self.by_name.get(name, 0.0)

    def notes(self, unnamed: dict[str, int]) -> tuple[str, ...]:
        """Return, in words, which layers stay whole since no ratio names them; where they are scaled to the whole.

        Args:
            unnamed: names of those layers, with their weights.
        """
        return (
            (f"{self.where} has no ratio for {listed(unnamed)}: nothing goes there",)
            if unnamed and not self.exact
            else ()
        )

    def unreachable(self, most: float, of: str, sparsity: float) -> UserError:
        """Return the error where the layers that may be pruned hold too little.

        Args:
            most: share that can be removed.
            of: what the share is of.
            sparsity: that was asked for.
        """
        return UserError(
            f"{self.where}: lets at most {most:.0%} of the {of} go, so a sparsity of {sparsity:g} cannot be reached"
        )

    def powers(self) -> dict[str, float]:
        """Return by name the power of what is left of the most pruned layer that is left of this one, 0 to 1."""
        least = min((math.log1p(-ratio) for ratio in self.by_name.values()), default=0.0)
        return {name: math.log1p(-ratio) / least if least else 0.0 for name, ratio in self.by_name.items()}

    def scaled(self, sizes: Mapping[str, int], sparsity: float) -> dict[str, float]:
        """Return the fraction of each weight with which the whole reaches a sparsity.

        Args:
            sizes: elements of each weight.
            sparsity: of all together, in [0, 1).

        Raises:
            UserError: the layers that may be pruned hold too few weights.
        """
        if self.exact:
            return {name: self.of(name) for name in sizes}
        powers = self.powers()
        total = sum(sizes.values())
        most = sum(size for name, size in sizes.items() if powers.get(name)) / total
        if sparsity > _HIGHEST * most:
            raise self.unreachable(most, "weights", sparsity)

        def fractions(depth: float) -> dict[str, float]:
            return {name: -math.expm1(-depth * powers.get(name, 0.0)) for name in sizes}

        def excess(depth: float) -> float:
            return sum(sizes[name] * fraction for name, fraction in fractions(depth).items()) / total - sparsity

        deepest = 1.0
        while excess(deepest) < 0:
            deepest *= 2
        return fractions(float(brentq(excess, 0.0, deepest)))

    def check(self, module: nn.Module) -> None:
        """Check that the ratios are those of this network.

        Raises:
            UserError: a name is not in it, or has another shape; names the first.
        """
        shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
        for name, shape in self.shapes.items():
            if shapes.get(name) != shape:
                found = f"has {shapes[name]} there" if name in shapes else "has none of that name"
                raise UserError(f"{self.where}: made for another network: {name} has shape {shape}, this one {found}")


class _Layer(msgspec.Struct, frozen=True):
    parameters: dict[str, tuple[int, ...]]
    ratio: float


class _Document(msgspec.Struct, frozen=True):
    layers: tuple[_Layer, ...]
    exact: bool = False


def load_ratios(path: Path) -> Ratios:
    """Read a file of ratios: `{"layers": [{"parameters": {NAME: SHAPE}, "ratio": 0.8}, ...]}`.

    Raises:
        UserError: it cannot be read, or holds something else, naming file and field.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise UserError(f"{path}: expected a file of ratios, of at most {_LARGEST // 2**20} MB")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    parsed = convert_document(document, _Document, str(path))
    if not parsed.layers:
        raise UserError(f"{path}: layers: [], expected at least one")
    by_name: dict[str, float] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for index, layer in enumerate(parsed.layers):
        if not 0 <= layer.ratio < 1:  # NaN fails
            raise UserError(f"{path}: layers[{index}].ratio: {layer.ratio:g}, expected a fraction in [0, 1)")
        if 0 < layer.ratio < _LEAST and not parsed.exact:
            raise UserError(f"{path}: layers[{index}].ratio: {layer.ratio:g}, expected 0 or at least {_LEAST:g}")
        twice = next((name for name in layer.parameters if name in by_name), None)
        if twice:
            raise UserError(f"{path}: layers[{index}].parameters: {twice} is there twice, expected each weight once")
        by_name |= dict.fromkeys(layer.parameters, layer.ratio)
        shapes |= layer.parameters
    return Ratios(by_name, exact=parsed.exact, shapes=shapes, where=str(path))


def write_ratios(
    path: Path, by_name: Mapping[str, float], shapes: Mapping[str, tuple[int, ...]], *, exact: bool = False
) -> None:
    """Write a file that `load_ratios` reads.

    Args:
        path: of the file.
        by_name: fraction of each weight.
        shapes: of the network's parameters, by name.
        exact: whether fractions are taken as they are, whatever sparsity is asked for.

    Raises:
        UserError: the file cannot be written.
    """
    layers = [{"parameters": {name: shapes[name]}, "ratio": ratio} for name, ratio in by_name.items()]
    write_atomically(path, json.dumps({"exact": exact, "layers": layers}, indent=1).encode())
