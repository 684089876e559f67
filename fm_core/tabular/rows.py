"""Encoded rows that are read repeatedly: in memory, or in an unnamed file above a limit."""

import pickle
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch
from fm_core.formats.rebatch import rebatched

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_IN_MEMORY", "KeptRows"]

#: Bytes of rows that are kept in memory: those of a few hundred thousand rows. The system has what is in the file at
#: hand while memory is free, and takes it back where it is not.
MOST_IN_MEMORY = 1 << 26


class KeptRows:
    """Batches, in the order in which they came.

    Parameters
    ----------
    feature_dim : int
    scratch : Path or None
        A folder for what does not fit in memory; None: the system's.

    Attributes
    ----------
    n_rows, n_entries, n_bytes : int
    n_weightless : int
        Rows of weight 0 that came too, and are not kept.
    """

    def __init__(self, feature_dim: int, scratch: Path | None = None) -> None:
        self.feature_dim = feature_dim
        self.n_rows = self.n_entries = self.n_bytes = self.n_weightless = 0
        self._folder = None if scratch is None else str(scratch)
        self._batches: list[Batch] = []
        self._file: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._n_filed = 0
        self._sum = self._counted = 0.0
        self.labels_seen: set[float] = set()

    def add(self, batch: Batch) -> None:
        """Append rows; those of weight 0 are left out and counted.

        Parameters
        ----------
        batch : Batch
            With labels.
        """
        n_before, batch = batch.n_rows, batch.without_weightless()
        self.n_weightless += n_before - batch.n_rows
        if not batch.n_rows:
            return
        self.n_rows += batch.n_rows
        self.n_entries += batch.values.size
        labels = batch.known_labels.astype(np.float64)
        if batch.weights is None:
            self._sum += float(labels.sum())
            self._counted += batch.n_rows
        else:
            self._sum += float(labels @ batch.weights)
            self._counted += float(batch.weights.sum(dtype=np.float64))
        if len(self.labels_seen) < 3:
            self.labels_seen.update(np.unique(labels).tolist()[:3])
        if self.n_bytes < MOST_IN_MEMORY:
            self._batches.append(batch)
        else:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # type: ignore[assignment]  # noqa: SIM115
                weakref.finalize(self, self._file.close)  # type: ignore[union-attr]
            assert self._file is not None
            self._file.seek(0, 2)
            pickle.dump(batch, self._file, pickle.HIGHEST_PROTOCOL)
            self._n_filed += 1
        self.n_bytes += batch.nbytes

    @property
    def mean_label(self) -> float:
        """The mean of all labels; NaN of none."""
        return self._sum / self._counted if self.n_rows else float("nan")

    def __iter__(self) -> Iterator[Batch]:
        yield from self._batches
        at = 0
        for _ in range(self._n_filed):
            assert self._file is not None
            self._file.seek(at)
            batch = pickle.load(self._file)  # which nobody else can have written
            at = self._file.tell()
            yield batch

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Return the rows in batches of one size.

        Parameters
        ----------
        batch_size : int
            Rows of a batch; the last one may have fewer.

        Returns
        -------
        batches : iterator of Batch
        """
        return rebatched(self, batch_size)

    def spread_out(self, at_most: int) -> Iterator[Batch]:
        """Return some rows at even distances.

        Parameters
        ----------
        at_most : int
            The maximum number of rows.

        Yields
        ------
        batch : Batch
        """
        stride, skip = max(1, -(-self.n_rows // at_most)), 0
        for batch in self:
            yield batch if stride == 1 else batch.take(np.arange(skip, batch.n_rows, stride))
            skip = (skip - batch.n_rows) % stride

    def relabelled(self, low: float) -> "KeptRows":
        """Return the same rows with labels 0 and 1.

        Parameters
        ----------
        low : float
            The label that becomes 0; all others become 1.

        Returns
        -------
        rows : KeptRows
            A copy.
        """
        other = KeptRows(self.feature_dim, None if self._folder is None else Path(self._folder))
        for batch in self:
            labels: NDArray[np.float32] = (batch.known_labels != np.float32(low)).astype(np.float32)
            other.add(batch.with_labels(labels))
        return other
