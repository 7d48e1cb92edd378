"""Study file: models, pruning grid, engines and protocol, parsed and validated.

A study of one model of the user's own, as `sparsemark bench` times it, is made here as well.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from sparsemark.analysis.verdicts import Tolerances
from sparsemark.engines import ENGINES
from sparsemark.errors import UserError
from sparsemark.files import convert_document
from sparsemark.machine.memory import check_inputs_fit
from sparsemark.machine.placement import check_threads
from sparsemark.pruning import PRUNERS
from sparsemark.references import nearest
from sparsemark.registry import find
from sparsemark.specs import (
    AA,
    DENSE,
    FP32,
    ONE_SHOT,
    Cell,
    InputSpec,
    ModelSpec,
    Protocol,
    PruneStep,
    Pruning,
    Variant,
    check_precision,
    is_known_beforehand,
    split_steps,
    usual_sparsity,
)
from sparsemark.study.batch_sizes import with_batch
from sparsemark.study.host_classes import HostEntry, HostTable, tables_of
from sparsemark.study.inputs import held_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

EPOCHS = 6
"""Of fine-tuning where neither study nor command line says how many."""

_QUICK_CELLS, _QUICK_PAIRS = 10, 8
"""Of a quick look: about a minute, and samples enough for a 90th percentile."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A study's name is part of file names."""


@dataclass(frozen=True)
class Study:
    """A study, validated. `variants` are prepared and scored; `cells` are timed as well.

    Args:
        name: part of file names.
        hooks: reference of the factory of its tasks, or None.
        variants: each once.
        cells: each once, in the order of the result.
        protocol: how they are timed.
        epochs: of fine-tuning in all, for every pruning alike.
        tolerances: of a gate, in place of its own.
        hosts: classes of hosts, in a sweep over several.
    """

    name: str
    hooks: str | None
    variants: tuple[Variant, ...]
    cells: tuple[Cell, ...]
    protocol: Protocol
    epochs: int = EPOCHS
    tolerances: Tolerances = field(default_factory=Tolerances)
    hosts: tuple[HostTable, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UserError(f"name: {self.name!r}, expected letters, digits, '_', '.' and '-'")
        if self.epochs < 0:
            raise UserError(f"epochs: {self.epochs}, expected a whole number from 0")
        names = [cell.name for cell in self.cells]
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice:
            raise UserError(f"cell {twice}: asked for in two ways that have one name; expected each name once")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a study file, as written."""


class _Model(_Table, frozen=True):
    name: str
    reference: str
    input: tuple[int | str, ...]


class _Prune(_Table, frozen=True):
    method: str
    sparsity: tuple[float, ...] | None = None
    round_to: int = 1
    schedule: str = ONE_SHOT
    model: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] | None = None
    engines: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    precision: tuple[str, ...] = (FP32,)


class _Protocol(_Table, frozen=True):
    threads: int = Protocol.threads
    pairs: int = Protocol.pairs
    block: int = Protocol.block
    rewarm: int = Protocol.rewarm
    warmup_calls: int = Protocol.warmup_calls
    warmup_seconds: float = Protocol.warmup_seconds
    images: int = Protocol.images
    reference: str = Protocol.reference


class _Document(_Table, frozen=True):
    name: str
    model: tuple[_Model, ...] = ()
    prune: tuple[_Prune, ...] = ()
    hooks: str | None = None
    protocol: _Protocol = _Protocol()
    epochs: int = EPOCHS
    tolerance: dict[str, float | dict[str, float]] = {}
    host: tuple[HostEntry, ...] = ()


def load_study(path: Path) -> Study:
    """Read a study file (TOML); its references and folders are relative to the working directory.

    Raises:
        UserError: naming the file, the field and what was expected.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not TOML: {error}") from error
    try:
        parsed = convert_document(document, _Document, str(path))
    except RecursionError as error:
        raise UserError(f"{path}: tables or lists too deep within each other") from error
    try:
        study = _study(parsed)
        check_threads(study.protocol.threads, "protocol.threads:")
        for index, model in enumerate(_models(parsed.model).values()):
            count = held_inputs(has_task=study.hooks is not None)
            check_inputs_fit(model.inputs, f"model[{index}].input", count)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return study


def _study(document: _Document) -> Study:
    for name, tables in (("model", document.model), ("prune", document.prune)):
        if not tables:
            raise UserError(f"{name}: expected at least one [[{name}]]")
    models = _models(document.model)
    protocol = _protocol(document.protocol)
    variants: dict[Variant, None] = {}
    cells: dict[Cell, None] = {}
    for index, table in enumerate(document.prune):
        where = f"prune[{index}]"
        _check_names(table, where, models)
        for variant in _variants(table, where, models):
            variants[variant] = None
            cells |= dict.fromkeys(_cells(variant, table, protocol.threads))
    tolerances = _tolerances(document.tolerance)
    hosts = tables_of(document.host, [cell.name for cell in cells])
    asked, hooks = (tuple(variants), tuple(cells)), document.hooks or None
    return Study(document.name, hooks, *asked, protocol, document.epochs, tolerances, hosts)


def _tolerances(table: Mapping[str, float | Mapping[str, float]]) -> Tolerances:
    """Return a gate's tolerances: numbers by quantity, and those of single cells in the table `cells`."""
    cells = table.get("cells", {})
    numbers = {name: value for name, value in table.items() if isinstance(value, float | int)}
    if not isinstance(cells, dict) or len(numbers) + ("cells" in table) < len(table):
        raise UserError("tolerance: expected numbers, and a table of numbers called cells")
    return Tolerances.named(numbers, cells)


def _models(tables: Iterable[_Model]) -> dict[str, ModelSpec]:
    models: dict[str, ModelSpec] = {}
    for index, table in enumerate(tables):
        if table.name in models:
            raise UserError(f"model[{index}].name: {table.name!r} is there twice, expected each model once")
        models[table.name] = ModelSpec(table.name, table.reference, _inputs(table, index))
    return models


def _inputs(table: _Model, index: int) -> tuple[InputSpec, ...]:
    """Return the inputs of a model: sizes of one float32 input, or one text an input, as on the command line."""
    sizes = [size for size in table.input if isinstance(size, int)]
    if len(sizes) == len(table.input):
        return (InputSpec(tuple(sizes)),)
    if sizes:
        raise UserError(f"model[{index}].input: sizes and texts, expected either")
    return tuple(InputSpec.parse(text) for text in table.input if isinstance(text, str))


def _check_names(table: _Prune, where: str, models: Mapping[str, ModelSpec]) -> None:
    """Raise UserError where a table names what nobody has, or holds an empty list."""
    for kind, names in (("engines", table.engines), ("controls", table.controls)):
        for name in names:
            _check_known(name, ENGINES, "engine", f"{where}.{kind}")
    try:
        steps, _ = split_steps(table.method)
        for precision in table.precision:
            check_precision(precision)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    for step in steps:
        _check_known(step.partition(":")[0].partition("@")[0], PRUNERS, "pruner", f"{where}.method")
    if table.sparsity is None and usual_sparsity(steps[-1]) is None:
        raise UserError(f"{where}.sparsity: missing, expected a list, each a number")
    for name in ("sparsity", "seeds", "folds", "model", "precision"):
        if getattr(table, name) == ():
            raise UserError(f"{where}.{name}: [], expected a list that is not empty")
    unknown = [name for name in table.model or () if name not in models]
    if unknown:
        raise UserError(f"{where}.model: {nearest(unknown[0], models, 'model')}")


def _cells(variant: Variant, table: _Prune, threads: int) -> Iterator[Cell]:
    for precision in table.precision:
        for control, names in ((None, table.engines), (AA, table.controls)):
            for engine in names:
                yield cell_of(variant, engine, precision, threads, control)


def cell_of(variant: Variant, engine: str, precision: str, threads: int, control: str | None = None) -> Cell:
    """Return the cell of a variant on an engine, in the format that the engine takes first.

    Raises:
        UserError: the engine is not known.
    """
    found = find(engine, ENGINES, "engine")
    return Cell(variant, found.formats[0], engine, precision, threads, control)


def _variants(table: _Prune, where: str, models: Mapping[str, ModelSpec]) -> Iterator[Variant]:
    try:
        prunings = list(_prunings(table))
        for name in models if table.model is None else table.model:
            for seed in table.seeds:
                for fold in (None,) if table.folds is None else table.folds:
                    yield from (Variant(models[name], pruning, seed, fold) for pruning in prunings)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _prunings(table: _Prune) -> Iterator[Pruning]:
    """Yield a table's prunings; steps before the last are written with their sparsity, `channels:0.9+magnitude`."""
    (*before, last), is_aware = split_steps(table.method)
    first = tuple(map(PruneStep.parse, before))
    for sparsity in (usual_sparsity(last) or 0.0,) if table.sparsity is None else table.sparsity:
        steps = (*first, PruneStep.of(last, sparsity, table.round_to))
        yield Pruning(() if steps == (PruneStep(DENSE),) else steps, table.schedule, is_aware)


def _protocol(table: _Protocol) -> Protocol:
    values = {name: getattr(table, name) for name in table.__struct_fields__}
    negative = [name for name, value in values.items() if not isinstance(value, str) and not value >= 0]  # NaN fails
    if negative:
        raise UserError(f"protocol.{negative[0]}: {values[negative[0]]!r}, expected a number from 0")
    _check_known(table.reference, ENGINES, "engine", "protocol.reference")
    return Protocol(**values)


def _check_known(name: str, own: Mapping[str, object], kind: str, where: str) -> None:
    """Raise UserError unless sparsemark or another package has the name: a typo must not wait for hours of training."""
    try:
        find(name, own, kind)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def own_study(
    model: ModelSpec,
    prunings: Iterable[Pruning],
    engines: Iterable[str],
    protocol: Protocol,
    epochs: int = EPOCHS,
    *,
    batches: Iterable[int] = (),
    threads: Iterable[int] = (),
) -> Study:
    """Return the study of one model of the user's own: dense, and pruned as asked.

    Args:
        model: the network, which is pruned and trained with the batch of its inputs.
        prunings: beside the dense network.
        engines: that run each.
        protocol: of the timing.
        epochs: of fine-tuning.
        batches: images a call, cells for each; none for what the inputs say.
        threads: of the engines, cells for each; none for what the protocol says.

    Raises:
        UserError: a pruner or engine is not known.
    """
    asked = dict.fromkeys([Pruning(), *prunings])
    for pruning in asked:
        for step in pruning.steps:
            find(step.method, PRUNERS, "pruner")
    variants = [Variant(model, pruning) for pruning in asked]
    models = [with_batch(model, batch) for batch in batches] or [model]
    counts = list(threads) or [protocol.threads]
    cells = [
        cell_of(replace(variant, model=called), engine, FP32, count)
        for variant in variants
        for called in models
        for count in counts
        for engine in engines
    ]
    return Study(model.name.strip("._-") or "own", None, tuple(variants), tuple(dict.fromkeys(cells)), protocol, epochs)


def with_prunings(study: Study, prunings: Iterable[Pruning]) -> Study:
    """Return a study of one network with more prunings, in the cells of the dense network."""
    variants, cells = list(study.variants), list(study.cells)
    for pruning in prunings:
        variants.append(replace(study.variants[0], pruning=pruning))
        dense = [cell for cell in study.cells if cell.variant.pruning.is_dense]
        cells += [replace(cell, variant=replace(cell.variant, pruning=pruning)) for cell in dense]
    return replace(study, variants=tuple(dict.fromkeys(variants)), cells=tuple(dict.fromkeys(cells)))


def in_precisions(study: Study, precisions: Iterable[str]) -> Study:
    """Return a study with its cells in these precisions as well: what float32 is, each is held against.

    Controls are not repeated.

    Raises:
        UserError: a precision is not known.
    """
    precisions = list(precisions)
    for precision in precisions:
        check_precision(precision)
    plain = [cell for cell in study.cells if cell.control is None]
    more = [replace(cell, precision=precision) for precision in precisions for cell in plain]
    return replace(study, cells=tuple(dict.fromkeys([*study.cells, *more])))


def quick_study(study: Study) -> Study:
    """Return the cells that answer first, with a few blocks each.

    The name is another, so that a quick look never replaces results.
    """
    cells = headline_cells(study, _QUICK_CELLS)
    variants = tuple(dict.fromkeys(one for cell in cells for one in (cell.variant.dense, cell.variant)))
    protocol = replace(study.protocol, pairs=min(study.protocol.pairs, _QUICK_PAIRS))
    return replace(study, name=f"{study.name}-quick", cells=cells, variants=variants, protocol=protocol)


def headline_cells(study: Study, count: int) -> tuple[Cell, ...]:
    """Return the cells that answer first, in the study's order.

    They are of the dense network and, of each method, of what removes most, for the first seed: in the reference's
    engine, then in sparse engines that sparsemark brings, then in others. Controls come last.
    """
    seed, fold = study.variants[0].seed, study.variants[0].fold
    most: dict[tuple[str, str], Variant] = {}
    for variant in study.variants:
        key = variant.model.name, variant.pruning.method
        if (variant.seed, variant.fold) == (seed, fold):
            most[key] = max(most.get(key, variant), variant, key=lambda one: one.pruning.sparsity)

    def rank(cell: Cell) -> tuple[bool, bool, int]:
        engine = find(cell.engine, ENGINES, "engine")
        order = cell.engine == study.protocol.reference, engine.sparse and bool(engine.code()), not engine.sparse
        is_known = is_known_beforehand(cell.variant.pruning.method)
        return is_known, cell.precision != FP32, [*order, True].index(True)

    known = [cell for cell in study.cells if cell.variant in most.values() and cell.control is None]
    chosen = sorted(known, key=rank)[:count]
    return tuple(cell for cell in study.cells if cell in chosen)
