"""Batches of any size to batches of one size."""

from collections.abc import Iterable, Iterator

from fm_core.batch import Batch

__all__ = ["rebatched"]


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
        whole = Batch.concatenate(waiting)
        start = 0
        while n_waiting - start >= batch_size:
            yield whole.slice(start, start + batch_size).copy()
            start += batch_size
        waiting = [whole.slice(start, n_waiting).copy()] if start < n_waiting else []
        n_waiting -= start
    if n_waiting:
        yield Batch.concatenate(waiting)
