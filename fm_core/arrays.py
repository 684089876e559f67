"""Reading, writing and checking large arrays in blocks of a few megabytes."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_BYTES", "CACHE_BYTES", "byte_blocks", "first_not_finite", "is_finite", "row_blocks"]

#: Bytes of a block. Large enough for the disk, small enough that whoever has to stop is heard soon.
BLOCK_BYTES = 4 << 20
#: Bytes of a piece that several passes go over, one after the other: what a second-level cache holds.
CACHE_BYTES = 2 << 20


def row_blocks(array: NDArray[Any]) -> Iterator[slice]:
    """Split the rows of an array into blocks.

    Parameters
    ----------
    array : ndarray
        Of one or more dimensions.

    Returns
    -------
    slices : iterator of slice
        Each of at most `BLOCK_BYTES`, or of one row.
    """
    rows = max(1, BLOCK_BYTES // max(1, array.itemsize * math.prod(array.shape[1:])))
    return (slice(start, min(start + rows, len(array))) for start in range(0, len(array), rows))


def is_finite(array: NDArray[Any]) -> bool:
    """Return whether all numbers of an array are finite.

    Parameters
    ----------
    array : ndarray
        Best a block that fits the cache.

    Returns
    -------
    is_finite : bool
        True if the array is empty.
    """
    # The least and the greatest carry a NaN along, and need no array of truths.
    return not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def first_not_finite(array: NDArray[Any]) -> int | None:
    """Return the first row that has a number which is not finite.

    Parameters
    ----------
    array : ndarray
        Of any size; it is read in blocks.

    Returns
    -------
    row : int or None
        None if all numbers are finite.
    """
    for rows in row_blocks(array):
        if not is_finite(array[rows]):
            strange = ~np.isfinite(array[rows].reshape(rows.stop - rows.start, -1)).all(axis=1)
            return int(rows.start) + int(np.argmax(strange))
    return None


def byte_blocks(data: memoryview) -> Iterator[memoryview]:
    """Split bytes into blocks.

    Parameters
    ----------
    data : memoryview of bytes

    Returns
    -------
    blocks : iterator of memoryview
        Each of at most `BLOCK_BYTES`.
    """
    return (data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES))
