"""Benchmark of one network from Python: what `sparsemark bench` does, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sparsemark import paths
from sparsemark.api.runs import Run
from sparsemark.api.subjects import model_of, pruning_of, task_of
from sparsemark.engines import ENGINES
from sparsemark.machine.memory import check_inputs_fit
from sparsemark.machine.placement import check_threads
from sparsemark.machine.temporary import temporary_folder
from sparsemark.records.journal import Journal
from sparsemark.references import is_held
from sparsemark.registry import availability, find
from sparsemark.specs import Protocol
from sparsemark.study.file import EPOCHS, in_precisions, own_study
from sparsemark.study.inputs import held_inputs
from sparsemark.study.prepare import Places
from sparsemark.study.run import measure_cells, open_pipeline
from sparsemark.study.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from sparsemark.specs import ModelSpec, Pruning

T = TypeVar("T")

_NEEDS_FACTORY = "dense"
"""The format that another process turns into a network only by the factory that made it."""


def benchmark(
    network: Any,
    inputs: Any = None,
    *,
    prune: Iterable[str | Pruning] = (),
    engines: Iterable[str] | None = None,
    task: Any = None,
    epochs: int = EPOCHS,
    threads: int = 1,
    rounds: int = Protocol().rounds,
    launches: int = Sampling.launches,
    precisions: Iterable[str] = (),
) -> Run:
    """Prune, export, check and time a network, dense and in every pruning; the same functions as `sparsemark bench`.

    Args:
        network: a `torch.nn.Module`, which is left as it is; `file.py:factory`, `package.module:factory`; or the path
            of an ONNX file.
        inputs: shape of the input, batch first, such as (1, 3, 224, 224); an array or tensor like it; or a list of one
            for each input. None for what an ONNX file declares or the task's images have.
        prune: prunings as after `--prune`, such as ["magnitude:0.9", "channels:0.5:16"].
        engines: names; None takes all that are installed. Fresh processes run a module from its exported files; so of
            a module, None leaves out engines that take the module itself (PyTorch, ncnn) unless `launches` is 0.
        task: file, module or object with a task's functions: inputs, score, and how to fine-tune.
        epochs: of fine-tuning, for every pruning alike.
        threads: of every engine.
        rounds: timed calls of a cell, over all launches.
        launches: fresh processes that share them; 0 measures in this one, sooner and to be trusted less.
        precisions: that cells are measured in beside float32, such as ["int8"].

    Returns:
        A row for each pruning and engine: its latency and score, or the reason why there is none.

    Raises:
        UserError: the network, its input, the task or a name is at fault.
    """
    prunings = list(map(pruning_of, prune))
    protocol, sampling = Protocol.of_rounds(rounds, threads), Sampling(launches)
    check_threads(threads, "threads")
    own = task_of(task)
    with temporary_folder() as work, model_of(network, inputs, own) as model:
        check_inputs_fit(model.inputs, "inputs", held_inputs(has_task=task is not None))
        chosen = _usable(model, sampling) if engines is None else list(engines)
        study = in_precisions(own_study(model, prunings, chosen, protocol, epochs), precisions)
        pipeline = open_pipeline(study, Places(None, work), task=own)
        pipeline.prepare(study.variants[0])  # a network that is at fault is an error, not a row
        return Run.of(measure_cells(pipeline, study.cells, Journal(paths.journal(work)), _unwatched, sampling))


def _usable(model: ModelSpec, sampling: Sampling) -> list[str]:
    """Return the engines that are installed, and that can run the network where it is measured."""
    usable = [row.name for row in availability(ENGINES, "engine") if row.absent is None]
    if sampling.launches and is_held(model.reference):
        return [name for name in usable if find(name, ENGINES, "engine").formats[0] != _NEEDS_FACTORY]
    return usable


def _unwatched(
    items: Sequence[T],
    what: str,  # noqa: ARG001 - named by the protocol
    kinds: Sequence[Hashable] | None = None,  # noqa: ARG001 - as above
) -> Sequence[T]:
    return items
