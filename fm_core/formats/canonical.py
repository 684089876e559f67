"""Rows from text or clients in canonical form: keys in order, repeated keys added up."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SumError", "sparse_batch", "summed_batches"]


class SumError(DataError):
    """The values of a repeated key add up to more than float32 holds.

    Attributes
    ----------
    row : int
        The first row in which they do.
    """

    sentence = "the values of a repeated key add up to more than float32 holds"

    def __init__(self, what: str, row: int) -> None:
        super().__init__(f"{what} {row}: {self.sentence}")
        self.row = row


def sparse_batch(
    feature_dim: int,
    indptr: "NDArray[np.int64]",
    indices: "NDArray[np.int32]",
    values: "NDArray[np.float32]",
    *,
    ascending: bool,
    what: str = "row",
    first_row: int = 0,
) -> Batch:
    """Make a sparse batch of checked buffers whose rows may hold keys in any order.

    Parameters
    ----------
    feature_dim : int
    indptr : ndarray of int64, shape (n_rows + 1,)
    indices : ndarray of int32, shape (nnz,)
        From 0 to ``feature_dim - 1``.
    values : ndarray of float32, shape (nnz,)
        Finite.
    ascending : bool
        Whether the keys of every row are known to be strictly increasing; the buffers are
        then used as they are.
    what : str
        What a row is called in messages.
    first_row : int
        The number of the first row in messages.

    Returns
    -------
    batch : Batch
        Sparse, without labels.

    Raises
    ------
    SumError
        The values of a repeated key add up to more than float32 holds.
    """
    if ascending or len(indices) == 0:
        return Batch.trusted(feature_dim, values, indptr, indices)
    # A stable sort by (row, key) in one number: a row and a key have 31 bits each.
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))
    place = rows << 31 | indices
    order = np.argsort(place, kind="stable")
    place = place[order]
    first = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
    # float64 sums, as a single key's value is already rounded to float32.
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(values[order].astype(np.float64), first).astype(np.float32)
    if not np.isfinite(sums).all():
        raise SumError(what, first_row + int(place[first[np.argmin(np.isfinite(sums))]] >> 31))
    starts = np.searchsorted(place[first], np.arange(len(indptr), dtype=np.int64) << 31)
    return Batch.trusted(feature_dim, sums, starts.astype(np.int64), (place[first] & (2**31 - 1)).astype(np.int32))


def summed_batches(block: Any, name: str, feature_dim: int, bad: Callable[[str], None]) -> Iterator[Batch]:
    """Yield the rows of a block of libsvm text, their repeated keys added up.

    Parameters
    ----------
    block : fm_core.formats.text._text.LibsvmRows
    name : str
        Of its source, for messages.
    feature_dim : int
    bad : callable
        Gets a sentence for a row whose sums are more than float32 holds, and raises or lets it be skipped.

    Yields
    ------
    batch : Batch
        Sparse rows with increasing keys.
    """
    start, stop = 0, block.n_rows
    while start < stop:
        indptr = block.indptr[start : stop + 1]
        keys = slice(indptr[0], indptr[-1])
        try:
            batch = sparse_batch(
                feature_dim,
                indptr - indptr[0],
                block.indices[keys],
                block.values[keys],
                ascending=block.ascending,
            )
        except SumError as error:
            stop = start + error.row  # first what is before it
            if stop == start:
                bad(f"{name}: line {block.lines[start]}: {error.sentence}")
                start, stop = start + 1, block.n_rows
            continue
        labels = None if block.labels is None else block.labels[start:stop]
        weights = None if block.weights is None else block.weights[start:stop]
        yield Batch.trusted(feature_dim, batch.values, batch.indptr, batch.indices, labels, weights)
        start, stop = stop, block.n_rows
