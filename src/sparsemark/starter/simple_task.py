"""The smallest task: images, and a score of a network's answers to them. Nothing is fine-tuned with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shapes import draw

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES, KINDS = draw(200, seed=2)


def images() -> Any:
    """Return the inputs, shape (n, channels, height, width), float32."""
    return IMAGES


def score(predict: Callable[..., tuple[Any, ...]]) -> float:
    """Return the share of right answers; `predict` takes images and returns a tuple of the network's outputs."""
    (logits,) = predict(images())
    return float((logits.argmax(axis=1) == KINDS).mean())
