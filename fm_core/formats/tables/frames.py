"""DataFrames as tables, and encoded by a schema: pandas, Polars, PyArrow, or a dict of columns.

No DataFrame library is imported here; only the caller's own is used. Everything that supports Arrow's C interface
(Polars, DuckDB, PyArrow) is read through PyArrow.
"""

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables.array_table import ArrayTable, Cells, PythonCells
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import TableSchema
from fm_core.formats.tables.table import where
from fm_core.formats.tables.values import in_order, is_missing, number_of, text_codes, text_of
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["encode_table", "frame_records", "frame_table", "is_frame"]


def encode_table(
    frame: Any, schema: TableSchema, *, unseen: str = "error", labels: str = "optional"
) -> "tuple[Any, NDArray[np.float32] | None]":
    """Encode a DataFrame.

    Parameters
    ----------
    frame
        As for `frame_table`.
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


def frame_table(frame: Any, source: str = "the table") -> ArrayTable:
    """See a DataFrame as a table.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame, pyarrow.Table, structured ndarray, or mapping of names to columns
        Of pandas, the index is no column.
    source : str
        For messages.

    Returns
    -------
    table : ArrayTable

    Raises
    ------
    DataError
        Two columns have one name, as those named 1 and "1" have, or columns of a mapping are not equally long, or no
        columns.
    """
    if isinstance(frame, np.ndarray) and frame.dtype.names is not None:
        frame = {name: frame[name] for name in frame.dtype.names}
    if isinstance(frame, Mapping):
        columns = [_cells(column, f"{source}: column {str(name)!r}") for name, column in frame.items()]
        lengths = [len(column) for column in frame.values()]
        for name, length in zip(frame, lengths, strict=True):
            if length != lengths[0]:
                raise DataError(
                    f"{source}: column {str(name)!r} has {length} cells, expected {lengths[0]} as the first"
                )
        return ArrayTable(source, [str(name) for name in frame], columns, lengths[0] if lengths else 0)
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        names = [str(name) for name in frame.columns]
        return ArrayTable(source, names, [_series(frame.iloc[:, i]) for i in range(len(names))], len(frame))
    is_column = hasattr(frame, "iloc") or hasattr(frame, "dtype")  # of pandas or Polars
    if not is_column and (hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "to_arrow")):
        from fm_core.formats.tables.arrow import arrow_table

        return arrow_table(frame, source)
    raise DataError(
        f"{source} is a {type(frame).__name__}, expected a DataFrame of pandas or Polars, a table of PyArrow, a "
        "structured array, or a dict of columns"
    )


def is_frame(given: Any) -> bool:
    """Return whether an object is a DataFrame of pandas or Polars, or a table of PyArrow.

    Returns
    -------
    is_frame : bool
    """
    return hasattr(given, "columns") and (hasattr(given, "iloc") or hasattr(given, "__arrow_c_stream__"))


def frame_records(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a DataFrame as a client sends them: numbers, booleans, texts, lists of them, and None.

    Parameters
    ----------
    frame : DataFrame
        As for `frame_table`.

    Returns
    -------
    rows : list of dict
        Cells by the name of the column.

    Raises
    ------
    DataError
        As `frame_table`, or a cell is no value.
    """
    table = frame_table(frame)
    records: list[dict[str, Any]] = [{} for _ in range(table.n_rows)]
    for column, name in enumerate(table.names):
        for row, record in enumerate(records):
            try:
                record[name] = _plain(table.cell(row, column))
            except (TypeError, UnicodeDecodeError) as error:
                found = "found bytes that are not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
                raise DataError(f"{where(table, row, column)}: {found}") from error
    return records


def _plain(cell: Any) -> Any:
    if isinstance(cell, (list, tuple, np.ndarray)):
        return [_plain(item) for item in cell]
    if is_missing(cell):
        return None
    if isinstance(cell, (datetime.timedelta, np.timedelta64)):
        return number_of(cell)
    if isinstance(cell, np.floating):
        return float(str(cell))  # its own digits: 0.1 of float32 is no 0.10000000149011612
    return cell if type(cell) in (str, int, float, bool) else text_of(cell)


def _cells(column: Any, where: str) -> Cells:
    """See a column of a mapping as cells."""
    if isinstance(column, np.ndarray) and column.ndim:
        missing = np.ma.getmaskarray(column) if np.ma.is_masked(column) else None
        if column.ndim == 1 and column.dtype.kind not in ("O", "T"):
            return _ArrayCells(np.asarray(column), missing)
        return PythonCells([None if cell is np.ma.masked else cell for cell in column])
    if hasattr(column, "iloc"):
        return _series(column)
    # of PyArrow or Polars; chunks of PyArrow 14 have none of both
    if any(hasattr(column, name) for name in ("__arrow_c_array__", "__arrow_c_stream__", "combine_chunks")):
        from fm_core.formats.tables.arrow import arrow_cells

        return arrow_cells(column, where)
    is_sequence = hasattr(column, "__len__") and hasattr(column, "__getitem__")
    if not is_sequence or isinstance(column, (str, bytes, Mapping, np.ndarray)):
        raise DataError(f"{where} is {quoted(column, 40)} of type {type(column).__name__}, expected a list or an array")
    return PythonCells(column)


class _ArrayCells:
    """Cells that are an array of one type of NumPy's."""

    def __init__(self, array: "NDArray[Any]", missing: "NDArray[np.bool_] | None" = None) -> None:
        self._array = array
        self._missing = missing
        self.declared = "numbers" if array.dtype.kind in "biufm" else "texts"

    def numbers(self) -> "NDArray[np.float64]":
        """Return the cells as numbers: durations as seconds; times are not numbers."""
        if self._array.dtype.kind == "m":
            numbers = self._array / np.timedelta64(1, "s")
        elif self._array.dtype.kind in "biuf":
            numbers = self._array.astype(np.float64)
        else:
            numbers = PythonCells(list(self._array)).numbers()
        if self._missing is not None:
            numbers[self._missing] = np.nan
        return numbers

    def codes(self, *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
        """Give them as texts."""
        values, codes = np.unique(self._array, return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        if self._missing is not None:
            codes[self._missing] = -1
        used = np.unique(codes[codes >= 0])
        if self._array.dtype.kind in "iu":  # whose digits are their one form
            found, texts = np.arange(len(used)), list(map(str, values[used].tolist()))
        else:
            found, texts = text_codes(list(values[used]), as_they_stand=as_they_stand)
        of_value = np.full(len(values) + 1, -1, np.int64)
        of_value[used] = found
        return in_order(of_value[codes], texts)

    def lists(self) -> None:
        """They are none."""

    def __getitem__(self, row: int) -> Any:
        return None if self._missing is not None and self._missing[row] else self._array[row]


def _series(series: Any) -> Cells:
    """See a column of a DataFrame of pandas as cells."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _ArrayCells(series.to_numpy()) if dtype.kind != "O" else PythonCells(list(series.to_numpy()))
    if type(dtype).__name__ == "SparseDtype":
        return _series(series.sparse.to_dense())
    if type(dtype).__name__ == "CategoricalDtype":
        return _CategoryCells(series)
    if type(dtype).__name__ == "ArrowDtype":
        from fm_core.formats.tables.arrow import arrow_cells

        return arrow_cells(series.array)
    missing = series.isna().to_numpy()
    numbers = getattr(dtype, "numpy_dtype", None)
    if isinstance(numbers, np.dtype) and numbers.kind in "biuf":  # Int64, boolean and the like, which may have gaps
        return _ArrayCells(series.to_numpy(numbers, na_value=numbers.type(0)), missing if missing.any() else None)
    # Texts, moments with a zone, periods and intervals: as objects, each different one looked at once.
    return PythonCells(list(series.astype(object)), "texts")


class _CategoryCells:
    """Cells of pandas' categories, which are texts whatever they look like."""

    declared = "texts"

    def __init__(self, series: Any) -> None:
        self._series = series

    def numbers(self) -> "NDArray[np.float64]":
        """Give them as numbers."""
        of_code = np.append(PythonCells(list(self._series.cat.categories.to_numpy())).numbers(), np.nan)
        found: NDArray[np.float64] = of_code[self._series.cat.codes.to_numpy()]
        return found

    def codes(self, *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
        """Return those that there are as texts."""
        found, texts = text_codes(list(self._series.cat.categories.to_numpy()), as_they_stand=as_they_stand)
        return in_order(np.append(found, -1)[self._series.cat.codes.to_numpy()], texts)

    def lists(self) -> None:
        """They are none."""

    def __getitem__(self, row: int) -> Any:
        return self._series.iloc[row]
