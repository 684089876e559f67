"""Columns that alone determine the label, for example because they were written after the label was known.

For each column, the mean label of its values is learned from some rows and tested on others. A column that leaves
almost no loss is reported, whatever the other columns are. A value is the first feature that a column has in a row,
such as its text or its bin; for a column with one feature, it is the range of its number.
"""

from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEWEST_ROWS", "columns_that_tell", "even_and_odd"]

#: Rows to learn from and rows to try on, below which nothing is said.
FEWEST_ROWS = 50
#: The share of the loss of the base rate, or of the variance, that a column leaves at most. Ranges of numbers blur.
_LEFT = {True: 0.1, False: 0.02}
#: Ranges of a column of one feature, and such columns that are looked at.
_RANGES, _MOST_OF_ONE = 50, 2_000
#: Rows that a value's mean label counts as besides its own: they have the base rate.
_PRIOR = 0.5


def even_and_odd(rows: Batch) -> tuple[Batch, Batch]:
    """Split rows into those at even positions and those at odd ones.

    Parameters
    ----------
    rows : Batch

    Returns
    -------
    learned, tried : tuple of Batch
        The even rows, to learn from, and the odd rows, to test on.
    """
    numbers = np.arange(rows.n_rows)
    return rows.take(numbers[::2]), rows.take(numbers[1::2])


def columns_that_tell(
    learned: Batch, tried: Batch, first_features: "NDArray[np.int64]", *, is_classifier: bool
) -> list[int]:
    """Find columns that alone determine the label.

    Parameters
    ----------
    learned, tried : Batch
        Sparse, with labels.
    first_features : ndarray of int64, shape (n_columns,)
        Of each column, ascending.
    is_classifier : bool
        Whether labels are 0 and 1.

    Returns
    -------
    columns : list of int
        Their numbers; none where there are few rows.
    """
    if min(learned.n_rows, tried.n_rows) < FEWEST_ROWS:
        return []
    y, z = learned.known_labels.astype(np.float64), tried.known_labels.astype(np.float64)
    mean, spread = float(y.mean()), float(z.var())
    if not (np.isfinite(mean) and spread > 0):
        return []
    y, z, mean = (y, z, mean) if is_classifier else (y - mean, z - mean, 0.0)
    values = _Values(learned, tried, first_features)
    n_columns = len(first_features)
    loss = _cross_entropy if is_classifier else _sum_of_squares
    # Rows that have no feature of a column are one of its values: what is left of all rows.
    row, column, value = values.of(learned)
    count, total = np.bincount(value, minlength=values.n), np.bincount(value, y[row], values.n)
    of_value = (total + _PRIOR * mean) / (count + _PRIOR)
    lacking = len(y) - np.bincount(column, minlength=n_columns)
    of_lacking = (y.sum() - np.bincount(column, y[row], n_columns) + _PRIOR * mean) / (lacking + _PRIOR)
    row, column, value = values.of(tried)
    of_known = np.bincount(column, loss(of_value[value], 1, z[row], z[row] ** 2), n_columns)
    n = len(z) - np.bincount(column, minlength=n_columns)
    first, second = (x.sum() - np.bincount(column, x[row], n_columns) for x in (z, z**2))
    found = of_known + loss(of_lacking, n, first, second)
    of_mean = loss(np.array([mean]), len(z), z.sum(), (z**2).sum())
    return np.flatnonzero(found < _LEFT[is_classifier] * of_mean).tolist()


def _cross_entropy(p: "NDArray[np.float64]", n: "NDArray[np.integer] | int", total: "NDArray[np.float64]",
                   squares: "NDArray[np.float64]") -> "NDArray[np.float64]":  # fmt: skip
    """Return the loss of n labels with a given sum if all get the same probability."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(-(total * np.log(p) + (n - total) * np.log1p(-p)))


def _sum_of_squares(p: "NDArray[np.float64]", n: "NDArray[np.integer] | int", total: "NDArray[np.float64]",
             squares: "NDArray[np.float64]") -> "NDArray[np.float64]":  # fmt: skip
    return np.asarray(squares - 2 * p * total + n * p**2)


class _Values:
    """The values of columns, numbered: features by their id, ranges of columns of one feature behind them."""

    def __init__(self, learned: Batch, tried: Batch, first_features: "NDArray[np.int64]") -> None:
        self._firsts = first_features
        self._of_one: dict[int, tuple[int, NDArray[np.float32]]] = {}
        self.n = learned.feature_dim
        _, indices, values = learned.csr
        bounds = np.append(first_features, learned.feature_dim)
        is_one = np.flatnonzero(np.diff(bounds) <= 2)[:_MOST_OF_ONE]  # a number, and a gap perhaps
        order = np.argsort(indices, kind="stable")
        starts = np.searchsorted(indices[order], bounds[is_one])
        ends = np.searchsorted(indices[order], bounds[is_one] + 1)
        for column, start, end in zip(is_one.tolist(), starts.tolist(), ends.tolist(), strict=True):
            there = values[order[start:end]]
            if len(there) and there.min() < there.max():
                edges = np.unique(np.quantile(there, np.linspace(0, 1, _RANGES + 1)[1:-1]))
                self._of_one[int(first_features[column])] = (self.n, edges)
                self.n += len(edges) + 1

    def of(self, batch: Batch) -> "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]":
        """Give row, column and value of each row and column that has a feature."""
        indptr, indices, values = batch.csr
        row = np.repeat(np.arange(batch.n_rows), np.diff(indptr))
        column = np.searchsorted(self._firsts, indices, side="right") - 1
        at = np.lexsort((indices, column, row))
        is_first = np.append(True, (np.diff(row[at]) != 0) | (np.diff(column[at]) != 0)) if len(at) else at > 0
        at = at[is_first]
        value = indices[at].astype(np.int64)
        order = np.argsort(value, kind="stable")
        ascending = value[order]
        for feature, (first, edges) in self._of_one.items():
            chosen = order[np.searchsorted(ascending, feature) : np.searchsorted(ascending, feature + 1)]
            value[chosen] = first + np.searchsorted(edges, values[at[chosen]], side="left")
        return row[at], column[at], value
