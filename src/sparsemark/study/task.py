"""Task: the user's side of a study. Inputs, scores, and optionally how a network learns.

A task is one Python file with functions of these names, or an object with such methods:

- `images(part)`: inputs, shape (n, ...), for `part` "select" (what choices are made on) or "report" (what is reported).
- `score(outputs, part)`: a number, or numbers by name, from the tuple of arrays that the network gave for
  `images(part)`. An array of n values in place of a number is scored by its mean. Must be pure.
- `per_group(outputs, part)`: optional, {group: (score, weight)} of the headline metric, or {group: {metric: (score,
  weight)}} of several: the unit that intervals resample.
- `batches(seed)` and `loss(outputs, targets)`: optional, one epoch of (inputs, targets), and a scalar tensor.
- `train(module, epochs, seed, work)`: optional, replaces the harness's own loop. `epochs` is None where the network is
  to be trained from the start, as long as the task thinks right; returns the history, as JSON values, or None.
- `METRICS`: optional, {name: Metric(higher_is_better, tolerance)}; the first is the headline. Metrics that it does not
  name are reported and not gated; without it the first score is the headline, and higher is better.
- `describe()`: optional, {"data": ..., "caveat": ..., "key": ...}: what a reader must know of the data.
- `provenance()`: optional, whatever else belongs into the header of a checkpoint that is trained here, as JSON values.

The simple form has `images()` and `score(predict)`, where `predict` takes inputs and returns the tuple of outputs.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.analysis.groups import interval_of
from sparsemark.errors import NotFiniteError, TaskError, UserError
from sparsemark.files import key_of
from sparsemark.networks.user_code import file_key, imports_key
from sparsemark.records.scores import DataNote, Groups, Score, SingleInputs
from sparsemark.references import line_in, load_file, one_line, resolve
from sparsemark.specs import Metric
from sparsemark.study.batches import NUMBERS, declared_by, in_batches
from sparsemark.study.lookup import Lookup
from sparsemark.study.task_code import TRAINING, code_without

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from sparsemark.specs import InputSpec, ModelSpec, Variant
    from sparsemark.study.batches import Inputs

SELECT, REPORT = "select", "report"
PARTS = (SELECT, REPORT)

SCORE = "score"
"""Metric of a task that returns a bare number."""


class Task:
    """A user's task, checked at every call.

    Args:
        user: module or object with the functions described above.
        name: file or reference that it came from, for messages.

    Raises:
        TaskError: a function is missing or has the wrong form, naming `name` and the function.
    """

    def __init__(self, user: Any, name: str) -> None:
        self._user, self.name = user, name
        for function in ("images", "score"):
            if not callable(getattr(user, function, None)):
                raise TaskError(f"{name}: {function}: missing, expected a function")
        if self.has("batches") != self.has("loss"):
            absent = "loss" if self.has("batches") else "batches"
            raise TaskError(f"{name}: {absent}: missing, expected with {'batches' if absent == 'loss' else 'loss'}")
        self._inputs: dict[tuple[str, str, tuple[InputSpec, ...]], Inputs] = {}
        self._is_simple = not _accepts(user.images, 1)
        self.metrics = self._checked_metrics()

    def has(self, function: str) -> bool:
        """Whether the task brings an optional function."""
        return callable(getattr(self._user, function, None))

    @property
    def can_finetune(self) -> bool:
        """Whether pruned networks can be trained further."""
        return self.has("train") or self.has("batches")

    @property
    def trains_itself(self) -> bool:
        """Whether the task replaces the harness's own training loop."""
        return self.has("train")

    @property
    def has_one_part(self) -> bool:
        """Whether choices are made on the very inputs that are reported, as in the simple form."""
        return self._is_simple

    @cached_property
    def note(self) -> DataNote:
        """The data in words, with its caveat and key."""
        described = self._json("describe")
        for field in ("data", "caveat", "key"):
            if not isinstance(described.get(field), str | None):
                raise self._wrong("describe", f"{field} is {described[field]!r}", "text")
        words = described.get("data") or f"the inputs of {self.name}"
        if self._is_simple:
            words += "; chosen on the inputs that it reports"
        return DataNote(words, described.get("caveat"), described.get("key"))

    def provenance(self) -> Mapping[str, Any]:
        """Return what a header says of a network that is trained here, beside the data."""
        return {**self._json("describe"), **self._json("provenance")}

    def _json(self, function: str) -> Mapping[str, Any]:
        return self._checked_json(function, self._call(function) if self.has(function) else {})

    def _checked_json(self, function: str, returned: Any) -> Mapping[str, Any]:
        if not isinstance(returned, Mapping):
            raise self._wrong(function, f"returned {type(returned).__name__}", "a mapping")
        try:
            json.dumps(returned)
        except (TypeError, ValueError) as error:
            raise self._wrong(function, one_line(error), "JSON values") from error
        return returned

    @cached_property
    def digest(self) -> str:
        """Key of the data and of the task's code, imports too: what it decided is decided anew where they change."""
        return key_of(self.note.key, file_key(self._file) if self._file else "")

    @cached_property
    def scoring_digest(self) -> str:
        """The same without the code that trains: what was scored stays where only that was mended."""
        code = (code_without(self._file, TRAINING), imports_key(self._file)) if self._file else ""
        return key_of(self.note.key, code)

    @cached_property
    def _file(self) -> Path | None:
        kind = self._user if inspect.ismodule(self._user) else type(self._user)
        try:
            found = Path(inspect.getsourcefile(kind) or "")
        except (OSError, TypeError):  # made on the fly
            return None
        return found if found.is_file() else None

    def images(self, part: str, model: ModelSpec) -> Inputs:
        """Return the inputs of a part in batches of the model's size.

        Raises:
            TaskError: the task fails, or its images do not fit the model.
        """
        key = part, model.name, model.inputs
        if key not in self._inputs:
            self._inputs[key] = self._checked_images(part, model)
        return self._inputs[key]

    def declared_inputs(self) -> tuple[InputSpec, ...]:
        """Return the inputs that the images are of, one a call.

        Raises:
            TaskError: the task fails, or its images do not say it.
        """
        return declared_by(self._images(REPORT), f"{self.name}: images")

    def _images(self, part: str) -> Any:
        return self._call("images", *(() if self._is_simple else (part,)))

    def _checked_images(self, part: str, model: ModelSpec) -> Inputs:
        return in_batches(self._images(part), model, self.note, f"{self.name}: images")

    def scores(self, outputs: Sequence[NDArray[Any]], part: str, inputs: Inputs) -> dict[str, Score]:
        """Score a network's outputs on the inputs of a part, the headline first, with its interval.

        Args:
            outputs: every output for all n inputs, each of shape (n, ...).
            part: which inputs these are.
            inputs: the inputs.

        Raises:
            TaskError: the task fails, or returns something that is no finite number.
        """
        arrays = tuple(outputs)
        if self._is_simple:
            returned = self._call("score", Lookup(inputs, arrays, self.name))
        else:
            returned = self._call("score", arrays, part)
        found = dict(returned) if isinstance(returned, Mapping) else {SCORE: returned}
        if not found:
            raise self._wrong("score", "returned an empty mapping", "at least one number")
        count = sum(len(batch[0]) for batch in inputs.batches)
        groups: dict[str, Groups] = {}
        values = {}
        for name, value in found.items():
            self._check_metric_name(name)
            values[name], spread = self._number(name, value, count)
            if spread is not None:
                groups[name] = SingleInputs((str(i), (float(one), 1.0)) for i, one in enumerate(spread))
        unknown = [name for name in self.metrics if name not in values]
        if unknown:
            raise self._wrong(
                "score", f"returned no {unknown[0]}", f"every metric of METRICS: {', '.join(self.metrics)}"
            )
        order = [*self.metrics, *(name for name in values if name not in self.metrics)]
        if self.has("per_group"):
            groups |= self._groups(arrays, part, order)
        scores = {}
        for name in order:
            assumed = Metric() if not self.metrics and name == order[0] else Metric(tolerance=None)
            metric = self.metrics.get(name, assumed)
            of = groups.get(name)
            low, high = (interval_of(of) if of else None) or (None, None)
            scores[name] = Score(
                values[name],
                low,
                high,
                higher_is_better=metric.higher_is_better,
                tolerance=metric.tolerance,
                input_count=count,
                group_count=len(of) if of and not isinstance(of, SingleInputs) else None,
                groups=of,
            )
        return scores

    def batches(self, seed: int) -> Iterator[tuple[Any, Any]]:
        """Yield one epoch of training batches, as pairs of inputs and targets.

        Raises:
            TaskError: the task fails between two of them as well, or yields something else.
        """
        batches = iter(self._checked_iterable("batches", self._call("batches", seed)))
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except UserError:
                raise
            except Exception as error:
                raise self._failed("batches", error) from error
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise self._wrong("batches", f"yields {type(batch).__name__}", "pairs of inputs and targets")
            yield batch[0], batch[1]

    def loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Return the loss of a batch, a finite scalar tensor that gradients flow from.

        Raises:
            TaskError: it is something else.
        """
        import torch

        value = self._call("loss", outputs, targets)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise self._wrong("loss", f"returned {type(value).__name__}", "a tensor of one number")
        if not math.isfinite(float(value.detach())):
            raise self._wrong("loss", f"is {float(value.detach())}", "a finite number", NotFiniteError)
        return value

    def train(self, module: torch.nn.Module, epochs: int | None, seed: int, work: Path) -> Mapping[str, Any]:
        """Train `module` in place by the task's own loop and return its history."""
        return dict(self._checked_json("train", self._call("train", module, epochs, seed, work) or {}))

    def _call(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._user, function)(*arguments)
        except UserError:
            raise
        except Exception as error:
            raise self._failed(function, error) from error

    def _failed(self, function: str, error: Exception) -> TaskError:
        where = line_in(error, self._file)
        return TaskError(f"{self.name}: {function}: failed: {one_line(error)[:300]}{where}")

    def _checked_iterable(self, function: str, returned: Any) -> Iterable[Any]:
        if not isinstance(returned, Iterable):
            raise self._wrong(function, f"returned {type(returned).__name__}", "something to iterate over")
        return returned

    def _wrong(self, function: str, found: str, expected: str, kind: type[TaskError] = TaskError) -> TaskError:
        return kind(f"{self.name}: {function}: {found}; expected {expected}")

    def _number(self, name: str, value: Any, count: int) -> tuple[float, NDArray[np.float64] | None]:
        """Return a score as a number, and its values by input where the task gave those."""
        try:
            found = np.asarray(value)
        except Exception:  # lists of different lengths, a tensor that gradients flow through
            found = np.asarray(None)
        if found.dtype.kind not in NUMBERS:  # NumPy would read numbers in text as well
            raise self._wrong("score", f"{name} is {type(value).__name__}", "a number")
        array = found.astype(np.float64)
        if not np.isfinite(array).all():
            raise self._wrong("score", f"{name} is {float(array.mean())}", "a finite number", NotFiniteError)
        if array.ndim == 0 or array.size == 1:
            return float(array.reshape(())), None
        if array.shape != (count,):
            raise self._wrong(
                "score", f"{name} has shape {array.shape}", f"a number, or one for each of {count} inputs"
            )
        return float(array.mean()), array

    def _groups(
        self, outputs: tuple[NDArray[Any], ...], part: str, metrics: Sequence[str]
    ) -> dict[str, dict[str, tuple[float, float]]]:
        """Return the groups of each metric that `per_group` gives; a bare pair is of the headline."""
        returned = self._call("per_group", outputs, part)
        groups: dict[str, dict[str, tuple[float, float]]] = {}
        try:
            for group, found in returned.items():
                named = found if isinstance(found, Mapping) else {metrics[0]: found}
                for metric, (score, weight) in named.items():
                    groups.setdefault(metric, {})[str(group)] = float(score), float(weight)
        except (AttributeError, TypeError, ValueError) as error:
            raise self._wrong("per_group", one_line(error), "{group: (score, weight)}") from error
        unknown = [metric for metric in groups if metric not in metrics]
        if unknown:
            raise self._wrong("per_group", f"metric {unknown[0]!r}", f"those of score: {', '.join(metrics)}")
        for pairs in groups.values() or ({},):
            values, weights = np.array(list(pairs.values()), dtype=np.float64).reshape(-1, 2).T
            if not np.isfinite(values).all() or not (weights >= 0).all() or not weights.sum() > 0:
                raise self._wrong("per_group", "a score or weight that is no finite number from 0", "numbers")
        return groups

    def _checked_metrics(self) -> dict[str, Metric]:
        metrics = getattr(self._user, "METRICS", {})
        if not isinstance(metrics, Mapping) or not all(isinstance(metric, Metric) for metric in metrics.values()):
            raise self._wrong("METRICS", repr(metrics)[:80], "{name: sparsemark.Metric(higher_is_better, tolerance)}")
        for name in metrics:
            self._check_metric_name(name)
        return dict(metrics)

    def _check_metric_name(self, name: Any) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise TaskError(f"{self.name}: metric {name!r}: expected letters, digits and '_'")


def _accepts(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a callable written in C has no signature
        return True
    return True


def load_task(path: Path) -> Task:
    """Load a task file.

    Raises:
        TaskError: the file cannot be imported, or lacks a function.
    """
    return Task(load_file(path), str(path))


def always(task: Task | None) -> Callable[[Variant], Task | None]:
    """Return a function that opens the same task for every variant."""
    return lambda _: task


def opener(hooks: str | None, data: Path | None) -> Callable[[Variant], Task | None]:
    """Return a function that opens the task of a variant's model, seed and fold, each once.

    Args:
        hooks: reference of a factory `open_task(model_name, seed, fold, data)`, or None for a study without a task.
        data: the user's images, or None for what the task brings itself.
    """
    if hooks is None:
        return always(None)
    factory = resolve(hooks)
    tasks: dict[tuple[str, int, int | None], Task] = {}

    def open_task(variant: Variant) -> Task:
        key = variant.model.name, variant.seed, variant.fold
        if key not in tasks:
            try:
                made = factory(*key, data)
            except UserError:
                raise
            except Exception as error:
                raise TaskError(f"{hooks}: the factory of tasks failed: {one_line(error)[:300]}") from error
            tasks[key] = Task(made, hooks)
        return tasks[key]

    return open_task
