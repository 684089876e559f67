"""Parquet and Arrow files as tables, by pyarrow, which is imported when one is read."""

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import ConfigError, DataError, FMError, ResourceError, is_exhausted
from fm_core.formats.tables.array_table import ArrayTable, Cells, PythonCells
from fm_core.formats.tables.arrow_extensions import of_extension, of_noted_extension
from fm_core.formats.tables.table import INDEX
from fm_core.formats.tables.values import ValueFault, numbers_of, text_codes
from fm_core.printable import first_line, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["arrow_cells", "arrow_table", "arrow_tables", "parquet_tables"]

_ROWS = 1 << 16

#: Types of Arrow whose values are numbers if they are written like some.
_WRITTEN_NUMBERS = ("string", "large_string", "binary", "large_binary", "fixed_size_binary", "decimal")


def parquet_tables(source: str, file: "str | bytes | IO[bytes] | None" = None) -> Iterator[ArrayTable]:
    """Read a Parquet file.

    Parameters
    ----------
    source : str
        Its path; only its name, for messages, if there is a `file`.
    file : path, bytes or binary file, optional
        The file: where it is, all that it holds, or opened.

    Yields
    ------
    table : ArrayTable
        One row group, or a part of it.

    Raises
    ------
    DataError
        It is no Parquet file, or damaged.
    ConfigError
        pyarrow is not installed.
    """
    pyarrow = _pyarrow("Parquet")
    from pyarrow import parquet

    opened = _opened(pyarrow, source, file)
    try:
        with parquet.ParquetFile(opened) as parts:
            yield from _tables(source, parts.iter_batches(batch_size=_ROWS))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # the last one of a column's name
        raise _unreadable(source, error, "a Parquet file") from error


def arrow_tables(source: str, file: "str | bytes | IO[bytes] | None" = None) -> Iterator[ArrayTable]:
    """Read an Arrow file or stream (also called Feather, version 2); the parameters are those of `parquet_tables`.

    Raises
    ------
    DataError
        It is none, or damaged.
    ConfigError
        pyarrow is not installed.
    """
    pyarrow = _pyarrow("Arrow")
    opened = _opened(pyarrow, source, file)
    try:
        with pyarrow.memory_map(opened) if isinstance(opened, str) else pyarrow.PythonFile(opened) as found:
            begins = found.read(6)
            found.seek(0)
            if begins == b"ARROW1":
                with pyarrow.ipc.open_file(found) as parts:
                    batches = (parts.get_batch(i) for i in range(parts.num_record_batches))
                    yield from _tables(source, _validated(source, batches))
            else:
                with pyarrow.ipc.open_stream(found) as stream:
                    yield from _tables(source, _validated(source, stream))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # the last one of a column's name
        raise _unreadable(source, error, "an Arrow file or stream") from error


def arrow_table(found: Any, source: str) -> ArrayTable:
    """Wrap a table of PyArrow, or any object with Arrow's C interface, without copying.

    Parameters
    ----------
    found : pyarrow.Table or object with ``__arrow_c_stream__``
    source : str
        The name of the table in error messages.

    Returns
    -------
    table : ArrayTable

    Raises
    ------
    ConfigError
        pyarrow is not installed.
    """
    pyarrow = _pyarrow("A table of this kind")
    table = found if isinstance(found, pyarrow.Table) else None
    if table is None:
        polars: Any = sys.modules.get("polars")
        if polars is not None and isinstance(found, polars.DataFrame):
            columns = [arrow_cells(column, f"{source}: column {column.name!r}") for column in found.get_columns()]
            return ArrayTable(source, list(found.columns), columns, found.height)
        table = pyarrow.table(found) if hasattr(found, "__arrow_c_stream__") else found.to_arrow()
    names = [str(name) for name in table.column_names]
    columns = _columns(source, table)
    return ArrayTable(source, names, columns, table.num_rows, notes=_notes(table.schema))


def _columns(source: str, table: Any) -> list[Cells]:
    return [
        arrow_cells(column, f"{source}: column {field.name!r}", field.metadata)
        for field, column in zip(table.schema, table.columns, strict=True)
    ]


def arrow_cells(column: Any, where: str = "the column", metadata: Mapping[bytes, bytes] | None = None) -> Cells:
    """See a column as cells.

    Parameters
    ----------
    column : pyarrow.Array, pyarrow.ChunkedArray, or what converts itself to one
        Columns of pandas and Polars do.
    where : str
        What messages call it.
    metadata : mapping of bytes to bytes, optional
        That of its field.

    Returns
    -------
    cells : Cells

    Raises
    ------
    DataError
        Arrow cannot read it.
    """
    import pyarrow

    polars: Any = sys.modules.get("polars")
    if polars is not None and isinstance(column, polars.Series):
        try:
            if column.dtype == polars.Object:  # of which Arrow would get addresses in memory
                return PythonCells(column.to_list())
            column = column.to_arrow(compat_level=polars.CompatLevel.oldest())  # not every pyarrow takes its views
        except pyarrow.ArrowException:  # integers of 128 bits
            return PythonCells(column.to_list())
    array = column if isinstance(column, (pyarrow.Array, pyarrow.ChunkedArray)) else pyarrow.array(column)
    arrow_type = array.type
    try:
        if isinstance(array, pyarrow.ChunkedArray):
            array = array.combine_chunks()
            if isinstance(array, pyarrow.ChunkedArray):  # an older version, or none that fits in one
                array = pyarrow.concat_arrays(array.chunks) if array.num_chunks else pyarrow.array([], array.type)
        return _Cells(_plain(of_noted_extension(array, metadata)), where)
    except pyarrow.ArrowException as error:
        raise _unread(where, arrow_type, error) from error


def _plain(array: Any) -> Any:
    """Return an array of a type that all of pyarrow supports: storage of extensions, decoded views and runs."""
    import pyarrow

    kind = pyarrow.types
    if isinstance(array.type, pyarrow.BaseExtensionType):
        return _plain(of_extension(array))
    if kind.is_run_end_encoded(array.type):
        import pyarrow.compute

        runs = pyarrow.RunEndEncodedArray.from_arrays(array.run_ends, _plain(array.values))
        return _plain(pyarrow.compute.run_end_decode(runs.slice(array.offset, len(array))))
    if any(getattr(kind, f"is_decimal{bits}", _never)(array.type) for bits in (32, 64)):
        return array.cast(pyarrow.decimal128(array.type.precision, array.type.scale))
    for is_view, plain in (("is_string_view", pyarrow.large_string), ("is_binary_view", pyarrow.large_binary)):
        test = getattr(kind, is_view, None)
        if test is not None and test(array.type):
            return array.cast(plain())
    if any(getattr(kind, name, _never)(array.type) for name in ("is_list_view", "is_large_list_view")):
        return _lists_of_views(array)
    if kind.is_dictionary(array.type):
        values = _plain(array.dictionary)
        if values is not array.dictionary:
            return pyarrow.DictionaryArray.from_arrays(array.indices, values)
    return array


def _lists_of_views(array: Any) -> Any:
    """Give lists that lie one behind the other; a cast would take places from cells that are null."""
    import pyarrow

    nulls = array.is_null().to_numpy(zero_copy_only=False)
    sizes = np.where(nulls, 0, array.sizes.to_numpy(zero_copy_only=False)).astype(np.int64)
    starts = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(sizes)
    places = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes) + np.repeat(starts, sizes)
    items = _plain(array.values).take(pyarrow.array(places))
    offsets = pyarrow.array(np.append(0, ends))
    return pyarrow.LargeListArray.from_arrays(offsets, items, mask=pyarrow.array(nulls) if nulls.any() else None)


def _never(_: Any) -> bool:
    return False


def _unread(where: str, arrow_type: Any, error: Exception) -> DataError:
    found = printable(str(arrow_type), 60)
    return DataError(f"{where}: found {found}, expected numbers, texts, or lists of them: {_one_line(error)}")


def _read_or_said(method: Callable[..., Any]) -> Callable[..., Any]:
    """Say what a column is where pyarrow has no function for its type, or finds it damaged."""

    @functools.wraps(method)
    def read(self: "_Cells", *args: Any, **kwargs: Any) -> Any:
        import pyarrow

        try:
            return method(self, *args, **kwargs)
        except pyarrow.ArrowException as error:
            raise _unread(self.where, self.type_name, error) from error

    return read


class _Cells:
    """A column of a RecordBatch."""

    def __init__(self, array: Any, where: str) -> None:
        import pyarrow

        self._array = array
        kind = pyarrow.types
        self._is_list = any(test(array.type) for test in (kind.is_list, kind.is_large_list, kind.is_fixed_size_list))
        inner = array.type.value_type if self._is_list or kind.is_dictionary(array.type) else array.type
        self._is_nested = kind.is_nested(inner)
        self.where = where
        self.type_name = printable(str(array.type), 60)
        self.declared: str | None = "texts"
        if _holds(array.type, "integer", "floating", "decimal", "boolean", "null", "duration"):
            self.declared = None if kind.is_null(array.type) else "numbers"

    @_read_or_said
    def lists(self) -> "tuple[NDArray[np.int64], NDArray[np.int64], list[str]] | None":
        """Give their items."""
        if not self._is_list:
            return None
        self._refuse_nested()
        counts = self._array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        # As flatten() does, of fixed lengths the items of cells that are null are left out.
        items, texts = _codes(_plain(self._array.flatten()))
        rows = np.repeat(np.arange(len(counts)), counts)
        return np.bincount(rows[items >= 0], minlength=len(counts)), items[items >= 0], texts

    def _refuse_nested(self) -> None:
        if self._is_nested:
            raise DataError(f"{self.where}: found {self.type_name}, expected numbers, texts, or lists of them")

    @_read_or_said
    def numbers(self) -> "NDArray[np.float64]":
        """Give them as numbers; nulls become NaN."""
        import pyarrow

        kind = pyarrow.types
        array = self._array
        if kind.is_dictionary(array.type):
            of_code = _Cells(_plain(array.dictionary), self.where).numbers()
            return _taken(of_code, _places(array))
        if kind.is_duration(array.type):
            spans = array.to_numpy(zero_copy_only=False)
            seconds: NDArray[np.float64] = spans / np.timedelta64(1, "s")
            return seconds
        if kind.is_boolean(array.type):
            array = array.cast(pyarrow.uint8())
        if _holds(array.type, "integer", "floating"):
            numbers: NDArray[np.float64] = array.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
            return numbers
        if _holds(array.type, *_WRITTEN_NUMBERS):  # pyarrow does not round decimals as Python does
            codes, values = _distinct(array)
            return _taken(numbers_of(values), codes)
        return np.full(len(array), np.nan)

    @_read_or_said
    def codes(self, *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
        """Give them as texts."""
        self._refuse_nested()
        return _codes(self._array, as_they_stand=as_they_stand)

    @_read_or_said
    def __getitem__(self, row: int) -> Any:
        return _values(self._array.slice(row, 1))[0]


def _places(array: Any) -> "NDArray[np.int64]":
    """Where in its dictionary each value is, and -1 for a null; the places may be of any integer type."""
    import pyarrow

    places: NDArray[np.int64] = array.indices.cast(pyarrow.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return places


def _taken(of_code: "NDArray[np.float64]", codes: "NDArray[np.int64]") -> "NDArray[np.float64]":
    return np.append(of_code, np.nan)[codes]  # the last is for -1


def _holds(arrow_type: Any, *kinds: str) -> bool:
    """Whether an Arrow type is of some kinds, by the names that ``pyarrow.types`` has for them."""
    import pyarrow

    return any(getattr(pyarrow.types, f"is_{kind}")(arrow_type) for kind in kinds)


def _codes(array: Any, *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
    import pyarrow

    if pyarrow.types.is_null(array.type):
        return np.full(len(array), -1, np.int64), []
    codes, values = _distinct(array)
    inner = array.type.value_type if pyarrow.types.is_dictionary(array.type) else array.type
    try:
        if pyarrow.types.is_integer(inner) and None not in values:  # whose digits are their one form
            found, texts = np.arange(len(values)), list(map(str, values))
        else:
            found, texts = text_codes(values, as_they_stand=as_they_stand)
    except ValueFault as fault:
        raise ValueFault(int(np.argmax(codes == fault.row)), str(fault)) from fault
    return np.append(found, -1)[codes], texts


def _distinct(array: Any) -> "tuple[NDArray[np.int64], Sequence[Any]]":
    """Give the place of each cell's value, -1: null, and each different value as a Python object once.

    They are in order of appearance. A dictionary may have values that no cell has.
    """
    import pyarrow

    encoded = array if pyarrow.types.is_dictionary(array.type) else array.dictionary_encode()
    codes = _places(encoded)
    used, first = np.unique(codes, return_index=True)
    used = used[np.argsort(first, kind="stable")]
    used = used[used >= 0]
    place_of = np.full(len(encoded.dictionary) + 1, -1, np.int64)  # the last is for -1
    place_of[used] = np.arange(len(used))
    return place_of[codes], _values(_plain(encoded.dictionary.take(pyarrow.array(used))))


def _values(array: Any) -> Sequence[Any]:
    """Give values as objects that `values.text_of` knows, in their own precision."""
    import pyarrow

    kind = pyarrow.types
    if kind.is_dictionary(array.type):
        array = array.dictionary_decode()
    if kind.is_floating(array.type):  # float32 would become float64, with more digits
        return [None if null else value for value, null in zip(
            array.to_numpy(zero_copy_only=False), array.is_null().to_pylist(), strict=True)]  # fmt: skip
    if kind.is_timestamp(array.type):  # of which Python has no nanoseconds
        zone = "" if array.type.tz is None else "Z"
        moments = array.cast(pyarrow.timestamp(array.type.unit)).to_numpy(zero_copy_only=False)
        return [None if np.isnat(moment) else f"{np.datetime_as_string(moment)}{zone}" for moment in moments]
    if kind.is_time(array.type):
        return [None if value is None else str(value) for value in array.cast(pyarrow.string()).to_pylist()]
    if kind.is_duration(array.type):
        return list(array.to_numpy(zero_copy_only=False))
    if _holds(array.type, "list", "large_list", "fixed_size_list"):
        nulls = array.is_null().to_pylist()
        return [None if null else list(_values(_plain(array.slice(i, 1).flatten()))) for i, null in enumerate(nulls)]
    if kind.is_date(array.type):  # of which Python's end with the year 9999
        days = array.cast(pyarrow.date32()).to_numpy(zero_copy_only=False)
        return [None if np.isnat(day) else str(day) for day in days]
    try:
        found: list[Any] = array.to_pylist()
    except UnicodeDecodeError:  # which one it is, whoever makes texts of bytes says
        found = array.cast(pyarrow.large_binary()).to_pylist()
    return found


def _validated(source: str, batches: Any) -> Iterator[Any]:
    """Refuse what points outside itself: pyarrow maps the arrays of an Arrow file as they lie there, and reads wherever
    their offsets, places and views say. (Those of a Parquet file it has made itself.)
    """
    import pyarrow

    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column.validate(full=True)
            except (pyarrow.ArrowException, OSError) as error:
                raise _unreadable(f"{source}: column {name!r}", error, "an Arrow file or stream") from error
        yield batch


def _tables(source: str, batches: Any) -> Iterator[ArrayTable]:
    n_rows = 0
    for whole in batches:
        for start in range(0, whole.num_rows, _ROWS):  # an Arrow file may be a single batch
            batch = whole.slice(start, _ROWS)
            yield ArrayTable(
                source, list(batch.schema.names), _columns(source, batch), batch.num_rows, n_rows, _notes(batch.schema)
            )
            n_rows += batch.num_rows


def _notes(schema: Any) -> dict[str, str]:
    """Find the columns that were the index of a DataFrame of pandas: it writes down which."""
    try:
        index = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError, RecursionError):
        return {}
    return {name: INDEX for name in index if isinstance(name, str)}


def _opened(pyarrow: Any, source: str, file: "str | bytes | IO[bytes] | None") -> Any:
    if isinstance(file, bytes):
        return pyarrow.BufferReader(file)
    if file is None:
        Path(source).stat()  # so that a file that is not there is said as for any other format
    return source if file is None else file


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow.ipc
    except ImportError as error:
        raise ConfigError(f"{what} needs the package pyarrow, which is not installed: pip install pyarrow") from error
    return pyarrow


def _unreadable(where: str, error: Exception, expected: str) -> FMError:
    if is_exhausted(error):
        return ResourceError(f"{where}: {_one_line(error)}; not enough memory, or the file is damaged")
    return DataError(f"{where}: {_one_line(error)}; expected {expected}")


def _one_line(error: Exception) -> str:
    return printable(first_line(error).rstrip("."), 200)
