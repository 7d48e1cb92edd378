"""Typed values from parsed JSON, with errors that name the field, its value and what was expected."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cache
from itertools import pairwise
from reprlib import Repr
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from sparsemark.records.ranges import Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}

_DEEPEST = 20
"""Objects and lists inside each other in what a file says of its machine: Python's own limit ends in a traceback."""

_SHOWN = Repr()
"""Shortens a value for an error: a file may hold one of a million digits, or one too deeply nested to be written."""
_SHOWN.maxstring = _SHOWN.maxother = 80


def shown(value: Any) -> str:
    """Return a value as an error quotes it, shortened."""
    return _SHOWN.repr(value)


def record(values: Mapping[str, Any], kind: type[T], places: Mapping[str, str]) -> T:
    """Return `values` as the dataclass `kind`; names that it lacks are passed over.

    Args:
        values: scalars by field.
        kind: the dataclass; the ranges of its numbers are part of their types.
        places: path in the file of each field in `values`, for the error.

    Raises:
        ValueError: a field has another type, is not finite or lies outside its range.
    """
    import msgspec

    if all(map(_is_finite, values.values())):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(values, kind)
    # Once more, field by field: msgspec's error names neither the value nor its place in the file.
    hints = hints_of(cast("Any", kind))
    return kind(**{name: scalar(values[name], hint, places[name]) for name, hint in hints.items() if name in values})


@cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """Return the types of a dataclass's fields, with their ranges."""
    return get_type_hints(kind, include_extras=True)


def scalar(value: Any, hint: Any, where: str) -> Any:
    """Return a value of a scalar type, or None where `hint` allows it.

    Args:
        value: parsed JSON.
        hint: a type, a union with None, or either with a range.
        where: path in the file, for the error.

    Raises:
        ValueError: it is of another type, not finite or outside its range.
    """
    import msgspec

    if _is_finite(value):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(value, hint)
    kinds = _alternatives(hint)
    expected = " or ".join(_expected(kind, value) for kind in kinds)
    raise ValueError(f"{where} is {shown(value)}, expected {expected}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return (hint,) if get_origin(hint) is Annotated else get_args(hint) or (hint,)


def _expected(kind: Any, value: Any) -> str:
    """Return what a value should have been: its range where it has the right type, else the type."""
    plain, *extras = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    if plain is float and isinstance(value, float) and not _is_finite(value):
        return "a finite number"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = is_number if plain is float else is_number and isinstance(value, int)
    ranges = [extra.description for extra in extras]
    return ranges[0] if fits and ranges else _WORDS[plain]


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def in_order(record: T, orders: Sequence[Sequence[str]], places: Mapping[str, str]) -> T:
    """Return a record whose numbers do not fall from one field to the next.

    Args:
        record: a dataclass.
        orders: fields from the least to the most; those that are None are passed over.
        places: path in the file of each field, for the error.

    Raises:
        ValueError: one of them is below the one before it.
    """
    for fields in orders:
        known = [(name, value) for name in fields if (value := getattr(record, name)) is not None]
        for (low, least), (high, most) in pairwise(known):
            if most < least:
                raise ValueError(f"{places[high]} is {most!r}, expected at least {places[low]}, which is {least!r}")
    return record


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


def shallow(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object that `parent` holds under `key`, whose values nobody types, as in `mapping`.

    Raises:
        ValueError: it is something else, or nested too deeply to be shown.
    """
    found = mapping(parent, key)
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return found
    raise ValueError(f"{key} is nested more than {_DEEPEST} levels deep, expected what pytest-benchmark writes")


def seconds(values: Any, where: str) -> tuple[float, ...]:
    """Return a list of times, empty where it is null or absent.

    Raises:
        ValueError: it is no list, or one of them is no possible duration.
    """
    import msgspec

    if not values:
        return ()
    if not isinstance(values, list | tuple):
        raise ValueError(f"{where} is {shown(values)}, expected a list of seconds")  # noqa: TRY004 - as above
    if all(map(_is_finite, values)):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(values, tuple[Seconds, ...])
    for value in values:
        try:
            scalar(value, Seconds, where)
        except ValueError:
            _, described = get_args(Seconds)
            raise ValueError(f"{where} holds {shown(value)}, expected {described.description}") from None
    raise AssertionError(f"{where}: every value converts, the list does not")
