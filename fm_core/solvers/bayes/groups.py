"""Which features lean on each other: groups by hand, by the position of keys, and by the size of values.

A group has means and precisions of its own (priors.py). Users and items, or the columns of a table, differ in how much
they matter, and where that is known the model is better for it. What is not known is not guessed: features whose keys
stand anywhere are one group.
"""

import re

import numpy as np
from numpy.typing import NDArray

from fm_core.errors import ConfigError

__all__ = ["Positions", "by_sizes", "check_sizes", "of_values", "sizes_of"]

Ints = NDArray[np.int32]

#: Share of entries that may stand at another position than their feature did first.
_STRAYING = 0.01

#: Rows of more entries than this are no columns of a table.
_MOST_POSITIONS = 256


class Positions:
    """Whether rows are of one length, each feature at one position: the columns of a table, one-hot.

    Parameters
    ----------
    feature_dim : int
    """

    def __init__(self, feature_dim: int) -> None:
        self._first: Ints | None = np.full(feature_dim, -1, np.int32)
        self._length = -1
        self._n = self._n_straying = 0

    def add(self, indptr: NDArray[np.int64], indices: Ints) -> None:
        """Add rows.

        Parameters
        ----------
        indptr : ndarray of int64, shape (n_rows + 1,)
        indices : ndarray of int32
        """
        if self._first is None or len(indptr) < 2:
            return
        lengths = np.diff(indptr)
        if self._length < 0:
            self._length = int(lengths[0])
        if not 1 < self._length <= _MOST_POSITIONS or (lengths != self._length).any():
            self._first = None
            return
        positions = np.tile(np.arange(self._length, dtype=np.int32), len(lengths))
        new = self._first[indices] < 0
        self._first[indices[new]] = positions[new]
        self._n += len(indices)
        self._n_straying += int(np.count_nonzero(self._first[indices] != positions))
        if self._n_straying > _STRAYING * self._n + self._length:
            self._first = None

    def groups(self, features: Ints) -> Ints:
        """Return the position of each feature in its rows.

        Parameters
        ----------
        features : ndarray of int32, shape (n,)

        Returns
        -------
        groups : ndarray of int32, shape (n,)
            0 for all if features have no fixed position.
        """
        if self._first is None:
            return np.zeros(len(features), np.int32)
        return np.maximum(self._first[features], 0)


def sizes_of(feature_groups: str) -> str | list[int]:
    """Parse the hyperparameter `feature_groups`.

    Parameters
    ----------
    feature_groups : str

    Returns
    -------
    sizes : str or list of int
        ``auto``, ``none``, or the number of features in each group.

    Raises
    ------
    ConfigError
        It is neither.
    """
    if feature_groups in ("auto", "none"):
        return feature_groups
    if not re.fullmatch(r"[1-9][0-9]{0,9}(,[1-9][0-9]{0,9})*", feature_groups):
        raise ConfigError(
            f"hyperparameter feature_groups is {feature_groups[:60]!r}, expected auto, none, or how many features each "
            "group has, such as 943,1682"
        )
    return [int(size) for size in feature_groups.split(",")]


def check_sizes(sizes: list[int], feature_dim: int) -> None:
    """Check that groups have no more features than the model.

    Parameters
    ----------
    sizes : list of int
        The number of features in each group.
    feature_dim : int

    Raises
    ------
    ConfigError
        They have more.
    """
    if sum(sizes) > feature_dim:
        raise ConfigError(
            f"feature_groups names groups of {' + '.join(map(str, sizes))} = {sum(sizes)} features, "
            f"expected at most feature_dim={feature_dim}"
        )


def by_sizes(sizes: list[int], features: Ints) -> Ints:
    """Return the group of each feature, if groups of given sizes follow each other; all others form one more group.

    Parameters
    ----------
    sizes : list of int
    features : ndarray of int32, shape (n,)

    Returns
    -------
    groups : ndarray of int32, shape (n,)
    """
    return np.searchsorted(np.cumsum(sizes), features, side="right").astype(np.int32)


def of_values(groups: Ints, sizes: NDArray[np.float64]) -> tuple[Ints, NDArray[np.float64]]:
    """Split groups whose values differ tenfold, and return the typical value of each.

    A precision speaks of how much a feature moves the score, which is its parameter times its value: numbers of
    thousands beside ones and zeros need one of their own.

    Parameters
    ----------
    groups : ndarray of int32, shape (n,)
    sizes : ndarray of float64, shape (n,)
        Root mean square of each feature's values.

    Returns
    -------
    groups : ndarray of int32, shape (n,)
        Numbered from 0, without gaps.
    typical : ndarray of float64, shape (n_groups,)
        What values are divided by: 1 where all are 1.
    """
    decades = np.round(np.log10(sizes)).astype(np.int64)
    _, first, found = np.unique(np.stack([groups, decades]), axis=1, return_index=True, return_inverse=True)
    found = found.reshape(-1)
    n = np.bincount(found)
    alike = sizes[first]  # exactly, where all values are the same
    mean = np.exp(np.bincount(found, np.log(sizes)) / n)
    low, high = np.full(len(n), np.inf), np.zeros(len(n))
    np.minimum.at(low, found, sizes)
    np.maximum.at(high, found, sizes)
    return found.astype(np.int32), np.where(low == high, alike, mean)
