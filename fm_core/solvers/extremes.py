"""Bound the effect of values that are far beyond all others of their column, as labels are bounded.

A column may have a thousand values near 3 and one of 1,243. Where two such columns meet, the model's pair is a product
of extremes, for which there is no training data. A row with both may be scored fifty deviations off, and a handful of
such rows makes a model worse than the mean (California housing, whose test rows have one household of 1,243). So a pair
with such a column may change a score by at most the range of the labels: the column's factors are shortened until the
pair, at the greatest values of both, stays within that range. Values are measured from the column's middle if that is
not 0.

Columns whose greatest value is similar to the others, and columns of two values, stay unchanged.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Extremes", "bounded", "tails"]

Doubles = NDArray[np.float64]

#: Standard deviations of the greatest value beyond which a column has extremes: normal ones reach 5, lognormal ones 20.
#: Of n values none can be more than sqrt(n): of few, half of that will do, but not less than `_LEAST`.
_FAR, _LEAST = 20.0, 5.0

#: What a pair may add to a classifier's score before the logistic function.
_LOG_ODDS = 10.0


class Extremes(NamedTuple):
    """What is known of a model's columns.

    Attributes
    ----------
    greatest : ndarray of float64, shape (n_columns,)
        The greatest distance of a value from the column's middle.
    tails : ndarray of float64, shape (n_columns,)
        How many deviations that is, of columns with extremes; 0 for all others. See `tails`.
    most : float
        What a pair may move a score by: as far as a label is from the mean.
    """

    greatest: Doubles
    tails: Doubles
    most: float

    @classmethod
    def of_classes(cls, greatest: Doubles, of_tails: Doubles) -> "Extremes":
        """Return the extremes of a classifier, whose scores are log odds.

        Parameters
        ----------
        greatest, of_tails : ndarray of float64, shape (n_columns,)
            The attributes `greatest` and `tails`.

        Returns
        -------
        extremes : Extremes
        """
        return cls(greatest, of_tails, _LOG_ODDS)


def tails(greatest: Doubles, size: Doubles, n: int | NDArray[np.int64]) -> Doubles:
    """Tell how far the greatest of some values is from the middle.

    Parameters
    ----------
    greatest : ndarray of float64
        The greatest distance from the middle, of each column.
    size : ndarray of float64
        Its standard deviation.
    n : int or ndarray of int64
        How many values there are.

    Returns
    -------
    n_deviations : ndarray of float64
        ``greatest / size`` if that is far for n values, else 0.
    """
    far = np.clip(np.sqrt(n) / 2, _LEAST, _FAR)
    is_far = greatest > far * size
    return np.where(is_far & (size > 0), greatest / np.where(size > 0, size, 1), 0.0)


def bounded(
    w0: float, w: NDArray[np.floating], V: NDArray[np.floating], extremes: Extremes, means: Doubles | None = None
) -> tuple[float, NDArray[np.floating], NDArray[np.floating]]:
    """Return a model's parameters with bounded effects of extreme values; the same ones if nothing has to change.

    Parameters
    ----------
    w0 : float
    w : ndarray, shape (n_columns,)
    V : ndarray, shape (n_columns, num_factors)
    extremes : Extremes
    means : ndarray of float64, shape (n_columns,), optional
        Where the columns' middles are, if they are not 0.

    Returns
    -------
    w0, w, V : float and ndarrays of float64, or what was given
    """
    far = np.flatnonzero(extremes.tails > 0)
    if not len(far):
        return w0, w, V
    exact = V.astype(np.float64)
    shares = _shares(exact, far, extremes)
    if (shares == 1).all():
        return w0, w, V
    shorter, of_columns = exact.copy(), w.astype(np.float64)
    shorter[far] *= shares[:, np.newaxis]
    if means is not None:  # what is left out is a pair of distances from the middle: its other parts stay
        before, after = _parts(exact, means), _parts(shorter, means)
        w0 += after[0] - before[0]
        of_columns += before[1] - after[1]
    return w0, of_columns, shorter


def _shares(V: Doubles, far: NDArray[np.intp], extremes: Extremes) -> Doubles:
    """What is left of the factors of columns with extremes."""
    greatest, of_tails, most = extremes
    lengths = np.sqrt(np.einsum("ij,ij->i", V, V, optimize=False)) * greatest
    longest = float(lengths.max(initial=0))
    shares = np.ones(len(far))
    for place, column in enumerate(far.tolist()):
        if lengths[column] * longest <= most:
            continue
        # the one that lies further out, of its own kind, is made shorter
        others = of_tails < of_tails[column]
        others |= (of_tails == of_tails[column]) & (np.arange(len(V)) > column)
        # not the BLAS, whose threads decide bits
        pairs = np.abs(np.einsum("ik,k->i", V, V[column], optimize=False)) * greatest * greatest[column]
        largest = float(pairs[others].max(initial=0))
        if largest > most:
            shares[place] = most / largest
    return shares


def _parts(V: Doubles, means: Doubles) -> tuple[float, Doubles]:
    """The terms that change if values are measured from the middle: a constant, and one for each column."""
    V_m = V * means[:, np.newaxis]
    total = V_m.sum(axis=0)
    squares = np.einsum("ij,ij->i", V, V_m, optimize=False)
    return float(total @ total - np.sum(V_m**2)) / 2, np.einsum("ij,j->i", V, total, optimize=False) - squares
