"""Your images, your score, and how to fine-tune: `sparsemark bench model.py:build --task task.py`.

The smallest form, two functions, is in simple_task.py. Of this one, `images` and `score` are needed; with `batches` and
`loss` every pruned network is fine-tuned before it is timed, its zeros held. What is marked YOURS holds the example's
data: with yours, `draw`, `SEEDS` and `COUNT` go. Paths are from the folder in which the command is typed. `open_task`
stays as it is, since `study.toml` names it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from shapes import draw  # the example's pictures: YOURS are read from your files
from torch.nn import functional

from sparsemark import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The first metric is the headline: which way is better, and the loss up to which a network counts as equally good.
METRICS = {"accuracy": Metric(higher_is_better=True, tolerance=0.01)}

# Choices are made on "select", results reported on "report": never the same images, never those of `batches`.
SEEDS = {"select": 1, "report": 2}  # of the example's pictures, as is COUNT: YOURS
COUNT = 200


def describe() -> Mapping[str, str]:
    """Return what a reader must know of the data; another `key` says that they are other data. YOURS."""
    return {"data": f"{COUNT} generated pictures of stripes", "caveat": "EXAMPLE", "key": "stripes-1"}


def images(part: str) -> Any:
    """Return the inputs of a part, shape (n, channels, height, width), float32: all that `score` judges. YOURS."""
    return draw(COUNT, SEEDS[part])[0]


def score(outputs: tuple[Any, ...], part: str) -> Mapping[str, Any]:
    """Return metrics by name from what the network gave for all of `images(part)`. YOURS.

    An array of a value for each image is scored by its mean, with an interval; a number is taken as it is.
    """
    (logits,) = outputs
    return {"accuracy": logits.argmax(axis=1) == draw(COUNT, SEEDS[part])[1]}


def batches(seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield one epoch of training batches, as inputs and targets; each epoch has another seed. YOURS."""
    for step in range(10):
        inputs, kinds = draw(32, seed=1000 + 10 * seed + step)
        yield torch.from_numpy(inputs), torch.from_numpy(kinds)


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch, from what the network returns and the targets. YOURS, where it is another."""
    return functional.cross_entropy(outputs, targets)


def open_task(model: str, seed: int, fold: int | None, data: object) -> Any:
    """Return the task of a study: this file. `study.toml` names it as its hooks."""
    return sys.modules[__name__]
