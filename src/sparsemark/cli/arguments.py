"""Types of command line arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def network_input(text: str) -> str:
    """Check the form of an input, such as `ids=1,12:int64`; what is in it is the command's to judge."""
    shape(text.rpartition("=")[2].partition(":")[0])
    return text


def shape(text: str) -> tuple[int, ...]:
    """Parse the sizes of an input, such as `1,3,128,128`."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers and commas, such as 1,3,128,128") from None
