"""Agreement of a network with the dense one: how often both decide alike, which is not how often they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.front import is_constant
from sparsemark.records.scores import RANDOM_INPUTS
from sparsemark.report import wording
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sparsemark.records.measurement import Measurement

TITLE = "decides as dense"
"""Column of the agreement."""

TITLE_ON_RANDOM = f"{TITLE}, on random inputs"
"""The same where no row was compared on real inputs."""

MEANING = (
    "the share of the inputs given on which a network decides as the dense one, right or wrong (the largest output, or "
    "the sign of a single one)"
)

_RANDOM = "on random inputs it says little of real ones"
_EMPTY = "0 % or 100 % there often means that each network decides alike whatever its input"

TELLS_NOTHING = "tells nothing"
"""In place of the share where one of the two networks answers without looking."""


def is_on_random_inputs(m: Measurement) -> bool:
    """Return whether a row was compared with the dense network on made-up inputs."""
    return m.agreement_with_dense is not None and m.parity_data is not None and RANDOM_INPUTS in m.parity_data.words


def title(cells: Iterable[Measurement]) -> str:
    """Return the title of the column: where all inputs are random it says so."""
    compared = [m for m in cells if m.agreement_with_dense is not None]
    return TITLE_ON_RANDOM if compared and all(map(is_on_random_inputs, compared)) else TITLE


def text(m: Measurement, among: Iterable[Measurement]) -> str:
    """Return the share in a table; that of a network that answers without looking, or whose dense one does, is none.

    Args:
        m: row of the table.
        among: rows of the run, its dense network among them.
    """
    if m.agreement_with_dense is None:
        return wording.ABSENT
    return wording.share(m.agreement_with_dense) if _is_telling(m, among) else TELLS_NOTHING


def in_words(m: Measurement, among: Iterable[Measurement]) -> str:
    """Return `decides as dense on 94 % of the random inputs`; empty where nothing was compared."""
    share = m.agreement_with_dense
    if share is None:
        return ""
    if not _is_telling(m, among):
        return f"how often it {TITLE} {TELLS_NOTHING}, since one of the two answers without looking at its input"
    return f"{TITLE} on {wording.share(share)} of the {RANDOM_INPUTS if is_on_random_inputs(m) else 'inputs'}"


def explained(cells: Collection[Measurement]) -> str:
    """Return what agreement is and is not; empty where no row has one."""
    shares = [(m.agreement_with_dense, is_on_random_inputs(m)) for m in cells if m.agreement_with_dense is not None]
    if not shares:
        return ""
    said = [f"{MEANING}; it is not accuracy"]
    if any(is_random for _, is_random in shares):
        said.append(_RANDOM)
    if any(is_random and share in (0, 1) for share, is_random in shares):
        said.append(_EMPTY)
    return f"{TITLE}: {'; '.join(said)}"


def _is_telling(m: Measurement, among: Iterable[Measurement]) -> bool:
    dense = (one for one in among if one.model == m.model and one.method == DENSE)
    return not any(map(is_constant, (m, *dense)))
