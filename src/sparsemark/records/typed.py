"""Typed values from parsed JSON, with errors that name the field, its value and what was expected."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_LONGEST = sys.float_info.max  # excludes infinity and NaN
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def record(values: Mapping[str, Any], kind: type[T], places: Mapping[str, str]) -> T:
    """Return `values` as the dataclass `kind`; names that it lacks are passed over.

    Args:
        values: scalars by field.
        kind: the dataclass.
        places: path in the file of each field in `values`, for the error.

    Raises:
        ValueError: a field has another type or is not finite.
    """
    import msgspec

    if all(map(_is_finite, values.values())):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(values, kind)
    # Once more, field by field: msgspec's error names neither the value nor its place in the file.
    hints = get_type_hints(kind)
    return kind(**{name: scalar(values[name], hint, places[name]) for name, hint in hints.items() if name in values})


def scalar(value: Any, hint: Any, where: str) -> Any:
    """Return a value of a scalar type, or None where `hint` allows it.

    Raises:
        ValueError: it is of another type or not finite.
    """
    import msgspec

    words = dict(_WORDS)
    if _is_finite(value):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(value, hint)
    else:
        words[float] = "a finite number"
    expected = " or ".join(words[kind] for kind in get_args(hint) or (hint,))
    raise ValueError(f"{where} is {value!r}, expected {expected}")


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def mapping(parent: Mapping[str, Any], key: str, where: str = "") -> Mapping[str, Any]:
    """Return the object that `parent` holds under `key`, empty where it is null or absent.

    Raises:
        ValueError: it is something else.
    """
    value = parent.get(key) or {}
    if not isinstance(value, dict):
        # A field's value, not an argument's type.
        raise ValueError(f"{where or key} is {type(value).__name__}, expected an object")  # noqa: TRY004
    return value


def seconds(values: Any, where: str) -> tuple[float, ...]:
    """Return a list of times, empty where it is null or absent.

    Raises:
        ValueError: it is no list, or one of them is not a finite number above 0.
    """
    import msgspec

    if not values:
        return ()
    if not isinstance(values, list | tuple):
        raise ValueError(f"{where} is {values!r}, expected a list of seconds")  # noqa: TRY004 - as above
    with suppress(msgspec.ValidationError):
        return msgspec.convert(values, tuple[Annotated[float, msgspec.Meta(gt=0, le=_LONGEST)], ...])
    wrong = next(v for v in values if isinstance(v, bool) or not isinstance(v, int | float) or not 0 < v <= _LONGEST)
    raise ValueError(f"{where} holds {wrong!r}, expected seconds above 0")
