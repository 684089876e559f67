"""A random number for each row that depends only on the row's number, so chunks, shards and order change nothing."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["draws"]


def draws(seed: int, numbers: "NDArray[np.integer]") -> "NDArray[np.float64]":
    """Draw a number from [0, 1) for each of some numbers.

    Parameters
    ----------
    seed : int
    numbers : ndarray of int, shape (n,)
        Of rows, or what stands for a group of rows.

    Returns
    -------
    drawn : ndarray of float64, shape (n,)
        By SplitMix64 of a counter (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
    """
    state = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64((seed + 1) * 0xD1342543DE82EF95 % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    found: NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found
