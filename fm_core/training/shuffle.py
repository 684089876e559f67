"""shuffled: rows in random order, within a bounded buffer.

The buffer is filled, its rows are permuted and returned as batches, and it is filled again.
If the buffer is as large as the data, this is a full shuffle. Rows that do not fill a batch
go to the next buffer.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fm_core.batch import Batch

__all__ = ["shuffled"]


def shuffled(batches: Iterable[Batch], buffer_size: int, batch_size: int, seed: int | Sequence[int]) -> Iterator[Batch]:
    """Yield the rows of `batches` in an order that `seed` decides.

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
            rows = Batch.concatenate(held)
            order = random.permutation(n_held)
            whole = n_held - n_held % batch_size
            for start in range(0, whole, batch_size):
                yield rows.take(order[start : start + batch_size])
            held = [rows.take(order[whole:])] if whole < n_held else []
            n_held -= whole
    if n_held:
        rows = Batch.concatenate(held)
        order = random.permutation(n_held)
        for start in range(0, n_held, batch_size):
            yield rows.take(order[start : start + batch_size])
