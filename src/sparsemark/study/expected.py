"""Expected outputs: what engines are checked against, computed once and kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.errors import NoFloat64Error, UnsupportedError
from sparsemark.files import key_of
from sparsemark.formats import FORMATS
from sparsemark.machine.at_work import at_work
from sparsemark.networks.quantised_reference import VERSION, quantised_outputs, quantises
from sparsemark.networks.reference import Reference, float64_outputs
from sparsemark.networks.source import Source
from sparsemark.specs import FP32
from sparsemark.study import reference_outputs
from sparsemark.study.agreed import agreed_outputs
from sparsemark.study.stages import MEASUREMENT_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sparsemark.formats.base import Artifact
    from sparsemark.specs import Cell, Variant
    from sparsemark.study.batches import Inputs
    from sparsemark.study.prepare import Prepared
    from sparsemark.study.stages import Once

SECONDS, TASK_SECONDS = 4.0, 30.0
"""Time for the float64 outputs of one network: on random inputs, and on a task's, which are scored as well."""


class ExpectedOutputs:
    """Outputs of networks that engines must give.

    Args:
        prepare: returns a variant on disk.
        export: makes its file of a format, in a precision.
        once: runs a computation once.
        work: folder of the study.
        threads: of engines that stand in for float64.
    """

    def __init__(
        self,
        prepare: Callable[[Variant], Prepared],
        export: Callable[[Prepared, str, str], Artifact],
        once: Once,
        work: Path,
        threads: int,
    ) -> None:
        self._prepare, self._export, self._once = prepare, export, once
        self._work, self._threads = work, threads
        self._kept: dict[str, Reference] = {}

    def of_network(self, variant: Variant, inputs: Inputs, seconds: float) -> Reference:
        """Return the outputs of a network in float64.

        Args:
            variant: the network.
            inputs: in batches.
            seconds: after which a pass over the inputs runs no further batch; a quantised graph takes four passes.

        Raises:
            UnsupportedError: it cannot be run in float64, nor do two engines agree on it in float32; or it answers one
                input in two ways.
        """
        prepared = self._prepare(variant)
        return self._remembered(self._key(variant), variant, inputs, lambda: self._computed(prepared, inputs, seconds))

    def of_cell(self, cell: Cell, artifact: Artifact, inputs: Inputs, seconds: float) -> Reference:
        """Return those of the network, or of its quantised graph; arguments and errors as in `of_network`."""
        if cell.precision == FP32:
            return self.of_network(cell.variant, inputs, seconds)
        origin = FORMATS[artifact.format].made_from
        if origin is not None:  # the quantised graph is in the file that this one is made from
            artifact = self._export(self._prepare(cell.variant), origin, cell.precision)
        source = Source(cell.variant.model, artifact.path)
        key = key_of(artifact.sha256, VERSION)
        return self._remembered(key, cell.variant, inputs, lambda: quantised_outputs(source, inputs.batches, seconds))

    def of_dense(self, variant: Variant, inputs: Inputs, seconds: float) -> Reference | None:
        """Return those of the unpruned network, None where it has none: that says nothing against this one."""
        try:
            return self.of_network(variant.dense, inputs, seconds)
        except UnsupportedError:
            return None

    def version(self, variant: Variant, precision: str) -> tuple[int, ...]:
        """Return the version of the limits that a quantised network is held to; nothing for other networks."""
        return (VERSION,) if precision != FP32 or self._is_quantised(self._prepare(variant)) else ()

    def _is_quantised(self, prepared: Prepared) -> bool:
        """Return whether it is a user's own quantised file."""
        source = prepared.source
        return source.is_onnx and self._once(("quantises", prepared.key), lambda: quantises(source.path))

    def _key(self, variant: Variant) -> str:
        """Return the key of a network's own outputs, as `of_network` computes them."""
        version = self.version(variant, FP32)
        return key_of(self._prepare(variant).key, *version) if version else self._prepare(variant).key

    def _remembered(
        self, network: str, variant: Variant, inputs: Inputs, compute: Callable[[], Reference]
    ) -> Reference:
        key = key_of(network, inputs.digest, MEASUREMENT_VERSION)
        if key not in self._kept:
            path = paths.reference_outputs(self._work, key)
            reference = reference_outputs.load(path, key)
            if reference is None:
                with at_work("computing the outputs to compare with"):
                    reference = self._once(("reference", key), compute)
                reference_outputs.store(path, key, reference)
            # Those of the dense network stay, beside one other: they can be large.
            dense = key_of(self._key(variant.dense), inputs.digest, MEASUREMENT_VERSION)
            self._kept = {known: kept for known, kept in self._kept.items() if known == dense} | {key: reference}
        return self._kept[key]

    def _computed(self, prepared: Prepared, inputs: Inputs, seconds: float) -> Reference:
        source = prepared.source
        if self._is_quantised(prepared):
            return quantised_outputs(source, inputs.batches, seconds)
        try:
            return float64_outputs(source, inputs.batches, seconds)
        except NoFloat64Error as error:
            model = prepared.variant.model
            return agreed_outputs(
                lambda form: self._export(prepared, form, FP32), model, inputs, self._threads, str(error)
            )
