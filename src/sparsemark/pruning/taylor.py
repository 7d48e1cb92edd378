"""Taylor: what the loss would change by, to first order, if a weight were zero: |weight * gradient|.

A variant of Molchanov et al., Importance Estimation for Neural Network Pruning, 2019: there it is the mean square of
weight * gradient, for whole filters; here the mean absolute value, for single weights, which can order them otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.pruning.calibration import calibration, gradient_magnitudes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sparsemark.pruning.base import Request
    from sparsemark.pruning.scores import Scores
    from sparsemark.pruning.weights import Weight


def taylor_scores(
    module: torch.nn.Module, weights: Sequence[Weight], request: Request
) -> tuple[Scores, tuple[str, ...]]:
    """Return |weight * gradient| of the task's loss, as its mean over the calibration batches.

    Raises:
        UserError: the request has no data, or the task fails.
    """
    gradients = gradient_magnitudes(module, calibration(request))
    return {one.key: one.parameter.detach().abs() * gradients[one.key] for one in weights}, ()
