"""What a study file names.

Models, data and training hooks, pruning grid, engines, protocol. Parsed and validated, nothing more.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast
from typing import Protocol as Interface

from sparsemark.engines import ENGINES
from sparsemark.errors import UserError
from sparsemark.pruning import PRUNERS
from sparsemark.references import nearest
from sparsemark.registry import find
from sparsemark.specs import AA, WITHOUT_SPARSITY, Cell, ModelSpec, Protocol, PruneSpec, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray


T = TypeVar("T", str, int, float, dict[str, Any])


class Trainer(Interface):
    """What a study brings to the harness: data, and how its networks learn from them.

    A study file names a factory, `hooks = "training.study:open_trainer"`, which is called with the model's name, the
    seed and the data folder or None, and returns one of these. The seed decides split, initial weights and order of the
    data.
    """

    source: str
    """The images in words: set, number of patients and slices, how they were split."""

    provenance: Mapping[str, Any]
    """What goes into a checkpoint's header.

    Recipe, data hash, split (lists of patients), versions. JSON values only.
    """

    def has_trained(self, provenance: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this header was trained on these very images and this split."""

    def test_images(self) -> NDArray[np.float32]:
        """Test images as the network takes them, shape (n, channels, height, width)."""

    def train(self, module: torch.nn.Module, work: Path) -> Mapping[str, Any]:
        """Fit all parameters in place; what is needed to resume goes to `work`. Returns the history, as JSON values."""

    def recalibrate(self, module: torch.nn.Module) -> None:
        """Estimate BatchNorm's statistics again, in place, on training images."""

    def finetune(self, module: torch.nn.Module, work: Path) -> Mapping[str, Any]:
        """Train a pruned network in place; attached masks stay attached. Resumes and returns as `train`."""

    def evaluate(self, module: torch.nn.Module) -> Mapping[str, float]:
        """Metrics on the test images.

        Accuracy, accuracy_low, accuracy_high (bootstrap by patient), f1, recall, precision, roc_auc.
        """


@dataclass(frozen=True)
class Study:
    """A study file, validated. `variants` are trained and evaluated; `cells` are timed as well."""

    name: str
    root: Path
    hooks: str | None
    variants: tuple[Variant, ...]
    cells: tuple[Cell, ...]
    protocol: Protocol


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A study's name is part of file names."""

_WORDS = {str: "text", int: "a whole number", float: "a number", dict: "a table"}


def load_study(path: Path) -> Study:
    """Read a study file (TOML); its references and folders are relative to the working directory.

    Raises:
        UserError: naming the file, the field and what was expected.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}") from error
    try:
        return _parse(path, document)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _parse(path: Path, document: Mapping[str, Any]) -> Study:
    _check_fields(document, "", ("name", "hooks", "protocol", "model", "prune"))
    name = _one(document, "", "name", str)
    if not _NAME.fullmatch(name):
        raise UserError(f"name: {name!r}, expected letters, digits, '_', '.' and '-'")
    models: dict[str, ModelSpec] = {}
    for where, entry in _tables(document, "model", ("name", "reference", "input")):
        model = ModelSpec(
            _one(entry, where, "name", str), _one(entry, where, "reference", str), _many(entry, where, "input", int)
        )
        if model.name in models:
            raise UserError(f"{where}name: {model.name!r} is there twice, expected each model once")
        models[model.name] = model
    protocol = _protocol(_one(document, "", "protocol", dict, {}))
    variants: dict[Variant, None] = {}
    cells: dict[Cell, None] = {}
    known = ("model", "method", "sparsity", "round_to", "seeds", "engines", "controls")
    for where, entry in _tables(document, "prune", known):
        engines = [
            _known(engine, ENGINES, "engine", f"{where}engines") for engine in _many(entry, where, "engines", str, ())
        ]
        controls = [
            _known(name, ENGINES, "engine", f"{where}controls") for name in _many(entry, where, "controls", str, ())
        ]
        for variant in _variants(entry, where, models):
            variants[variant] = None
            cells |= dict.fromkeys(Cell(variant, engine, protocol.threads) for engine in engines)
            cells |= dict.fromkeys(Cell(variant, engine, protocol.threads, control=AA) for engine in controls)
    hooks = _one(document, "", "hooks", str, "")
    return Study(name, path.parent, hooks or None, tuple(variants), tuple(cells), protocol)


def _variants(entry: Mapping[str, Any], where: str, models: Mapping[str, ModelSpec]) -> Iterator[Variant]:
    method = _known(_one(entry, where, "method", str), PRUNERS, "pruner", f"{where}method")
    names = _many(entry, where, "model", str, tuple(models))
    unknown = [name for name in names if name not in models]
    if unknown:
        raise UserError(f"{where}model: {nearest(unknown[0], models, 'model')}")
    sparsities = _many(entry, where, "sparsity", float, (0.0,) if method in WITHOUT_SPARSITY else None)
    round_to = _one(entry, where, "round_to", int, 1)
    for name in names:
        for seed in _many(entry, where, "seeds", int, (0,)):
            for sparsity in sparsities:
                try:
                    yield Variant(models[name], PruneSpec(method, sparsity, round_to), seed)
                except UserError as error:
                    raise UserError(f"{where.rstrip('.')}: {error}") from error


def _protocol(entry: Mapping[str, Any]) -> Protocol:
    known = {field.name: float if field.type == "float" else int for field in fields(Protocol)}
    _check_fields(entry, "protocol.", known)
    values: dict[str, Any] = {name: _one(entry, "protocol.", name, known[name]) for name in entry}
    negative = [name for name, value in values.items() if not value >= 0]  # written so that NaN fails
    if negative:
        raise UserError(f"protocol.{negative[0]}: {values[negative[0]]!r}, expected a number from 0")
    return Protocol(**values)


def _known(name: str, own: Mapping[str, Any], kind: str, where: str) -> str:
    """Give the name back if sparsemark or another package has it: a typo must not wait for hours of training."""
    try:
        find(name, own, kind)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return name


def _check_fields(entry: Mapping[str, Any], where: str, known: Iterable[str]) -> None:
    unknown = sorted(set(entry) - set(known))
    if unknown:
        raise UserError(f"{where}{unknown[0]}: {nearest(unknown[0], known, 'field')}")


def _tables(document: Mapping[str, Any], name: str, known: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables `[[name]]`, each with the prefix of its fields in errors."""
    entries = document.get(name)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{name}: expected at least one [[{name}]]")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UserError(f"{name}[{index}]: {entry!r}, expected a [[{name}]] table")
        _check_fields(entry, f"{name}[{index}].", known)
        yield f"{name}[{index}].", entry


def _one(entry: Mapping[str, Any], where: str, field: str, kind: type[T], default: T | None = None) -> T:
    if field not in entry and default is not None:
        return default
    if field not in entry:
        raise UserError(f"{where}{field}: missing, expected {_WORDS[kind]}")
    return _as_kind(entry[field], kind, f"{where}{field}")


def _many(
    entry: Mapping[str, Any], where: str, field: str, kind: type[T], default: tuple[T, ...] | None = None
) -> tuple[T, ...]:
    if field not in entry and default is not None:
        return default
    values = entry.get(field)
    if not isinstance(values, list) or not values:
        found = repr(values) if field in entry else "missing"
        raise UserError(f"{where}{field}: {found}, expected a list, each {_WORDS[kind]}")
    return tuple(_as_kind(value, kind, f"{where}{field}") for value in values)


def _as_kind(value: Any, kind: type[T], where: str) -> T:
    accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise UserError(f"{where}: {value!r}, expected {_WORDS[kind]}")
    # An integer is a number too; the rest is of its kind already.
    return cast("T", float(cast("float", value)) if kind is float else value)
