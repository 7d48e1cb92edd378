"""Channels removed through torch-pruning: the network that remains is smaller, in every engine.

Torch-Pruning's ratio counts channels; what is asked for here is a share of parameters, so the ratio is solved for.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.networks.channel_graph import call, differentiable, recurrent_layers, traced, untie_states
from sparsemark.pruning.alignment import MISALIGNED, RemovedInputs
from sparsemark.pruning.base import Pruned, Pruner
from sparsemark.pruning.coupling import output_shapes, smallest_of_coupled, stuck_layers, widths
from sparsemark.pruning.output_layers import last_outputs, output_layers
from sparsemark.pruning.weights import listed, named_layers, prunable, tied_weights, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sparsemark.networks.channel_plan import ChannelPlan
    from sparsemark.pruning.base import Request
    from sparsemark.pruning.channel_importance import Importances

_TRIALS = 12
"""Ratios tried, at most: as many halvings make 1/4096, finer than one channel of any layer below 4096."""

_NEAR = 1e-3
"""Distance from the share asked for that ends the search: each trial traces a copy of the network, for seconds."""

_SLACK = 1e-9
"""Taken off a given fraction: torch-pruning rounds what is left down, and a last digit must not cost a channel."""

_FAR = 0.03
"""Distance between the share removed and the one asked for from which a note gives the reason."""

_MOST = 0.9
"""Largest ratio where some layers had to be left alone: cutting the rest to the bone would be another network."""


@dataclass(frozen=True)
class _Job:
    """A request, and what does not change while its ratio is solved for.

    Args:
        request: method, fraction, inputs.
        running: names of the parameters that the network uses.
        total: elements of those before anything was removed.
        kept: names of layers that keep their channels, since they make an output or cannot be cut.
        last: outputs that must keep their shape.
        importances: by which channels are chosen.
        given: of each layer that ratios name, its fraction where they are exact, else the power of what is left of it;
            None where all layers lose the same fraction.
    """

    request: Request
    running: frozenset[str]
    total: int
    kept: frozenset[str]
    last: tuple[int, ...]
    importances: Importances
    given: Mapping[str, float] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the request says how many channels of each layer go, so that no ratio is solved for."""
        return self.request.ratios is not None and self.request.ratios.exact


def by_importance(choose: Callable[[nn.Module, Request], Importances], *, needs: str = "", control: str = "") -> Pruner:
    """Return a pruner that removes the channels of least importance, `needs` and `control` as in `Pruner`."""

    def remove(module: nn.Module, request: Request) -> Pruned:
        return remove_channels(module, request, choose)

    return Pruner("parameters", remove, requires=("torch_pruning",), needs=needs, takes_ratios=True, control=control)


def remove_channels(module: nn.Module, request: Request, choose: Callable[[nn.Module, Request], Importances]) -> Pruned:
    """Remove the least important channels, coupled layers together, until the given share of parameters is gone.

    Whole channels, and multiples of `round_to` of them, come as near to that share as they can. Layers that make an
    output keep their channels, and so do those whose channels cannot be removed: recurrent layers, whose states are not
    cut, and layers before what fits no other number of channels, such as attention heads and PixelShuffle. In one of
    several rounds nothing is removed where that comes nearest.

    Raises:
        UnsupportedError: what torch-pruning says, where it cannot handle the network or finds nothing to remove; no
            layer has weights; or too little is left beside layers that cannot be cut.
        UserError: the layers that ratios let go hold too few parameters.
    """
    if request.spec.sparsity == 0 and not (request.ratios and request.ratios.exact):
        return Pruned()
    prunable(module, request.inputs)
    importances = choose(module, request)
    try:
        with differentiable(module):
            return _remove(module, request, importances)
    finally:
        module.zero_grad(set_to_none=True)


def _remove(module: nn.Module, request: Request, importances: Importances) -> Pruned:
    running = usage(module, request.inputs).parameters
    if not any(f"{name}.weight".lstrip(".") in running for name, _ in named_layers(module)):
        raise UnsupportedError("no channels to remove: no convolution or linear layer takes part in a forward pass")
    total = request.whole or sum(running.values())
    # A cut makes tied weights separate ones: all their names count then.
    names = frozenset(running).union(*(tied for tied in tied_weights(module) if not running.keys().isdisjoint(tied)))
    shapes = output_shapes(module, request.inputs)
    given = _given(module, request)
    for features in (True, False):
        layers = {id(layer): name for name, layer in named_layers(module)}
        outputs = output_layers(module, request.inputs, features=features)
        last = list(range(len(shapes))) if features else last_outputs(module, request.inputs)
        kept = frozenset(layers[id(layer)] for layer in outputs)
        job = _Job(request, names, total, kept, tuple(last), importances, given)
        pruned = _removed(module, job)
        # Where every layer makes an output, those that others are computed from are features, and may lose channels.
        if pruned is not None:
            break
    else:
        if job.is_exact:
            return Pruned(notes=_notes(module, job))
        if request.ratios is not None:
            raise request.ratios.unreachable(0.0, "parameters", request.spec.sparsity)
        stay = listed([name for name, _ in named_layers(module) if f"{name}.weight".lstrip(".") in names])
        raise UnsupportedError(f"torch-pruning found no channel that it can remove: all stay in {stay}")
    after = output_shapes(module, request.inputs)
    changed = [index for index, (one, other) in enumerate(zip(shapes, after, strict=True)) if one != other]
    if set(changed) & set(job.last):
        raise UnsupportedError(f"removing channels changed the output from {shapes} to {after}")
    cut = tuple(
        f"output {index}, from which others are computed, went from {shapes[index]} to {after[index]}"
        for index in changed
    )
    return replace(pruned, notes=(*pruned.notes, *cut))


def _removed(module: nn.Module, job: _Job) -> Pruned | None:
    """Remove channels and return how; None where there is none to remove.

    Raises:
        UnsupportedError: too little is left beside layers that cannot be cut, or torch-pruning fails on the rest.
    """
    request = job.request
    stuck = frozenset(
        name
        for name, layer in recurrent_layers(module).items()
        if any(f"{name}.{own}".lstrip(".") in job.running for own, _ in layer.named_parameters())
    )
    failed: UnsupportedError | None = None
    try:
        _cut(copy.deepcopy(module), request.spec.sparsity / 2, job)
        ratio = _solve_ratio(module, job)
    except UnsupportedError as error:
        found = frozenset(
            stuck_layers(
                module, request.inputs, request.spec.round_to, kept=job.kept, running=job.running, last=job.last
            )
        )
        if not found:
            raise
        failed, stuck, job = error, stuck | found, replace(job, kept=job.kept | found)
        try:
            ratio = _solve_ratio(module, job)
        except UnsupportedError as still:
            raise UnsupportedError(f"{_left_alone(module, stuck, request)}, nor all that is left: {still}") from error
    alone = _left_alone(module, stuck, request)
    if stuck and ratio is not None and ratio > _MOST and request.ratios is None:
        raise UnsupportedError(f"{alone}; what is left is too little") from failed
    if ratio is None:
        return Pruned()
    whole, removed, tied = copy.deepcopy(module), RemovedInputs(), tied_weights(module)
    plan = _cut(module, ratio, job, removed)
    if not plan and stuck and not job.is_exact:
        raise UnsupportedError(f"torch-pruning found no channel that it can remove: {alone}")
    notes = ((alone,) if stuck else ()) + _notes(module, job) + _untied(module, tied) + _share(module, job, ratio)
    notes += () if removed.fit(whole, module, request.inputs) else (MISALIGNED,)
    return Pruned(plan, notes=notes) if plan else None


def _notes(module: nn.Module, job: _Job) -> tuple[str, ...]:
    """Return, in words, which layers kept their channels for want of a score or a ratio."""
    method, unscored = job.request.spec.method, job.importances.unscored
    notes = (f"{method}: nothing to score by, so all channels stay in {listed(unscored)}",) if unscored else ()
    if job.request.ratios is None or job.given is None:
        return notes
    unnamed = {
        name: width
        for name, width in widths(module).items()
        if name not in job.given and name not in job.kept and f"{name}.weight".lstrip(".") in job.running
    }
    return notes + job.request.ratios.notes(unnamed)


def _untied(module: nn.Module, tied: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return, in words, which weights were one parameter before the cut and are several now."""
    own = dict(module.named_parameters(remove_duplicate=False))
    return tuple(
        f"{', '.join(names)} were one tied weight; without the removed channels each is its own parameter"
        for names in tied
        if len({id(own[name]) for name in names}) > 1
    )


def _share(module: nn.Module, job: _Job, ratio: float) -> tuple[str, ...]:
    """Return, in words, why the share of parameters that is gone is far from the one asked for, where it is."""
    request = job.request
    gone, asked = 1 - _parameter_count(module, job) / job.total, request.spec.sparsity
    if request.more or request.ratios is not None or abs(gone - asked) < _FAR:
        return ()
    multiple = request.spec.round_to
    if ratio > _MOST and gone < asked:
        why = "all that is left is needed"
    elif multiple > 1:
        why = f"channels go in multiples of {multiple}"
    else:
        why = "coupled layers lose channels together"
    return (f"{100 * gone:.0f} % of the parameters removed, the nearest to {100 * asked:g} % that was found: {why}",)


def _solve_ratio(module: nn.Module, job: _Job) -> float | None:
    """Search for the channel ratio whose removed share of parameters is nearest to the one asked for.

    By bisection, whose middle is moved to where a straight line between the ends would meet the target.

    Returns:
        The ratio; None where removing nothing comes nearest, if other rounds remove something.

    Raises:
        UnsupportedError: no ratio works.
        UserError: the layers that ratios let go hold too few parameters.
    """
    request = job.request
    if job.is_exact:
        return request.spec.sparsity
    target = request.spec.sparsity
    gone = 1 - _parameter_count(module, job) / job.total
    low, high = 0.0, 1.0
    # What the highest ratio removes is not known, and may be less than a lower one does where channels go in groups, so
    # the first trial is in the middle.
    removed_at = {low: gone}
    # By ratios, layers lose channels at rates that can be far apart.
    finest = 0.25 / max(widths(module).values()) if request.ratios is None else 0.0
    best, best_distance = (None, abs(gone - target)) if request.more or gone else (0.0, 1.0)
    failed: UnsupportedError | None = None
    worked = False
    for _ in range(_TRIALS):
        ratio = _between(low, high, removed_at.get(low), removed_at.get(high), target)
        trial = copy.deepcopy(module)
        try:
            _cut(trial, ratio, job)
        except UnsupportedError as error:
            # Some numbers of channels do not fit, such as those that attention heads do not divide.
            failed, high = error, ratio
            continue
        worked = True
        removed = removed_at[ratio] = 1 - _parameter_count(trial, job) / job.total
        if abs(removed - target) < best_distance:
            best, best_distance = ratio, abs(removed - target)
        low, high = (ratio, high) if removed < target else (low, ratio)
        if best_distance < _NEAR or high - low < finest:
            break
    if failed is not None and not worked:
        raise failed
    most = max(removed_at.values())
    if request.ratios is not None and not request.more and most < target - _NEAR:
        most = max(most, _most(module, job))
        if 0 < most < target - _NEAR:  # with none, other layers may be free where features may change
            raise request.ratios.unreachable(most, "parameters", target)
    return best


def _most(module: nn.Module, job: _Job) -> float:
    """Return the share of parameters that is gone where all channels go that may."""
    trial = copy.deepcopy(module)
    try:
        _cut(trial, 1.0, job)
    except UnsupportedError:  # not all of them can go at once
        return 1.0
    return 1 - _parameter_count(trial, job) / job.total


def _between(low: float, high: float, at_low: float | None, at_high: float | None, target: float) -> float:
    """Return the next ratio to try; the middle where an end has no value, since it could not be cut."""
    if at_low is None or at_high is None or not at_low < target < at_high:
        return (low + high) / 2
    # Kept off the ends, so that every step takes at least an eighth away.
    share = min(max((target - at_low) / (at_high - at_low), 0.125), 0.875)
    return low + share * (high - low)


def _parameter_count(module: nn.Module, job: _Job) -> int:
    """Return the number of parameters in the part of a network that runs."""
    return sum(parameter.numel() for name, parameter in module.named_parameters() if name in job.running)


def _cut(module: nn.Module, ratio: float, job: _Job, removed: RemovedInputs | None = None) -> ChannelPlan:
    """Cut a network in place; `removed` is given what is cut away."""
    import torch_pruning as tp

    round_to, inputs = job.request.spec.round_to, job.request.inputs
    try:
        with contextlib.redirect_stdout(io.StringIO()), torch.enable_grad(), traced(module) as options:
            # Its default dictionaries are mutable and shared between calls, hence fresh ones; it prints to stdout.
            pruner = tp.pruner.BasePruner(
                module,
                inputs,
                importance=job.importances.of(module),
                pruning_ratio=ratio,
                pruning_ratio_dict=_ratios(module, ratio, job),
                ignored_layers=[layer for name, layer in named_layers(module) if name in job.kept],
                round_to=round_to if round_to > 1 else None,
                in_channel_groups={},
                out_channel_groups={},
                num_heads={},
                channel_groups={},
                **options,
            )
            pruner.ignored_layers += untie_states(pruner.DG)
            for group in pruner.step(interactive=True):
                if removed is not None:
                    removed.add(group, pruner.DG)
                group.prune()
            history: list[tuple[str, bool, list[int]]] = pruner.DG.pruning_history()
            call(module, inputs)
    except Exception as error:
        raise UnsupportedError(f"torch-pruning: {type(error).__name__}: {' '.join(str(error).split())}") from error
    return tuple((name, bool(is_out), tuple(int(i) for i in indices)) for name, is_out, indices in history)


def _left_alone(module: nn.Module, stuck: frozenset[str], request: Request) -> str:
    """Return which layers keep their channels, and with which multiple an attention would let go of some."""
    recurrent = recurrent_layers(module)
    names = [
        f"{name} ({type(layer).__name__})" if name in recurrent else name
        for name, layer in module.named_modules()
        if name in stuck
    ]
    shown = 3
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    text = f"channels cannot be removed from {', '.join(names[:shown])}{more}"
    heads = {
        name: layer.num_heads for name, layer in module.named_modules() if isinstance(layer, nn.MultiheadAttention)
    }
    multiple = math.lcm(request.spec.round_to, *heads.values())
    if multiple == request.spec.round_to:
        return text
    attention = next(iter(heads))
    asked = f"{request.spec.method}:{request.spec.sparsity:g}:{multiple}"
    return f"{text}: attention {attention} has {heads[attention]} heads; {asked} keeps a multiple of them"


def _given(module: nn.Module, request: Request) -> dict[str, float] | None:
    """Return what ratios say of each layer, as in `_Job`."""
    ratios = request.ratios
    if ratios is None:
        return None
    found = smallest_of_coupled(module, request.inputs, ratios.by_name if ratios.exact else ratios.powers())
    # Halfway between the layers that lose most and least, so that the search sees both.
    middle = 1.0 if ratios.exact else math.sqrt(min((one for one in found.values() if one), default=1.0))
    return {name: one / middle for name, one in found.items()}


def _ratios(module: nn.Module, ratio: float, job: _Job) -> dict[nn.Module, float]:
    """The ratio of each layer, held where `round_to` channels are left.

    Beyond that torch-pruning rounds down to none, refuses, and leaves the layer whole: asking for more would remove
    less. Half a channel of slack keeps floating point from losing one.
    """
    round_to, given = job.request.spec.round_to, job.given

    def of(name: str) -> float:
        if given is None:
            return ratio
        if job.is_exact:
            return given.get(name, 0.0) - _SLACK
        # From 0 to 1 as the ratio goes, with room at the far end for layers of which little is to go.
        left = math.exp(-ratio / (1 - ratio)) if ratio < 1 else 0.0
        return 1.0 - math.pow(left, given.get(name, 0.0))

    return {
        module.get_submodule(name): max(0.0, min(of(name), 1 - (round_to + 0.5) / width))
        for name, width in widths(module).items()
    }
