"""Float32 outputs on which two engines agree, for a network that float64 is impossible for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sparsemark import engines
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.measurement.parity import ParityError, check
from sparsemark.networks.reference import Reference, spread, stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparsemark.formats.base import Artifact
    from sparsemark.study.batches import Inputs


FALLBACK_ENGINE = "torch"
"""Runs the reference where its own engine cannot."""


def float32_outputs(export: Callable[[str], Artifact], inputs: Inputs, reason: str, *, threads: int) -> Reference:
    """Return the outputs of the first engine with which another one agrees.

    Args:
        export: makes the network's file of a format.
        inputs: of the network.
        reason: why there is no float64 reference.
        threads: of the engines.

    Raises:
        UnsupportedError: no two engines agree.
        UserError: a file cannot be written.
    """
    chosen = spread(len(inputs.batches))
    found: dict[str, Reference] = {}
    for name in dict.fromkeys((FALLBACK_ENGINE, *engines.ENGINES)):
        try:
            predict = engines.load(export(engines.ENGINES[name].formats[0]), name, threads)
            answers = [predict(*(array.copy() for array in inputs.batches[index])) for index in chosen]
        except UserError:
            raise
        except Exception:  # noqa: S112 - it takes two that can run it
            continue
        outputs = tuple(output.astype(np.float64) for output in stack(answers))
        for other, reference in found.items():
            try:
                parity = check(predict, inputs.batches, reference).parity
            except ParityError:
                continue
            note = (
                f"no float64 reference ({reason}): compared with {other} in float32, with which {name} agrees to "
                f"{parity.max_rel:.1e}"
            )
            return replace(reference, notes=(note,))
        found[name] = Reference(outputs, chosen)
    raise UnsupportedError(f"no float64 reference: {reason}; and no two engines agree on it in float32")
