"""Batch: rows with their labels and weights, in the form that every kernel uses.

Sparse rows are CSR (`indptr`, `indices`, `values`); dense rows are one matrix
(`values`), with `indptr` and `indices` None. What a kernel relies on is checked once,
at construction: types, shapes, finite values, and in each sparse row keys that are
below ``feature_dim`` and strictly increasing. Repeated keys of a row must have been
summed before (the decoder and `Batch.from_csr` do), because a product of a feature
with itself is not part of the model.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import DataError
from fm_core.given import MOST_FEATURES, check_csr, check_kind, check_weights, float_array
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Batch"]


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Rows and, for training, their labels.

    Attributes
    ----------
    feature_dim : int
        Keys are below it; the width of dense rows.
    values : ndarray of float32, shape (nnz,) if sparse, (n_rows, feature_dim) if dense
        C-contiguous and finite.
    indptr : ndarray of int64, shape (n_rows + 1,), or None if dense
        Row i is ``indptr[i]:indptr[i + 1]`` of `indices` and `values`.
    indices : ndarray of int32, shape (nnz,), or None if dense
        Feature ids, strictly increasing within a row.
    labels : ndarray of float32, shape (n_rows,), or None
        Finite.
    weights : ndarray of float32, shape (n_rows,), or None
        Finite and not negative: a row of weight 3 is learned from, and counted in metrics, as three rows. None: each
        row counts once.

    Raises
    ------
    DataError
        One of the above conditions is violated; the message names the row.
    """

    feature_dim: int
    values: "NDArray[np.float32]"
    indptr: "NDArray[np.int64] | None" = None
    indices: "NDArray[np.int32] | None" = None
    labels: "NDArray[np.float32] | None" = None
    weights: "NDArray[np.float32] | None" = None

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def trusted(
        cls,
        feature_dim: int,
        values: "NDArray[np.float32]",
        indptr: "NDArray[np.int64] | None" = None,
        indices: "NDArray[np.int32] | None" = None,
        labels: "NDArray[np.float32] | None" = None,
        weights: "NDArray[np.float32] | None" = None,
    ) -> "Batch":
        """Make a batch from arrays whose content the caller, such as the decoder, has checked.

        Their types and sizes are checked here, which takes a microsecond.

        Parameters
        ----------
        feature_dim : int
        values, indptr, indices, labels, weights : ndarray
            As the attributes of a batch.

        Returns
        -------
        batch : Batch

        Raises
        ------
        DataError
            An array is of another type, or of another size than `feature_dim` and the other arrays need.
        """
        batch = object.__new__(cls)
        for name, value in (
            ("feature_dim", feature_dim),
            ("values", values),
            ("indptr", indptr),
            ("indices", indices),
            ("labels", labels),
            ("weights", weights),
        ):
            object.__setattr__(batch, name, value)
        _check_sizes(batch)
        return batch

    @classmethod
    def from_csr(cls, matrix: Any, labels: Any = None, weights: Any = None) -> "Batch":
        """Make a sparse batch from a SciPy CSR matrix; repeated keys are summed.

        Parameters
        ----------
        matrix : scipy.sparse.csr_matrix or csr_array, shape (n_rows, feature_dim)
            Not changed.
        labels, weights : array_like of float, shape (n_rows,), optional

        Returns
        -------
        batch : Batch

        Raises
        ------
        DataError
            The arrays of the matrix do not fit each other, or a number is not finite.

        Examples
        --------
        >>> import scipy.sparse
        >>> batch = Batch.from_csr(scipy.sparse.csr_array([[1.0, 0, 2], [0, 3, 0]]), labels=[1, 0])
        >>> batch.n_rows, batch.feature_dim, batch.is_dense
        (2, 3, False)
        """
        check_csr(matrix)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        n_entries = int(matrix.indptr[-1])  # SciPy allows room behind the last row
        return cls(
            feature_dim=int(matrix.shape[1]),
            values=float_array("the rows", matrix.data[:n_entries]),
            indptr=np.ascontiguousarray(matrix.indptr, np.int64),
            indices=np.ascontiguousarray(matrix.indices[:n_entries], np.int32),
            labels=None if labels is None else float_array("the labels", labels),
            weights=None if weights is None else float_array("the weights", weights),
        )

    @classmethod
    def from_dense(cls, matrix: Any, labels: Any = None, weights: Any = None) -> "Batch":
        """Make a dense batch from a matrix of shape (n_rows, feature_dim).

        Parameters
        ----------
        matrix : array_like of float, shape (n_rows, feature_dim)
        labels, weights : array_like of float, shape (n_rows,), optional

        Returns
        -------
        batch : Batch

        Raises
        ------
        DataError
            The matrix does not have two dimensions, or a number is not finite.

        Examples
        --------
        >>> Batch.from_dense([[1, 0, 2], [0, 3, 0]], labels=[1, 0]).n_rows
        2
        """
        values = float_array("the rows", matrix)
        if values.ndim != 2:
            raise DataError(f"dense rows have {values.ndim} dimensions, expected 2")
        return cls(
            feature_dim=values.shape[1],
            values=values,
            labels=None if labels is None else float_array("the labels", labels),
            weights=None if weights is None else float_array("the weights", weights),
        )

    @property
    def is_dense(self) -> bool:
        """Whether rows are stored as a matrix."""
        return self.indptr is None

    @property
    def csr(self) -> "tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]":
        """`indptr`, `indices` and `values` of sparse rows.

        Raises
        ------
        ValueError
            The rows are dense.
        """
        if self.indptr is None or self.indices is None:
            raise ValueError("the rows are dense, expected sparse ones")
        return self.indptr, self.indices, self.values

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        arrays = (self.values, self.indptr, self.indices, self.labels, self.weights)
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.values) if self.indptr is None else len(self.indptr) - 1

    @property
    def known_labels(self) -> "NDArray[np.float32]":
        """The labels; raises DataError if there are none."""
        if self.labels is None:
            raise DataError("a batch has no labels, expected one for each row")
        return self.labels

    @property
    def weights_or_ones(self) -> "NDArray[np.float32]":
        """The weights, or ones if there are none."""
        return np.ones(self.n_rows, np.float32) if self.weights is None else self.weights

    def __len__(self) -> int:
        return self.n_rows

    # --- rows of batches ---

    @classmethod
    def empty(cls, feature_dim: int, *, is_dense: bool = False) -> "Batch":
        """Make a batch without rows; its labels are an empty array.

        Parameters
        ----------
        feature_dim : int
        is_dense : bool
            Whether `values` is a matrix without rows.

        Returns
        -------
        batch : Batch
        """
        labels = np.zeros(0, np.float32)
        if is_dense:
            return cls.trusted(feature_dim, np.zeros((0, feature_dim), np.float32), labels=labels)
        return cls.trusted(feature_dim, np.zeros(0, np.float32), np.zeros(1, np.int64), np.zeros(0, np.int32), labels)

    @classmethod
    def concatenate(cls, batches: "Sequence[Batch]") -> "Batch":
        """Join one or more batches of one width, all dense or all sparse, all with labels or all without.

        If some have weights, the rows of the others get weight 1. A single batch is returned without copying.

        Parameters
        ----------
        batches : sequence of Batch

        Returns
        -------
        batch : Batch

        Raises
        ------
        DataError
            There are none, or they differ in one of the above.
        """
        for batch in batches:
            check_kind("a batch", batch, cls, "a Batch")
        if not batches:
            raise DataError("there are no batches, expected at least one")
        first = batches[0]
        if len(batches) == 1:
            return first
        kinds = {(batch.feature_dim, batch.is_dense, batch.labels is None) for batch in batches}
        if len(kinds) > 1:
            raise DataError(
                "batches differ in width, in being dense or in having labels, expected one kind: "
                + ", ".join(f"feature_dim={d}{' dense' * dense}{' without labels' * bare}" for d, dense, bare in kinds)
            )
        values = np.concatenate([batch.values for batch in batches])
        labels = None if first.labels is None else np.concatenate([batch.known_labels for batch in batches])
        weights = None
        if any(batch.weights is not None for batch in batches):
            weights = np.concatenate([batch.weights_or_ones for batch in batches])
        if first.indptr is None:
            return cls.trusted(first.feature_dim, values, labels=labels, weights=weights)
        lengths = np.concatenate([np.diff(batch.indptr) for batch in batches if batch.indptr is not None])
        indices = np.concatenate([batch.indices for batch in batches if batch.indices is not None])
        return cls.trusted(first.feature_dim, values, _starts(lengths), indices, labels, weights)

    def slice(self, start: int, stop: int) -> "Batch":
        """Return the rows from `start` to before `stop`; the arrays are views, except `indptr`.

        Parameters
        ----------
        start, stop : int
            From 0 on; a `stop` beyond the last row means all that follow.

        Returns
        -------
        batch : Batch

        Raises
        ------
        DataError
            They do not increase, or `start` is beyond the last row.
        """
        if not 0 <= start <= self.n_rows or stop < start:
            raise DataError(f"rows {start} to {stop} of a batch of {self.n_rows}, expected increasing ones from 0 on")
        labels = None if self.labels is None else self.labels[start:stop]
        weights = None if self.weights is None else self.weights[start:stop]
        if self.indptr is None or self.indices is None:
            return Batch.trusted(self.feature_dim, self.values[start:stop], labels=labels, weights=weights)
        indptr = self.indptr[start : min(stop, self.n_rows) + 1]
        first, end = int(indptr[0]), int(indptr[-1])
        return Batch.trusted(
            self.feature_dim, self.values[first:end], indptr - first, self.indices[first:end], labels, weights
        )

    def split(self, batch_size: int) -> "Iterator[Batch]":
        """Yield the rows as batches of `batch_size`, the last one with the rest; see `slice`.

        Parameters
        ----------
        batch_size : int
            At least 1.

        Yields
        ------
        batch : Batch

        Raises
        ------
        ValueError
            `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        for start in range(0, self.n_rows, batch_size):
            yield self.slice(start, min(start + batch_size, self.n_rows))

    def take(self, rows: "NDArray[np.int64]") -> "Batch":
        """Copy the rows with these numbers, in this order.

        Parameters
        ----------
        rows : ndarray of integers, shape (n,)
            From 0 to ``n_rows - 1``; a row may be repeated.

        Returns
        -------
        batch : Batch

        Raises
        ------
        DataError
            A number is no row of the batch.
        """
        check_kind("rows", rows, np.ndarray, "an ndarray of integers")
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise DataError(f"rows are {rows.dtype} of {rows.ndim} dimensions, expected integers of one")
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self.n_rows:
            raise DataError(f"rows are {rows.min()} to {rows.max()}, expected 0 to {self.n_rows - 1}")
        labels = None if self.labels is None else self.labels[rows]
        weights = None if self.weights is None else self.weights[rows]
        if self.indptr is None or self.indices is None:
            return Batch.trusted(self.feature_dim, self.values[rows], labels=labels, weights=weights)
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = _starts(lengths)
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return Batch.trusted(self.feature_dim, self.values[entries], indptr, self.indices[entries], labels, weights)

    def copy(self) -> "Batch":
        """Copy all arrays, so that a slice does not keep alive what it was cut from."""
        return Batch.trusted(
            self.feature_dim,
            self.values.copy(),
            None if self.indptr is None else self.indptr.copy(),
            None if self.indices is None else self.indices.copy(),
            None if self.labels is None else self.labels.copy(),
            None if self.weights is None else self.weights.copy(),
        )

    def with_labels(self, labels: "NDArray[np.float32] | None") -> "Batch":
        """Return the same rows with other labels, which the caller has checked.

        Parameters
        ----------
        labels : ndarray of float32, shape (n_rows,), or None

        Returns
        -------
        batch : Batch
        """
        return Batch.trusted(self.feature_dim, self.values, self.indptr, self.indices, labels, self.weights)

    def with_weights(self, weights: "NDArray[np.float32] | None") -> "Batch":
        """Return the same rows with other weights, which the caller has checked.

        Parameters
        ----------
        weights : ndarray of float32, shape (n_rows,), or None

        Returns
        -------
        batch : Batch
        """
        return Batch.trusted(self.feature_dim, self.values, self.indptr, self.indices, self.labels, weights)

    def without_weightless(self) -> "Batch":
        """Return the rows without those of weight 0."""
        if self.weights is None or self.weights.all():
            return self
        return self.take(np.flatnonzero(self.weights))

    def to_matrix(self) -> Any:
        """Return the rows as a SciPy CSR matrix, or as an ndarray if dense; the arrays are shared."""
        if self.indptr is None:
            return self.values
        from scipy.sparse import csr_matrix  # slow to import, and seldom needed

        shape = (self.n_rows, self.feature_dim)
        return csr_matrix((self.values, self.indices, self.indptr), shape=shape, copy=False)


def _starts(lengths: "NDArray[np.int64]") -> "NDArray[np.int64]":
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _check(batch: Batch) -> None:
    _check_sizes(batch)
    if batch.indptr is None or batch.indices is None:
        finite = np.isfinite(batch.values).all(axis=1)
        if not finite.all():
            raise DataError(f"row {int(np.argmin(finite))} has a value that is not finite")
    else:
        _check_csr(batch.indptr, batch.indices, batch.values, batch.feature_dim)
    if batch.labels is not None and not np.isfinite(batch.labels).all():
        raise DataError(f"the label of row {int(np.argmin(np.isfinite(batch.labels)))} is not finite")
    if batch.weights is not None:
        check_weights(batch.weights)


def _check_sizes(batch: Batch) -> None:
    """Look at what takes no look at the content."""
    check_kind("feature_dim", batch.feature_dim, (int, np.integer), "an integer")
    if not 0 <= batch.feature_dim <= MOST_FEATURES:  # a host may be left without a feature of a batch
        raise DataError(f"feature_dim is {quoted(batch.feature_dim)}, expected 0 to {MOST_FEATURES}")
    if batch.indptr is None or batch.indices is None:
        _check_array("values", batch.values, np.float32, 2)
        if batch.values.shape[1] != batch.feature_dim:
            raise DataError(f"dense rows have {batch.values.shape[1]} values, expected feature_dim={batch.feature_dim}")
        if batch.indptr is not batch.indices:
            raise DataError("a batch has one of indptr and indices, expected both or, if it is dense, none")
    else:
        _check_array("indptr", batch.indptr, np.int64, 1)
        _check_array("indices", batch.indices, np.int32, 1)
        _check_array("values", batch.values, np.float32, 1)
        if len(batch.indptr) == 0 or batch.indptr[0] != 0 or batch.indptr[-1] != len(batch.indices):
            raise DataError(f"indptr does not increase from 0 to the {len(batch.indices)} keys")
        if len(batch.values) != len(batch.indices):
            raise DataError(f"{len(batch.values)} values for {len(batch.indices)} keys, expected one each")
    if batch.labels is not None:
        _check_array("labels", batch.labels, np.float32, 1)
        if len(batch.labels) != batch.n_rows:
            raise DataError(f"{len(batch.labels)} labels for {batch.n_rows} rows, expected one each")
    if batch.weights is not None:
        _check_array("weights", batch.weights, np.float32, 1)
        if len(batch.weights) != batch.n_rows:
            raise DataError(f"{len(batch.weights)} weights for {batch.n_rows} rows, expected one each")


def _check_array(name: str, array: Any, dtype: type, ndim: int) -> None:
    check_kind(name, array, np.ndarray, "an ndarray")
    if array.dtype != dtype or array.ndim != ndim or not array.flags.c_contiguous:
        raise DataError(
            f"{name} is {array.dtype} with {array.ndim} dimensions, expected contiguous {np.dtype(dtype)} with {ndim}"
        )


def _check_csr(
    indptr: "NDArray[np.int64]", indices: "NDArray[np.int32]", values: "NDArray[np.float32]", feature_dim: int
) -> None:
    if (np.diff(indptr) < 0).any():
        raise DataError(f"indptr does not increase from 0 to the {len(indices)} keys")

    def refuse(position: int, what: str) -> None:
        raise DataError(f"row {int(np.searchsorted(indptr, position, side='right')) - 1}: {what}")

    outside = (indices < 0) | (indices >= feature_dim)
    if outside.any():
        at = int(np.argmax(outside))
        refuse(at, f"key {int(indices[at])} is not below feature_dim={feature_dim}")
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        refuse(at, f"the value of key {int(indices[at])} is not finite")
    falling = np.diff(indices) <= 0
    starts = indptr[1:-1]
    falling[starts[(starts > 0) & (starts < len(indices))] - 1] = False
    if falling.any():
        at = int(np.argmax(falling)) + 1
        refuse(at, f"key {int(indices[at])} follows key {int(indices[at - 1])}, expected strictly increasing keys")
