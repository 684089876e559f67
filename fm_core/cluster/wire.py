"""The type of numbers that are sent: float32, or its upper half, bfloat16, for slow networks.

A bfloat16 has float32's sign and exponent, and 8 bits of precision instead of 24: rounding to the nearest changes a
number by at most 1 part in 256. Only what passes between members for one step is rounded: parts of scores and sums,
gradients, and the copies of parameters with which others score. A parameter itself, and its optimizer's state, stays
float32 with its owner. A member rounds its own part like those of the others, so that all add up the same numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.cluster.members import Collectives, Floats, Members

__all__ = ["ITEMSIZE", "Narrowed", "as_bfloat16", "as_float32", "on_wire"]

#: Bytes of a number, by the hyperparameter `_wire_dtype`.
ITEMSIZE = {"float32": 4, "bfloat16": 2}

_NAN = 0x7FC0


def as_bfloat16(numbers: Floats) -> NDArray[np.uint16]:
    """Round to bfloat16, to the nearest and half-way to the even one.

    Parameters
    ----------
    numbers : ndarray of float32, C-contiguous

    Returns
    -------
    bits : ndarray of uint16
        Of the same shape. What is too large becomes infinite; a NaN stays one.
    """
    bits = numbers.view(np.uint32)
    upper = ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    upper[np.isnan(numbers)] = _NAN
    return upper


def as_float32(bits: NDArray[np.uint16], out: Floats | None = None) -> Floats:
    """Convert bfloat16 to float32, exactly.

    Parameters
    ----------
    bits : ndarray of uint16
    out : ndarray of float32, optional
        For the result.

    Returns
    -------
    numbers : ndarray of float32
    """
    numbers = np.empty(bits.shape, np.float32) if out is None else out
    np.left_shift(bits, np.uint32(16), out=numbers.view(np.uint32), dtype=np.uint32)
    return numbers


class _Halves:
    """Collectives that send each float32 as a bfloat16, and all else as it is."""

    def __init__(self, collectives: Collectives) -> None:
        self._collectives = collectives

    def all_gather(self, row: NDArray[Any]) -> NDArray[Any]:
        return self._collectives.all_gather(row)

    def all_to_all(
        self, sent: NDArray[Any], to: Any, by: Any, out: NDArray[Any] | None = None, *, is_large: bool = False
    ) -> NDArray[Any]:
        if sent.dtype != np.float32:
            return self._collectives.all_to_all(sent, to, by, out, is_large=is_large)
        bits = as_bfloat16(sent).view(np.float16)  # gloo sends no uint16; nobody reads them as float16
        return as_float32(self._collectives.all_to_all(bits, to, by, is_large=is_large).view(np.uint16), out)


class Narrowed:
    """Members whose rows are sent as bfloat16; see `members.Members`."""

    def __init__(self, members: Members) -> None:
        self.rank, self.size = members.rank, members.size
        self.keys: Collectives = members.keys
        self.rows: Collectives = _Halves(members.rows)


def on_wire(members: Members, dtype: str) -> Members:
    """Give members that send the numbers of a step as this type.

    Parameters
    ----------
    members : Members
    dtype : {"float32", "bfloat16"}
        The hyperparameter `_wire_dtype`.

    Returns
    -------
    members : Members
        The same ones for float32.
    """
    return members if dtype == "float32" or members.size == 1 else Narrowed(members)
