"""DataFrames of pandas as tables, and encoded by a schema. pandas is imported by whoever has a frame."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import TableSchema
from fm_core.formats.tables.table import ArrayTable, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["encode_table", "frame_table"]


def encode_table(
    frame: Any, schema: TableSchema, *, unseen: str = "error", labels: str = "optional"
) -> "tuple[Any, NDArray[np.float32] | None]":
    """Encode a pandas DataFrame.

    Parameters
    ----------
    frame : pandas.DataFrame
    schema : TableSchema
        Of ``make_schema([frame_table(frame)], TablePlan(...))``, or read from schema.json.
    unseen : {"error", "ignore"}
    labels : {"real", "optional", "none"}

    Returns
    -------
    rows : scipy.sparse.csr_matrix or ndarray of float32, shape (n_rows, feature_dim)
    labels : ndarray of float32, shape (n_rows,), or None
        None if the frame lacks the label's column.
    """
    batch = Encoder(schema, unseen=unseen, labels=labels).encode(frame_table(frame))
    return batch.to_matrix(), batch.labels


def frame_table(frame: Any, source: str = "the table") -> Table:
    """See a pandas DataFrame as a table."""
    names = [str(name) for name in frame.columns]
    return ArrayTable(source, names, [_Series(frame.iloc[:, i]) for i in range(len(names))], len(frame))


class _Series:
    """A column of a DataFrame."""

    def __init__(self, series: Any) -> None:
        self._series = series

    def numbers(self) -> "NDArray[np.float64]":
        import pandas

        try:
            numbers = pandas.to_numeric(self._series, errors="coerce")
        except TypeError:  # cells are lists, or other objects
            return np.full(len(self._series), np.nan)
        found: NDArray[np.float64] = numbers.to_numpy(np.float64, na_value=np.nan)
        return found

    def codes(self) -> "tuple[NDArray[np.int64], list[Any]]":
        codes, values = self._series.factorize()
        return codes.astype(np.int64), list(values)

    def lists(self) -> "tuple[NDArray[np.int64], list[Any]] | None":
        if self._series.dtype != object:
            return None
        cells = [cell if isinstance(cell, list | tuple | np.ndarray) else None for cell in self._series]
        if all(cell is None for cell in cells):
            return None
        found = [[] if cell is None else [item for item in cell if item is not None] for cell in cells]
        return np.array([len(cell) for cell in found], np.int64), list(itertools.chain.from_iterable(found))

    def __getitem__(self, row: int) -> Any:
        return self._series.iloc[row]
