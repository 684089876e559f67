"""shuffled: rows in random order, within a bounded buffer.

The buffer is filled, its rows are permuted and given out as batches, and it is filled again:
with a buffer as large as the data that is a full shuffle. Rows that do not fill a batch join
the next buffer.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch

__all__ = ["joined", "shuffled"]


def shuffled(batches: Iterable[Batch], buffer_size: int, batch_size: int, seed: int | Sequence[int]) -> Iterator[Batch]:
    """Give the rows of `batches` in an order that `seed` decides.

    Parameters
    ----------
    batches : iterable of Batch
        With labels; all dense or all sparse.
    buffer_size : int
        Rows held at a time; at least one batch is held in any case.
    batch_size : int
        Rows of each batch given out, but the last.
    seed : int or sequence of int

    Yields
    ------
    batch : Batch
    """
    random = np.random.default_rng(seed)
    held: list[Batch] = []
    n_held = 0
    for batch in batches:
        held.append(batch)
        n_held += batch.n_rows
        if n_held >= max(buffer_size, batch_size):
            rows = joined(held)
            order = random.permutation(n_held)
            whole = n_held - n_held % batch_size
            for start in range(0, whole, batch_size):
                yield _taken(rows, order[start : start + batch_size])
            held = [_taken(rows, order[whole:])] if whole < n_held else []
            n_held -= whole
    if n_held:
        rows = joined(held)
        order = random.permutation(n_held)
        for start in range(0, n_held, batch_size):
            yield _taken(rows, order[start : start + batch_size])


def joined(batches: list[Batch]) -> Batch:
    """Give the rows of several batches as one; all dense or all sparse."""
    if len(batches) == 1:
        return batches[0]
    labels = np.concatenate([b.known_labels for b in batches])
    values = np.concatenate([b.values for b in batches])
    if batches[0].indptr is None:
        return Batch.trusted(batches[0].feature_dim, values, labels=labels)
    lengths = np.concatenate([np.diff(b.indptr) for b in batches if b.indptr is not None])
    indices = np.concatenate([b.indices for b in batches if b.indices is not None])
    return Batch.trusted(batches[0].feature_dim, values, _starts(lengths), indices, labels)


def _taken(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    labels = batch.known_labels[rows]
    if batch.indptr is None or batch.indices is None:
        return Batch.trusted(batch.feature_dim, batch.values[rows], labels=labels)
    lengths = np.diff(batch.indptr)[rows]
    indptr = _starts(lengths)
    entries = np.arange(indptr[-1]) + np.repeat(batch.indptr[rows] - indptr[:-1], lengths)
    return Batch.trusted(batch.feature_dim, batch.values[entries], indptr, batch.indices[entries], labels)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
