"""Masks by score: what a method scores, and the choice of the lowest over a network, a layer or a row.

A method is a function that scores every weight, and one that chooses in a layer. Fractions of single layers and random
controls then come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from sparsemark.errors import UnsupportedError
from sparsemark.pruning.base import Pruned, Pruner
from sparsemark.pruning.layout import elements
from sparsemark.pruning.masks import Masks, apply
from sparsemark.pruning.weights import Weight, prunable

if TYPE_CHECKING:
    from sparsemark.pruning.base import Request

_SLACK = 1e-9
"""Part of a weight that a count may lack: 0.29 of 100 is 28.999999999999996 in floating point."""

Scores = dict[str, torch.Tensor]
"""By name of the parameter, of its shape: the lowest go first."""

ScoreFunction = Callable[[torch.nn.Module, Sequence[Weight], "Request"], tuple[Scores, tuple[str, ...]]]
"""Scores the weights of a module, and says in words what it could not score as it should."""

InLayer = Callable[[Weight, torch.Tensor, float], torch.Tensor]
"""Returns the mask of a weight, by its scores and the fraction to remove."""

Draw = Callable[[Weight, torch.Generator], torch.Tensor]
"""Draws a number in (0, 1] for each value of a weight, of its shape, 0 where it was zero already."""

InNetwork = Callable[[Sequence[Weight], Mapping[str, torch.Tensor], float], Masks]
"""Returns the masks of all weights, by their scores and the fraction to remove of all."""


def by_score(
    scope: str,
    score: ScoreFunction,
    in_layer: InLayer,
    in_network: InNetwork | None = None,
    *,
    control: str,
    needs: str = "",
    takes_ratios: bool = True,
    has_blocks: bool = False,
) -> Pruner:
    """Return a pruner that masks the lowest scores.

    Args:
        scope: over what its fraction is counted.
        score: scores weights.
        in_layer: chooses in one layer.
        in_network: chooses over the network; None where every layer loses the same fraction.
        control: as in `Pruner`, likewise the other three.
        needs: as in `Pruner`.
        takes_ratios: as in `Pruner`.
        has_blocks: as in `Pruner`.
    """

    def mask(module: torch.nn.Module, request: Request) -> Pruned:
        weights, scores, notes = _scored(module, request, score)
        if request.ratios is None and in_network is not None:
            masks = in_network(weights, scores, request.spec.sparsity)
        else:
            fractions = _fractions(weights, request)
            masks = {one.key: in_layer(one, scores[one.key], fractions[one.key]) for one in weights}
        apply(module, masks)
        return Pruned(masks=masks, notes=notes)

    return Pruner(scope, mask, needs=needs, takes_ratios=takes_ratios, control=control, has_blocks=has_blocks)


def at_random(
    scope: str,
    score: ScoreFunction,
    in_layer: InLayer,
    in_network: InNetwork | None = None,
    *,
    draw: Draw | None = None,
    needs: str = "",
    takes_ratios: bool = True,
    has_blocks: bool = False,
) -> Pruner:
    """Return the control of a pruner: as much of each layer, in the same units, chosen at random.

    Zeros that are there already come first, as they do for the method itself. Arguments as in `by_score`, and `draw`,
    which draws for single weights unless another one is given.
    """

    def mask(module: torch.nn.Module, request: Request) -> Pruned:
        weights, scores, notes = _scored(module, request, score)
        fractions = _fractions(weights, request)
        if request.ratios is None and in_network is not None:
            chosen = in_network(weights, scores, request.spec.sparsity)
            fractions = {name: 1 - float(kept.double().mean()) for name, kept in chosen.items()}
        masks: Masks = {}
        generator = torch.Generator().manual_seed(request.seed)
        for one in weights:
            drawn = (draw or draw_values)(one, generator)
            masks[one.key] = in_layer(one, drawn, fractions[one.key])
        apply(module, masks)
        return Pruned(masks=masks, notes=notes)

    return Pruner(scope, mask, needs=needs, takes_ratios=takes_ratios, has_blocks=has_blocks)


def draw_values(weight: Weight, generator: torch.Generator) -> torch.Tensor:
    """Draw for each value of a weight, as `Draw` says."""
    values = weight.parameter.detach()
    return (1 - torch.rand(values.shape, generator=generator)) * (values != 0)


def _scored(
    module: torch.nn.Module, request: Request, score: ScoreFunction
) -> tuple[Sequence[Weight], Scores, tuple[str, ...]]:
    """Return the weights to mask, their scores, and notes.

    Raises:
        UnsupportedError: there is no weight, or a score is not finite.
    """
    weights = prunable(module, request.inputs)
    scores, notes = score(module, weights, request)
    wrong = next((name for name, one in scores.items() if not bool(one.isfinite().all())), None)
    if wrong:
        raise UnsupportedError(f"{request.spec.method}: the scores of {wrong} are not finite")
    if request.ratios is not None:
        unnamed = {one.name: one.parameter.numel() for one in weights if one.key not in request.ratios.by_name}
        notes += request.ratios.notes(unnamed)
    return weights, scores, notes


def _fractions(weights: Sequence[Weight], request: Request) -> dict[str, float]:
    """Return the fraction of each weight: the same, or by the ratios of the request."""
    sparsity = request.spec.sparsity
    if request.ratios is None:
        return {one.key: sparsity for one in weights}
    return request.ratios.scaled({one.key: one.parameter.numel() for one in weights}, sparsity)


def lowest(scores: Mapping[str, torch.Tensor], sparsity: float) -> Masks:
    """Return masks of the given fraction of values, those with the lowest scores over all tensors."""
    flat = torch.cat([score.contiguous().flatten() for score in scores.values()])
    count = round(sparsity * flat.numel())
    kept = torch.ones(flat.numel(), dtype=torch.bool)
    kept[torch.topk(flat, count, largest=False).indices] = False
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def lowest_in_network(weights: Sequence[Weight], scores: Mapping[str, torch.Tensor], sparsity: float) -> Masks:
    """Return masks of the lowest scores over all weights."""
    return lowest({weight.key: _zeros_first(weight, scores[weight.key]) for weight in weights}, sparsity)


def lowest_in_layer(weight: Weight, score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return the mask of the lowest scores of one weight."""
    return lowest({"": _zeros_first(weight, score)}, sparsity)[""]


def lowest_in_rows(weight: Weight, score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return the mask of the lowest scores of each output channel of a weight, as many of each.

    Rounded down, as Wanda's authors do, and no channel loses all of its weights: to the nearest number, 95 % of 3 x 3
    would be all nine.
    """
    rows = elements(weight).flatten(1)
    length = rows.shape[1]
    count = min(int(sparsity * length + _SLACK), length - 1)
    values = _zeros_first(weight, score).flatten()[rows]
    chosen = values.topk(count, dim=1, largest=False).indices
    kept = torch.ones(score.numel(), dtype=torch.bool)
    kept[rows.gather(1, chosen)] = False
    return kept.reshape(score.shape)


def _zeros_first(weight: Weight, score: torch.Tensor) -> torch.Tensor:
    """Return scores in which zeros of an earlier step come first: a weight whose score is 0 as well must not."""
    return score.masked_fill(weight.parameter.detach() == 0, -torch.inf)
