"""Numbers of a column at even distances, in bounded memory."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sample"]

#: Numbers that are kept, at most twice as many.
_MOST = 100_000


class Sample:
    """Every number, until there are too many; then every second one, and so on.

    Attributes
    ----------
    low, high : float
        Of all numbers; infinite if there is none.
    """

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float64]] = []
        self._n, self._stride, self._skip = 0, 1, 0
        self.low, self.high = np.inf, -np.inf

    def add(self, numbers: "NDArray[np.float64]") -> None:
        """Add numbers; only some are kept.

        Parameters
        ----------
        numbers : ndarray of float64
            Finite.
        """
        if not len(numbers):
            return
        self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
        kept = numbers[self._skip :: self._stride]
        self._skip = (self._skip - len(numbers)) % self._stride
        self._parts.append(kept)
        self._n += len(kept)
        while self._n > 2 * _MOST:
            self._parts = [np.concatenate(self._parts)[::2]]
            self._n, self._stride = len(self._parts[0]), 2 * self._stride

    def numbers(self) -> "NDArray[np.float64]":
        """Return those that are kept."""
        return np.concatenate(self._parts) if self._parts else np.empty(0)
