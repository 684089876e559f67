"""Batches of any size to batches of one size."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["concatenated", "rebatched", "sliced", "taken"]


def rebatched(batches: Iterable[Batch], batch_size: int) -> Iterator[Batch]:
    """Cut and join batches, all of one kind, into some of `batch_size` rows and a last one of what is left.

    Parameters
    ----------
    batches : iterable of Batch
    batch_size : int

    Yields
    ------
    batch : Batch
        Its arrays are its own.
    """
    waiting: list[Batch] = []
    n_waiting = 0
    for batch in batches:
        waiting.append(batch)
        n_waiting += batch.n_rows
        if n_waiting < batch_size:
            continue
        whole = concatenated(waiting)
        start = 0
        while n_waiting - start >= batch_size:
            yield sliced(whole, start, start + batch_size)
            start += batch_size
        waiting = [sliced(whole, start, n_waiting)] if start < n_waiting else []
        n_waiting -= start
    if n_waiting:
        yield concatenated(waiting)


def concatenated(batches: list[Batch]) -> Batch:
    """Join one or more batches of one kind."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    values = np.concatenate([batch.values for batch in batches])
    labels = None if first.labels is None else np.concatenate([batch.known_labels for batch in batches])
    if first.indptr is None or first.indices is None:
        return Batch.trusted(first.feature_dim, values, labels=labels)
    lengths = np.concatenate([np.diff(batch.indptr) for batch in batches if batch.indptr is not None])
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    indices = np.concatenate([batch.indices for batch in batches if batch.indices is not None])
    return Batch.trusted(first.feature_dim, values, indptr, indices, labels)


def sliced(batch: Batch, start: int, stop: int) -> Batch:
    """Copy the rows from `start` to before `stop`."""
    labels = None if batch.labels is None else batch.labels[start:stop].copy()
    if batch.indptr is None or batch.indices is None:
        return Batch.trusted(batch.feature_dim, batch.values[start:stop].copy(), labels=labels)
    indptr = batch.indptr[start : stop + 1]
    here = slice(indptr[0], indptr[-1])
    return Batch.trusted(
        batch.feature_dim, batch.values[here].copy(), indptr - indptr[0], batch.indices[here].copy(), labels
    )


def taken(batch: Batch, rows: "NDArray[np.int64]") -> Batch:
    """Copy the rows with these numbers, in this order."""
    labels = None if batch.labels is None else batch.labels[rows]
    if batch.indptr is None or batch.indices is None:
        return Batch.trusted(batch.feature_dim, batch.values[rows], labels=labels)
    lengths = np.diff(batch.indptr)[rows]
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    at = np.repeat(batch.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
    return Batch.trusted(batch.feature_dim, batch.values[at], indptr, batch.indices[at], labels)
