"""Types of command line arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.specs import InputSpec

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def network_input(text: str) -> InputSpec:
    """Parse one input, such as `1,3,128,128` or `ids=1,12:int64`."""
    try:
        return InputSpec.parse(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def shape(text: str) -> tuple[int, ...]:
    """Parse the sizes of an input, such as `1,3,128,128`."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers and commas, such as 1,3,128,128") from None
