"""Partition: which features of a model a process keeps, where several share them.

Feature f belongs to rank ``f % size``, as row ``f // size`` of what that rank keeps: ids that stand
for one column of the data lie close together, and are spread evenly so.
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
        """The features of another rank."""
        return Partition(rank, self.size)

    @property
    def rows(self) -> slice:
        """The rows of the whole model's arrays that are this rank's."""
        return slice(self.rank, None, self.size)

    def features(self, feature_dim: int) -> "NDArray[np.int64]":
        """Give the ids of this rank's features, ascending."""
        return np.arange(self.rank, feature_dim, self.size)

    def n_features(self, feature_dim: int) -> int:
        """How many features this rank has; none where there are fewer than ranks."""
        return len(range(self.rank, feature_dim, self.size))

    def n_rows(self, feature_dim: int) -> int:
        """How many rows its arrays have: one for each feature, and one at least, as a model has a row."""
        return max(1, self.n_features(feature_dim))

    def n_rows_at_most(self, feature_dim: int) -> int:
        """How many rows the arrays of any rank have."""
        return self.of(0).n_rows(feature_dim)

    def owner(self, features: _Ids) -> _Ids:
        """The rank that keeps each feature."""
        return features % self.size

    def local(self, features: _Ids) -> _Ids:
        """The row of each feature in its owner's arrays."""
        return features // self.size

    def global_ids(self, rows: "NDArray[np.int32]") -> "NDArray[np.int64]":
        """Give the features that rows of this rank's arrays stand for."""
        return rows.astype(np.int64) * self.size + self.rank

    def local_slice(self, start: int, stop: int) -> slice:
        """Give this rank's rows, in its own arrays, of the features from `start` to before `stop`."""
        return slice(max(0, -(-(start - self.rank) // self.size)), max(0, -(-(stop - self.rank) // self.size)))

    def places_in(self, start: int) -> slice:
        """Where this rank's features stand in an array whose first row is feature `start`."""
        return slice((self.rank - start) % self.size, None, self.size)


#: One process that keeps all of a model.
WHOLE = Partition(0, 1)
