"""A few rows that are looked at closely: some of the training data's, and others made of them.

How far the mean of the samples still is from where it goes, and how much its probabilities are overrated, shows on
rows that were not learned from. Without any: two rows are crossed, the entry of each colour (schedule.py: of each
field, where there are fields) taken from the one or the other. Such rows have what real ones have, in new company.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fm_core.solvers.bayes.randomness import generator

__all__ = ["Probes", "Reservoir"]

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]

#: Rows that are kept.
_ROWS = 2048
#: Rows that are crossed at a time.
_CROSSED = 256


@dataclasses.dataclass(frozen=True)
class Probes:
    """Rows in CSR, of columns as `rows.Rows` numbers them: some of the data's, then as many crossed ones.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_rows + 1,)
    keys : ndarray of int32, shape (n_entries,)
    values : ndarray of float32, shape (n_entries,)
    n_real : int
        Rows of the data.
    """

    indptr: NDArray[np.int64]
    keys: Ints
    values: Floats
    n_real: int

    @property
    def interactions(self) -> float:
        """Mean over the data's rows of the sum of (x_i x_j)^2 over their pairs."""
        squares = self.values.astype(np.float64) ** 2
        sums = np.concatenate([[0.0], np.cumsum(squares)])
        fourths = np.concatenate([[0.0], np.cumsum(squares**2)])
        of_rows = np.diff(sums[self.indptr[: self.n_real + 1]]) ** 2 - np.diff(fourths[self.indptr[: self.n_real + 1]])
        return float(of_rows.mean()) / 2 if self.n_real else 0.0


class Reservoir:
    """Keeps those rows whose numbers have the smallest hashes: the same whatever batches they come in."""

    def __init__(self, seed: int) -> None:
        self._seed = np.uint64(seed % 2**64)
        self._n_seen = 0
        self._hashes = np.empty(0, np.uint64)
        # which of the stored rows are kept; the others go when they are many
        self._kept = np.empty(0, np.int64)
        self._stored = [_Csr(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))]

    def add(self, indptr: NDArray[np.int64], keys: Ints, values: Floats) -> None:
        """Add rows; only some are kept.

        Parameters
        ----------
        indptr : ndarray of int64, shape (n_rows + 1,)
        keys : ndarray of int32
        values : ndarray of float32
        """
        n = len(indptr) - 1
        hashes = _hash(np.arange(self._n_seen, self._n_seen + n, dtype=np.uint64) ^ (self._seed << np.uint64(32)))
        self._n_seen += n
        limit = self._hashes.max() if len(self._hashes) == _ROWS else np.uint64(2**64 - 1)
        chosen = np.flatnonzero(hashes <= limit)
        if len(chosen) > _ROWS:
            chosen = _smallest(hashes)
        if not len(chosen):
            return
        n_stored = sum(part.n_rows for part in self._stored)
        self._stored.append(_Csr(indptr, keys, values).take(chosen))
        self._hashes = np.concatenate([self._hashes, hashes[chosen]])
        self._kept = np.concatenate([self._kept, np.arange(n_stored, n_stored + len(chosen))])
        if len(self._kept) > _ROWS:
            kept = _smallest(self._hashes)
            self._hashes, self._kept = self._hashes[kept], self._kept[kept]
        if n_stored + len(chosen) > 2 * _ROWS:
            self._forget()

    def probes(self, columns: Ints, colours: Ints, typical: NDArray[np.float64]) -> Probes:
        """Create the probe rows.

        Parameters
        ----------
        columns : ndarray of int32, shape (feature_dim,)
            The column of each feature that occurs.
        colours : ndarray of int32, shape (n_columns,)
        typical : ndarray of float64, shape (n_columns,)
            What values are divided by.

        Returns
        -------
        probes : Probes
        """
        (rows,) = self._forget()
        n, numbers = rows.n_rows, columns[rows.keys]
        rows = _Csr(rows.indptr, numbers, (rows.values / typical[numbers]).astype(np.float32))
        rng = generator(int(self._seed), 0)
        n_colours = int(colours.max(initial=0)) + 1
        both = [rows]
        for first in range(0, n, _CROSSED):  # long rows are many entries
            own = rows.take(np.arange(first, min(first + _CROSSED, n)))
            other = rows.take(np.arange(first + 1, first + own.n_rows + 1) % n)
            is_own = rng.random((own.n_rows, n_colours)) < 0.5
            both.append(_crossed(own, other, is_own, colours))
        joined = _Csr.joined(both)
        return Probes(joined.indptr, joined.keys, joined.values, n)

    def _forget(self) -> "list[_Csr]":
        """Store nothing but the rows that are kept."""
        self._stored = [_Csr.joined(self._stored).take(self._kept)]
        self._kept = np.arange(len(self._kept))
        return self._stored


@dataclasses.dataclass(frozen=True)
class _Csr:
    indptr: NDArray[np.int64]
    keys: Ints
    values: Floats

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each entry."""
        return np.repeat(np.arange(self.n_rows), np.diff(self.indptr))

    def take(self, rows: NDArray[np.int64]) -> "_Csr":
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return _Csr(indptr, self.keys[entries], self.values[entries])

    @classmethod
    def joined(cls, parts: "list[_Csr]") -> "_Csr":
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        return cls(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.keys for part in parts]), np.concatenate([part.values for part in parts]),
        )  # fmt: skip


def _crossed(own: _Csr, other: _Csr, is_own: NDArray[np.bool_], colours: Ints) -> _Csr:
    """Rows with the entries of some colours of one row each, of the other colours of another.

    A key that both have is taken once.
    """
    rows, other_rows = own.rows, other.rows
    mine, others = is_own[rows, colours[own.keys]], ~is_own[other_rows, colours[other.keys]]
    rows = np.concatenate([rows[mine], other_rows[others]])
    keys = np.concatenate([own.keys[mine], other.keys[others]])
    values = np.concatenate([own.values[mine], other.values[others]])
    order = np.lexsort((keys, rows))
    rows, keys, values = rows[order], keys[order], values[order]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (rows[1:] != rows[:-1]) | (keys[1:] != keys[:-1])
    lengths = np.bincount(rows[is_first], minlength=own.n_rows)
    return _Csr(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), keys[is_first], values[is_first])


def _smallest(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where those of the rows to keep are; no two hashes are alike."""
    return np.sort(np.argpartition(hashes, _ROWS)[:_ROWS])


def _hash(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Splitmix64's finalizer (G. Steele, D. Lea, C. Flood, OOPSLA 2014)."""
    x = numbers + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
