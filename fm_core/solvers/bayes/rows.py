"""All rows in memory, by feature: what a sweep walks, in twelve bytes an entry while it is built, four to eight after.

`Collector` takes batches as they come; `Collector.rows` turns them round. Entries of value 0 are left out: they say
nothing. A feature that occurs only so, or never, has no column; what is known of it is its group.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.kernels._by_feature import count, divide, mean_squares, transpose
from fm_core.solvers.bayes.groups import Positions, by_sizes, of_values
from fm_core.solvers.bayes.probes import Probes, Reservoir
from fm_core.solvers.bayes.schedule import Schedule, schedule

__all__ = ["Collector", "Rows"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

#: Share of the fields that rows must fill on average, for colours to be taken for fields.
_FILLED = 0.75

#: Rows are numbered by int32, and so are entries while they are turned round.
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows by feature.

    Attributes
    ----------
    feature_dim, n_rows : int
    labels : ndarray of float32, shape (n_rows,)
    features : ndarray of int32, shape (n,)
        Those that occur, rising: column j is of ``features[j]``.
    starts : ndarray of int64, shape (n + 1,)
    rows : ndarray of int32, shape (n_entries,)
        Those of column j are ``rows[starts[j]:starts[j + 1]]``, rising.
    values : ndarray of float32, shape (n_entries,), or empty
        Divided by the typical value of the group; empty: all are 1.
    groups : ndarray of int32, shape (n,)
    typical : ndarray of float64, shape (n_groups,)
    schedule : Schedule
    fields : ndarray of int64, shape (n_fields + 1,), or empty
        See `compression.RunningMean`; in the schedule's order.
    probes : Probes
        A few rows, and others made of them.
    weights : ndarray of float32, shape (n_rows,), or None
        Above 0: how often each row counts. None: once.
    """

    feature_dim: int
    n_rows: int
    labels: Floats
    features: Ints
    starts: NDArray[np.int64]
    rows: Ints
    values: Floats
    groups: Ints
    typical: NDArray[np.float64]
    schedule: Schedule
    fields: NDArray[np.int64]
    probes: Probes
    weights: Floats | None = None

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.typical)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many rows each feature occurs in."""
        return np.diff(self.starts)

    @property
    def n_counted(self) -> float:
        """How many rows these count as."""
        return self.n_rows if self.weights is None else float(self.weights.sum(dtype=np.float64))

    @property
    def occurrences(self) -> NDArray[np.float64]:
        """How often each feature occurs, rows counting as they do."""
        if self.weights is None or not len(self.features):
            return self.counts.astype(np.float64)
        return np.add.reduceat(self.weights[self.rows].astype(np.float64), self.starts[:-1])


class _Growing:
    """An array that grows at its end; large ones are moved by the system, without a copy."""

    def __init__(self, dtype: type) -> None:
        self._array: NDArray[Any] = np.empty(1024, dtype)
        self.n = 0

    def extend(self, values: NDArray[Any]) -> None:
        end = self.n + len(values)
        if end > len(self._array):
            # untouched pages take no memory
            self._array.resize(max(end, 2 * len(self._array)), refcheck=False)
        self._array[self.n : end] = values
        self.n = end

    def fill(self, value: float, n: int) -> None:
        self.extend(np.broadcast_to(np.float32(value), n))

    def take(self) -> NDArray[Any]:
        """Give the array, and keep nothing."""
        array, self._array = self._array, np.empty(0, self._array.dtype)
        array.resize(self.n, refcheck=False)
        return array


class Collector:
    """Takes batches of rows.

    Parameters
    ----------
    feature_dim : int
    feature_groups : str or list of int
        ``auto``, ``none``, or how many features each group has.
    seed : int
        Of the choice of probes.
    """

    def __init__(self, feature_dim: int, feature_groups: str | list[int] = "auto", seed: int = 0) -> None:
        self._feature_dim = feature_dim
        self._feature_groups = feature_groups
        self._lengths, self._keys, self._values, self._labels = (
            _Growing(np.int64), _Growing(np.int32), _Growing(np.float32), _Growing(np.float32),
        )  # fmt: skip
        self._counts = np.zeros(feature_dim, np.int32)
        self._positions = Positions(feature_dim) if feature_groups == "auto" else None
        self._reservoir = Reservoir(seed)
        self._is_all_ones = True
        self._weights: _Growing | None = None
        self._has_weightless = False

    @property
    def n_rows(self) -> int:
        """How many rows there are so far."""
        return self._labels.n

    @property
    def n_entries(self) -> int:
        """How many entries they have."""
        return self._keys.n

    def add(self, batch: Batch) -> None:
        """Add a batch's rows.

        Parameters
        ----------
        batch : Batch
            With labels.

        Raises
        ------
        DataError
            It has no labels, another feature_dim, or makes more rows or entries than there are numbers for.
        """
        kept = batch.without_weightless()
        self._has_weightless |= kept.n_rows < batch.n_rows
        batch, labels = kept, kept.known_labels
        if batch.feature_dim != self._feature_dim:
            raise DataError(f"a batch has feature_dim={batch.feature_dim}, expected {self._feature_dim}")
        indptr, keys, values = _csr(batch)
        if max(self.n_rows + len(labels), self.n_entries + len(keys)) > _MOST:
            raise DataError(
                f"the data has more than {_MOST} rows or entries, the limit of solver bayes: use solver minibatch"
            )
        if self._positions is not None:
            self._positions.add(indptr, keys)
        indptr, keys, values = _without_zeros(indptr, keys, values)
        all_ones = bool((values == 1).all())
        count(keys, np.empty(0, np.float32) if all_ones else values, self._counts)
        self._reservoir.add(indptr, keys, values)
        if not all_ones and self._is_all_ones:
            self._is_all_ones = False
            self._values.fill(1, self.n_entries)
        if not self._is_all_ones:
            self._values.extend(values)
        self._lengths.extend(np.diff(indptr))
        self._keys.extend(keys)
        if batch.weights is not None and self._weights is None:
            self._weights = _Growing(np.float32)
            self._weights.fill(1, self.n_rows)
        if self._weights is not None:
            self._weights.extend(batch.weights_or_ones)
        self._labels.extend(labels)

    def rows(self) -> Rows:
        """Turn all rows round, once; nothing can be added afterwards.

        Raises
        ------
        DataError
            There is no row.
        """
        if not self.n_rows:
            what = "record of a weight above 0" if self._has_weightless else "records"
            raise DataError(f"the training data has no {what}, expected at least one")
        features = np.flatnonzero(self._counts).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(self._counts[features], dtype=np.int64)])
        groups = self._groups(features)
        lengths = self._lengths.take()
        longest = int(lengths.max(initial=0))
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        del lengths
        labels, keys, values = self._labels.take(), self._keys.take(), self._values.take()
        weights = None if self._weights is None else self._weights.take()
        n_rows, rows = len(labels), np.empty(len(keys), np.int32)
        numbers = self._counts  # has done its duty
        numbers[features] = np.arange(len(features), dtype=np.int32)
        transpose(indptr, keys, values, numbers, starts[:-1].copy(), rows)
        del keys, indptr
        groups, typical = _scaled(groups, starts, values, None if weights is None else weights[rows])
        plan = schedule(starts, rows, n_rows, longest)
        probes = self._reservoir.probes(numbers, plan.colours, typical[groups])
        fields = plan.fields if len(rows) >= _FILLED * n_rows * (len(plan.fields) - 1) else plan.fields[:0]
        return Rows(
            self._feature_dim, n_rows, labels, features, starts, rows, values, groups, typical, plan, fields, probes,
            weights,
        )  # fmt: skip

    def _groups(self, features: Ints) -> Ints:
        if self._positions is not None:
            return self._positions.groups(features)
        if isinstance(self._feature_groups, str):
            return np.zeros(len(features), np.int32)
        return by_sizes(self._feature_groups, features)


def _csr(batch: Batch) -> tuple[NDArray[np.int64], Ints, Floats]:
    if batch.indptr is not None and batch.indices is not None:
        return batch.indptr, batch.indices, batch.values
    n_rows, width = batch.values.shape
    keys = np.tile(np.arange(width, dtype=np.int32), n_rows)
    return np.arange(0, n_rows * width + 1, width, dtype=np.int64), keys, batch.values.ravel()


def _without_zeros(indptr: NDArray[np.int64], keys: Ints, values: Floats) -> tuple[NDArray[np.int64], Ints, Floats]:
    is_kept = values != 0
    if is_kept.all():
        return indptr, keys, values
    kept = np.concatenate([[0], np.cumsum(is_kept)])
    return kept[indptr], keys[is_kept], values[is_kept]


def _scaled(
    groups: Ints, starts: NDArray[np.int64], values: Floats, weights: Floats | None
) -> tuple[Ints, NDArray[np.float64]]:
    """Divide values by what is typical of their group, in place; groups are taken apart where values differ.

    `weights` are those of the values' rows.
    """
    if not len(values):
        found = np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int32)
        return found, np.ones(int(found.max(initial=-1)) + 1)
    if weights is None:
        sizes = mean_squares(starts, values)
    else:
        exact = weights.astype(np.float64)
        sizes = np.add.reduceat(exact * values.astype(np.float64) ** 2, starts[:-1]) / np.add.reduceat(
            exact, starts[:-1]
        )
    groups, typical = of_values(groups, np.sqrt(sizes))
    divide(starts, values, typical[groups])
    return groups, typical
