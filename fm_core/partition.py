"""Partition: which features of a model a process keeps, if several processes share a model.

Feature f belongs to rank ``f % size``, as row ``f // size`` of that rank's arrays. The ids of one column
of the data are usually consecutive, so this spreads them evenly.
"""

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WHOLE", "Partition"]

_Ids = TypeVar("_Ids", int, "NDArray[np.int32]", "NDArray[np.int64]")


@dataclasses.dataclass(frozen=True)
class Partition:
    """The features of one rank among several.

    Attributes
    ----------
    rank : int
        From 0 to ``size - 1``.
    size : int
        How many share the model.
    """

    rank: int
    size: int

    def of(self, rank: int) -> "Partition":
        """Return the part of another host.

        Parameters
        ----------
        rank : int
            The number of the host, from 0.

        Returns
        -------
        partition : Partition
        """
        return Partition(rank, self.size)

    @property
    def rows(self) -> slice:
        """The rows of the whole model's arrays that are this rank's."""
        return slice(self.rank, None, self.size)

    def features(self, feature_dim: int) -> "NDArray[np.int64]":
        """Return the features of this host.

        Parameters
        ----------
        feature_dim : int
            Number of features of the whole model.

        Returns
        -------
        features : ndarray of int64
            Ascending.
        """
        return np.arange(self.rank, feature_dim, self.size)

    def n_features(self, feature_dim: int) -> int:
        """Return the number of features of this host.

        Parameters
        ----------
        feature_dim : int
            Number of features of the whole model.

        Returns
        -------
        n : int
            0 if there are fewer features than hosts.
        """
        return len(range(self.rank, feature_dim, self.size))

    def n_rows(self, feature_dim: int) -> int:
        """Return the number of rows of this host's arrays.

        Parameters
        ----------
        feature_dim : int
            Number of features of the whole model.

        Returns
        -------
        n : int
            The number of its features, but at least 1, because a model has at least one row.
        """
        return max(1, self.n_features(feature_dim))

    def n_rows_at_most(self, feature_dim: int) -> int:
        """Return the greatest number of rows that any host has.

        Parameters
        ----------
        feature_dim : int
            Number of features of the whole model.

        Returns
        -------
        n : int
        """
        return self.of(0).n_rows(feature_dim)

    def owner(self, features: _Ids) -> _Ids:
        """Return the host that keeps each feature.

        Parameters
        ----------
        features : int or ndarray of int

        Returns
        -------
        ranks : int or ndarray of int
        """
        return features % self.size

    def local(self, features: _Ids) -> _Ids:
        """Return the row of each feature in the arrays of the host that keeps it.

        Parameters
        ----------
        features : int or ndarray of int

        Returns
        -------
        rows : int or ndarray of int
        """
        return features // self.size

    def global_ids(self, rows: "NDArray[np.int32]") -> "NDArray[np.int64]":
        """Return the features that rows of this host's arrays belong to.

        Parameters
        ----------
        rows : ndarray of int32, shape (n,)

        Returns
        -------
        features : ndarray of int64, shape (n,)
        """
        return rows.astype(np.int64) * self.size + self.rank

    def local_slice(self, start: int, stop: int) -> slice:
        """Return the rows of this host that belong to a range of features.

        Parameters
        ----------
        start, stop : int
            The first feature, and the one after the last.

        Returns
        -------
        rows : slice
            Rows of this host's arrays.
        """
        return slice(max(0, -(-(start - self.rank) // self.size)), max(0, -(-(stop - self.rank) // self.size)))

    def places_in(self, start: int) -> slice:
        """Return the positions of this host's features in an array of all features from `start` on.

        Parameters
        ----------
        start : int
            The feature of the array's first row.

        Returns
        -------
        positions : slice
        """
        return slice((self.rank - start) % self.size, None, self.size)


#: One process that keeps all of a model.
WHOLE = Partition(0, 1)
