"""Count the cells of a schema's columns that its training data did not have: missing, unseen and outlying values."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COUNTS", "ColumnCounts"]

#: What is counted of each column, in this order.
COUNTS = ("values", "missing", "unseen", "outside")


class ColumnCounts:
    """A `Watch` of an `Encoder`, which adds up in an array.

    Parameters
    ----------
    names : sequence of str
        Of the columns that are counted.
    counts : ndarray of int64, shape (len(names), 4)
        A row for each column; its columns are `COUNTS`.
    ranges : mapping of str to (float, float)
        Least and greatest number of columns whose schema does not say it.
    """

    def __init__(
        self, names: Sequence[str], counts: "NDArray[np.int64]", ranges: Mapping[str, tuple[float, float]]
    ) -> None:
        self._rows = {name: counts[i] for i, name in enumerate(names)}
        self._ranges = ranges

    def count(self, name: str, *, values: int, missing: int = 0, unseen: int = 0, outside: int = 0) -> None:
        """Add to a column's counts; see `entries.Watch`."""
        row = self._rows.get(name)
        if row is not None:
            row += (values, missing, unseen, outside)

    def numbers(self, names: Sequence[str], numbers: "NDArray[Any]") -> None:
        """Count numbers, and those outside their ranges; see `entries.Watch`."""
        for at, name in enumerate(names):
            if name in self._rows:
                outside = 0
                if name in self._ranges:
                    low, high = self._ranges[name]
                    column = numbers[:, at]
                    outside = int(np.count_nonzero((column < low) | (column > high)))
                self.count(name, values=len(numbers), outside=outside)
