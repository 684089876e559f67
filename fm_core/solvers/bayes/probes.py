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
        self._rows: list[tuple[Ints, Floats]] = []

    def add(self, indptr: NDArray[np.int64], keys: Ints, values: Floats) -> None:
        """See some more rows."""
        n = len(indptr) - 1
        hashes = _hash(np.arange(self._n_seen, self._n_seen + n, dtype=np.uint64) ^ (self._seed << np.uint64(32)))
        self._n_seen += n
        limit = self._hashes.max() if len(self._hashes) == _ROWS else np.uint64(2**64 - 1)
        chosen = np.flatnonzero(hashes <= limit)
        if len(chosen) > _ROWS:
            chosen = np.sort(np.argsort(hashes[chosen], kind="stable")[:_ROWS])
        if not len(chosen):
            return
        self._hashes = np.concatenate([self._hashes, hashes[chosen]])
        for r in chosen:
            part = slice(int(indptr[r]), int(indptr[r + 1]))
            self._rows.append((keys[part].copy(), values[part].copy()))
        if len(self._rows) > _ROWS:
            kept = np.sort(np.argsort(self._hashes, kind="stable")[:_ROWS])
            self._hashes = self._hashes[kept]
            self._rows = [self._rows[i] for i in kept]

    def probes(self, columns: Ints, colours: Ints, typical: NDArray[np.float64]) -> Probes:
        """Make the probes.

        Parameters
        ----------
        columns : ndarray of int32, shape (feature_dim,)
            The column of each feature that occurs.
        colours : ndarray of int32, shape (n_columns,)
        typical : ndarray of float64, shape (n_columns,)
            What values are divided by.
        """
        rows = []
        for keys, values in self._rows:
            numbers = columns[keys]
            rows.append((numbers, (values / typical[numbers]).astype(np.float32)))
        rng = generator(int(self._seed), 0)
        n_colours = int(colours.max(initial=0)) + 1
        partners = np.roll(np.arange(len(rows)), -1)
        crossed = []
        for (keys, values), partner in zip(rows, partners, strict=True):
            other_keys, other_values = rows[partner]
            is_own = rng.random(n_colours) < 0.5
            own, other = is_own[colours[keys]], ~is_own[colours[other_keys]]
            crossed.append(_merged(keys[own], values[own], other_keys[other], other_values[other]))
        both = rows + crossed
        indptr = np.concatenate([[0], np.cumsum([len(keys) for keys, _ in both])]).astype(np.int64)
        empty = [(np.empty(0, np.int32), np.empty(0, np.float32))]
        return Probes(
            indptr, np.concatenate([keys for keys, _ in both + empty]), np.concatenate([x for _, x in both + empty]),
            len(rows),
        )  # fmt: skip


def _merged(keys: Ints, values: Floats, other_keys: Ints, other_values: Floats) -> tuple[Ints, Floats]:
    """Both rows' entries; a key that both have is taken once."""
    all_keys, first = np.unique(np.concatenate([keys, other_keys]), return_index=True)
    return all_keys, np.concatenate([values, other_values])[first]


def _hash(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Splitmix64's finalizer (G. Steele, D. Lea, C. Flood, OOPSLA 2014)."""
    x = numbers + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
