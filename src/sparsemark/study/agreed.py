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
    from sparsemark.specs import ModelSpec
    from sparsemark.study.batches import Inputs

FALLBACK_ENGINE = "torch"
"""Runs the reference where its own engine cannot."""


def agreed_outputs(
    export: Callable[[str], Artifact], model: ModelSpec, inputs: Inputs, threads: int, reason: str
) -> Reference:
    """Run the engines until two agree.

    Args:
        export: returns the network's file in a format.
        model: the network.
        inputs: that it is run on.
        threads: of an engine.
        reason: why there is no float64, in words.

    Raises:
        UnsupportedError: no engine runs the network on these inputs, or no two agree.
        UserError: of the user's task or disk.
    """
    chosen = spread(len(inputs.batches))
    found: dict[str, Reference] = {}
    for name in (FALLBACK_ENGINE, *(name for name in engines.ENGINES if name != FALLBACK_ENGINE)):
        try:
            predict = engines.load(export(engines.ENGINES[name].formats[0]), name, threads)
            answers = [predict(*(array.copy() for array in inputs.batches[index])) for index in chosen]
        except UserError:
            raise
        except Exception:  # noqa: S112 - it takes two that can run it
            continue
        outputs = tuple(output.astype(np.float64) for output in stack(answers))
        if not any(output.size for output in outputs):  # OpenVINO's answer where sizes do not fit
            continue
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
    if not found:
        raise UnsupportedError(_runs_nowhere(model, reason))
    if len(found) == 1:
        raise UnsupportedError(f"no float64 reference: {reason}; and only {next(iter(found))} runs it, expected two")
    raise UnsupportedError(f"no float64 reference: {reason}; and no two engines agree on it in float32")


def _runs_nowhere(model: ModelSpec, reason: str) -> str:
    """Return what to say of a network that nothing runs: open sizes take any number until it is run."""
    given = " ".join(one.text for one in model.inputs)
    advice = "; most networks with open sizes take multiples of 32" if model.is_onnx else ""
    return f"neither float64 nor any engine runs it on an input of {given}: {reason}{advice}"
