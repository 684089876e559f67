"""Numbers to text."""

from typing import TYPE_CHECKING

import numpy as np
import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decimals", "number_texts"]


def decimals(numbers: "NDArray[np.float32]") -> list[bytes]:
    """Write numbers with the shortest digits that round-trip to float32, such as 0.1 and 3.0.

    Parameters
    ----------
    numbers : ndarray of float32, shape (n,)

    Returns
    -------
    texts : list of bytes
    """
    text: bytes = orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",") if len(numbers) else []


def number_texts(numbers: "NDArray[np.float32]") -> list[bytes]:
    """Write numbers like `decimals`, but integers without ``.0``.

    Parameters
    ----------
    numbers : ndarray of float32, shape (n,)

    Returns
    -------
    texts : list of bytes
    """
    return [number.removesuffix(b".0") for number in decimals(numbers)]
