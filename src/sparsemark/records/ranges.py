"""Ranges of the numbers in a result file, as types: each field declares its own in the list of fields.

A range is wide enough for every measurement and narrow enough that nothing computed from it overflows: a ratio of two
times, the difference of two scores, the exponential of a logarithm.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

_LARGEST_INTEGER = 2**63 - 1
_LARGEST_SCORE = 1e100  # its square and a sum of many are still finite

Fraction = Annotated[float, Meta(ge=0, le=1, description="a fraction from 0 to 1")]
"""Share of a whole."""

Count = Annotated[int, Meta(ge=0, le=_LARGEST_INTEGER, description="a whole number from 0 to 2^63 - 1")]
"""Number of things, some or none."""

Positive = Annotated[int, Meta(ge=1, le=2**31 - 1, description="a whole number from 1 to 2^31 - 1")]
"""Number of things of which there is at least one; arrays are shaped by it, so bytes must still fit 64 bits."""

Seed = Annotated[int, Meta(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER, description="a whole number of 64 bits")]
"""Seed of a random generator."""

Seconds = Annotated[float, Meta(ge=1e-15, le=1e9, description="seconds above 0, from 1e-15 to 1e9")]
"""Duration of a call: no clock shows less, and 1e9 seconds are 32 years."""

Wait = Annotated[float, Meta(ge=0, le=1e9, description="seconds from 0 to 1e9")]
"""Time that something was waited for, or not at all."""

Moment = Annotated[float, Meta(ge=0, le=1e11, description="seconds since 1970, from 0 to 1e11")]
"""Point in time on the system's clock."""

Processors = Annotated[float, Meta(ge=0, le=1e6, description="a number from 0 to 1e6")]
"""Processors whose time may be taken, such as 1.5."""

Milliseconds = Annotated[float, Meta(ge=1e-12, le=1e12, description="milliseconds above 0, from 1e-12 to 1e12")]
"""The same in milliseconds."""

Ratio = Annotated[float, Meta(ge=1e-24, le=1e24, description="a ratio above 0, from 1e-24 to 1e24")]
"""Quotient of two durations."""

Drift = Annotated[float, Meta(ge=0, le=1e24, description="a number from 0 to 1e24")]
"""Movement of a duration, as a fraction of the smallest."""

Distance = Annotated[float, Meta(ge=0, description="a number from 0")]
"""Distance between two outputs."""

ScoreValue = Annotated[float, Meta(ge=-_LARGEST_SCORE, le=_LARGEST_SCORE, description="a number from -1e100 to 1e100")]
"""Score in the unit of its metric."""

Weight = Annotated[float, Meta(ge=0, le=_LARGEST_SCORE, description="a weight from 0 to 1e100")]
"""Weight of a group in a score."""

Loss = Annotated[float, Meta(ge=0, le=_LARGEST_SCORE, description="a number from 0 to 1e100")]
"""Loss of score."""

MEASUREMENT_ORDER = (
    ("p50_ms", "p90_ms", "p95_ms", "p99_ms"),
    ("speedup_low", "speedup_high"),
)
"""Fields of a measurement that must not fall from left to right, where they are known."""

SCORE_ORDER = (("low", "high"), ("loss_low", "loss_high"))
"""The same of a score."""
