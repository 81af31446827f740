"""Values of Python's as the library takes them, checked where ctypes would cut them in silence."""

from __future__ import annotations

import ctypes
from array import array
from operator import index
from typing import Iterable

from ._errors import BAD_ARGUMENT, TOKEN_OUT_OF_RANGE, error


def unsigned(value: int, what: str, bits: int = 32) -> int:
    """A number from 0 to the largest of so many bits."""
    number = index(value)
    if not 0 <= number < 1 << bits:
        raise error(BAD_ARGUMENT, f"{what} is {number}: give 0 to {(1 << bits) - 1}")
    return number


def text(value: str, what: str) -> bytes:
    """A text that is going to end with a zero, and so has none."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is {type(value).__name__}: give a str")
    if "\0" in value:
        raise error(BAD_ARGUMENT, f"{what} has a zero character: leave it out")
    return value.encode()


def tokens(values: Iterable[int]) -> ctypes.Array[ctypes.c_uint32]:
    """Tokens in memory of their own."""
    if isinstance(values, (bytes, bytearray, str)):
        raise TypeError(f"tokens are {type(values).__name__}: give a sequence of int")
    try:
        numbers = array("I", values)
    except OverflowError:
        raise error(TOKEN_OUT_OF_RANGE, "a token is negative or above 4294967295") from None
    return (ctypes.c_uint32 * len(numbers)).from_buffer(numbers)
