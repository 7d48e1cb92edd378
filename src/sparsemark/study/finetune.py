"""Fine-tuning of a pruned network on a task's batches: masks held, a budget in epochs, a state to resume from.

A task that brings `train` is called in place of the loop here; what it may not do is checked afterwards.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from sparsemark.errors import TaskError, UserError
from sparsemark.files import code_digest, key_of, write_atomically
from sparsemark.formats.onnx_int8 import weight_limit
from sparsemark.machine.at_work import at_work
from sparsemark.networks.checkpoint import state_digest, tensors_digest
from sparsemark.pruning.calibration import forward
from sparsemark.pruning.masks import held
from sparsemark.references import one_line
from sparsemark.specs import QAT
from sparsemark.study.fake_quantising import fake_quantised
from sparsemark.study.tuning import Tuning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sparsemark.pruning.masks import Masks
    from sparsemark.study.task import Task

_LOG = logging.getLogger(__name__)

LEARNING_RATE = 3e-4
"""Of AdamW at the start, falling to zero along a cosine: low enough for any network not to lose what it learnt."""

_MODULE, _OPTIMIZER, _HEADER = "module", "optimizer", "finetune"
"""Prefixes of tensors in a state file, and its header's name."""


def finetune(
    module: nn.Module,
    task: Task,
    masks: Masks,
    *,
    epochs: int,
    seed: int,
    work: Path,
    done: int = 0,
    aware: bool = False,
    tuning: Tuning | None = None,
) -> Mapping[str, Any]:
    """Train a network in place, its masks held, and return the history as JSON values.

    Args:
        module: the pruned network, on the CPU.
        task: with `train`, or `batches` and `loss`.
        masks: of what stays zero.
        epochs: passes over the task's batches; 0 leaves the network alone.
        seed: of the batches; each epoch of each round has another.
        work: folder for what is needed to resume.
        done: epochs of earlier rounds.
        aware: of quantisation: layers compute with the rounding of int8 meanwhile.
        tuning: time of this network and of others; None knows of this one alone.

    Raises:
        UnsupportedError: no layer could be rounded.
        TaskError: the task fails, its loss is not finite, or its `train` changes shapes or dtypes, brings masked
            weights back or leaves values that are not finite.
    """
    if epochs == 0:
        return {}
    tuning = tuning or Tuning(done + epochs)
    before = _shapes(module)
    if done:
        seed = int(np.random.SeedSequence([seed, done]).generate_state(1)[0])
    # Those of an earlier round are not masked as this one's are, and a task's own loop may add to them.
    module.zero_grad(set_to_none=True)
    if aware:
        # Neither the loop here nor a task's own may go on from a state that was trained without, or to other integers.
        work = work / f"{QAT}{weight_limit()}"
    with held(module, masks, f"{task.name}: train"), fake_quantised(module) if aware else nullcontext():
        if task.trains_itself:
            own = work / _start_key(module, task, masks, epochs, seed)
            own.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            with at_work(f"fine-tuning by the task's train, {epochs} epochs{tuning.left}"):
                history = task.train(module, epochs, seed, own)
            tuning.took(time.monotonic() - began, epochs)
        else:
            history = _fit(module, task, masks, epochs=epochs, seed=seed, work=work, tuning=tuning)
        if _shapes(module) != before:
            raise TaskError(f"{task.name}: train: changed shapes or dtypes; expected new values of the weights only")
    broken = next((name for name, value in _tensors(module).items() if not _is_finite(value)), None)
    if broken is not None:
        raise TaskError(f"{task.name}: train: leaves NaN or infinities in {broken}; expected finite weights")
    module.eval()
    return history


def _fit(
    module: nn.Module, task: Task, masks: Masks, *, epochs: int, seed: int, work: Path, tuning: Tuning
) -> Mapping[str, Any]:
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    path = work / f"{_start_key(module, task, masks, epochs, seed)}.state"
    history = _resume(path, module, optimizer, schedule)
    tuning.begun_after(len(history))
    for epoch in range(len(history), epochs):
        began = time.monotonic()
        with at_work(f"fine-tuning, {tuning.at}{tuning.left}"):
            losses = list(_epoch(module, task, optimizer, seed * epochs + epoch))
        if not losses:
            raise TaskError(f"{task.name}: batches: yields nothing; expected pairs of inputs and targets")
        schedule.step()
        history.append({"epoch": epoch + 1, "train_loss": sum(losses) / len(losses)})
        _save(path, module, optimizer, schedule, history)
        tuning.took(time.monotonic() - began)
    return {"epochs": history}


def _start_key(module: nn.Module, task: Task, masks: Masks, epochs: int, seed: int) -> str:
    """Return the key of all that a fine-tuning begins with: a state of any other is none to go on from."""
    start = state_digest(module.state_dict()), state_digest(masks)
    return key_of(*start, task.digest, code_digest(Path(__file__).parent), epochs, seed)


def _epoch(module: nn.Module, task: Task, optimizer: torch.optim.Optimizer, seed: int) -> Iterator[float]:
    """Pass over a task's batches once, and yield the loss of each."""
    torch.manual_seed(seed)  # of dropout
    module.train()
    for inputs, targets in task.batches(seed):
        optimizer.zero_grad()
        loss = task.loss(forward(module, inputs, task.name), targets)
        backward(loss, task)
        optimizer.step()
        yield float(loss.detach())


def backward(loss: torch.Tensor, task: Task) -> None:
    """Compute the gradients of a task's loss.

    Raises:
        TaskError: none flow from it.
    """
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise TaskError(f"{task.name}: loss: no gradients flow from it: {one_line(error)[:200]}") from error


def _save(path: Path, module: nn.Module, optimizer: Any, schedule: Any, history: list[dict[str, float]]) -> None:
    """Write what `_resume` reads: tensors in safetensors, numbers in its header; no pickle."""
    state_dict = module.state_dict()
    tensors = {f"{_MODULE}.{name}": value for name, value in state_dict.items() if isinstance(value, torch.Tensor)}
    state = optimizer.state_dict()
    for index, values in state["state"].items():
        tensors |= {f"{_OPTIMIZER}.{index}.{name}": value for name, value in values.items()}
    stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = {
        "groups": state["param_groups"],
        "schedule": schedule.state_dict(),
        "history": history,
        "digest": tensors_digest(save(stored)),
    }
    write_atomically(path, save(stored, metadata={_HEADER: json.dumps(header)}))


def _resume(path: Path, module: nn.Module, optimizer: Any, schedule: Any) -> list[dict[str, float]]:
    """Load the state that `_save` wrote into module, optimizer and schedule, and return the history."""
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            if header["digest"] != tensors_digest(path.read_bytes()):
                raise ValueError("another digest")  # noqa: TRY301 - worded below
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        weights: dict[str, torch.Tensor] = {}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == _MODULE:
                weights[rest] = value
            else:
                index, _, field = rest.partition(".")
                state.setdefault(int(index), {})[field] = value
        module.load_state_dict(weights, strict=False)  # without what modules keep beside their tensors
        optimizer.load_state_dict({"state": state, "param_groups": header["groups"]})
        schedule.load_state_dict(header["schedule"])
        history: list[dict[str, float]] = header["history"]
    except Exception as error:  # each library raises different errors for a damaged file
        raise UserError(f"{path}: damaged; remove it to fine-tune from the start") from error
    _LOG.info("fine-tuning goes on after epoch %d, from %s", len(history), path)
    return history


def recalibrate(module: nn.Module, task: Task, seed: int) -> bool:
    """Estimate BatchNorm's statistics again, in place, as the mean over a task's training batches.

    Only BatchNorm is put in training mode, so that no dropout disturbs the estimate. A last, smaller batch is left out
    where there are others, since it would count as much as they do.

    Returns:
        Whether the statistics are now those of the weights: not where there is BatchNorm and the task has no batches.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return True
    if not task.has("batches"):
        return False
    momenta = [layer.momentum for layer in norms]
    module.eval()
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # torch's name for a cumulative mean
        layer.train()
    whole = None
    with torch.no_grad(), at_work("recalibrating BatchNorm"):
        for inputs, _ in task.batches(seed):
            count = len(inputs[0]) if isinstance(inputs, tuple | list) else len(inputs)
            whole = whole or count
            if count == whole:
                forward(module, inputs, task.name)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    module.eval()
    return True


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def _shapes(module: nn.Module) -> Any:
    return {name: (tuple(value.shape), value.dtype) for name, value in _tensors(module).items()}


def _is_finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
