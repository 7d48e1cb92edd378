"""Subject of linters: an artifact that an engine has loaded, with its layers explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.machine.fingerprint import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.direct.network import Plan
    from sparsemark.formats.csr.graph import Graph
    from sparsemark.records.explanation import ExplainedLayer, Explanation

DEPTHWISE, STRIDED = "depthwise", "strided"


@dataclass(frozen=True)
class Window:
    """A convolution as it can be run alone.

    Args:
        layer: it.
        weight: float32, shape (outputs, inputs / groups, height, width).
        attributes: of the node.
        source: shape of what it reads, (1, channels, height, width).
    """

    layer: ExplainedLayer
    weight: NDArray[Any]
    attributes: dict[str, Any]
    source: tuple[int, ...]

    @property
    def kind(self) -> str | None:
        """`depthwise`, `strided`, or None for any other."""
        if self.attributes.get("group", 1) > 1:
            return DEPTHWISE
        return STRIDED if max(self.attributes.get("strides", [1])) > 1 else None


@dataclass(frozen=True)
class OnnxSubject:
    """An ONNX file in ONNX Runtime.

    Args:
        explanation: its layers.
        path: of the file.
        model: `onnx.ModelProto` with fixed sizes.
        level: of graph optimisation.
        given: made-up inputs by name.
        windows: convolutions with constant weights.
    """

    explanation: Explanation
    path: Path
    model: Any
    level: str
    given: dict[str, NDArray[Any]]
    windows: tuple[Window, ...]

    def caller(self, model: Any, level: str | None = None) -> Callable[[], Sequence[NDArray[Any]]]:
        """Return a call of another model, or another level, on the same inputs."""
        from sparsemark.engines.onnx_runtime import open_session

        session = open_session(model.SerializeToString(), self.explanation.threads, level=level or self.level)
        return lambda: session.run(None, self.given)


@dataclass(frozen=True)
class CsrSubject:
    """A CSR file in `direct-csr`.

    Args:
        explanation: its layers.
        graph: of the file.
        plan: for the shape of its input.
        windows: convolutions of the file.
    """

    explanation: Explanation
    graph: Graph
    plan: Plan
    windows: tuple[Window, ...]


def simd_block() -> int | None:
    """Return the channels in a block of ONNX Runtime's NCHWc layout here; None where it has no such layout.

    Source: `MlasNchwcGetBlockSize` of onnxruntime.
    """
    flags = identity()["cpu_flags"].split()
    return 16 if "avx512f" in flags else 8 if "avx" in flags else None
