"""Parquet and Arrow files as tables, by pyarrow, which is imported when one is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables.table import ArrayTable, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["arrow_tables", "parquet_tables"]

_ROWS = 1 << 16


def parquet_tables(source: str, file: "str | bytes | IO[bytes] | None" = None) -> Iterator[Table]:
    """Read a Parquet file.

    Parameters
    ----------
    source : str
        Its path; only its name, for messages, if there is a `file`.
    file : path, bytes or binary file, optional
        The file: where it is, all that it holds, or opened.

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
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source}: {_one_line(error)}; expected a Parquet file") from error


def arrow_tables(source: str, file: "str | bytes | IO[bytes] | None" = None) -> Iterator[Table]:
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
                    yield from _tables(source, batches)
            else:
                with pyarrow.ipc.open_stream(found) as stream:
                    yield from _tables(source, stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source}: {_one_line(error)}; expected an Arrow file or stream") from error


class _Values:
    """A column of a RecordBatch."""

    def __init__(self, array: Any, where: str) -> None:
        import pyarrow

        self._array = array
        kind = pyarrow.types
        self._is_list = any(test(array.type) for test in (kind.is_list, kind.is_large_list, kind.is_fixed_size_list))
        self._is_nested = kind.is_nested(array.type.value_type if self._is_list else array.type)
        self._where = where

    def lists(self) -> "tuple[NDArray[np.int64], list[Any]] | None":
        import pyarrow

        if not self._is_list:
            return None
        self._refuse_nested()
        counts = self._array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        items = self._array.flatten()
        if items.null_count:
            rows = np.repeat(np.arange(len(counts)), counts)
            kept = items.is_valid().to_numpy(zero_copy_only=False)
            counts = np.bincount(rows[kept], minlength=len(counts))
            items = items.drop_null()
        # Each different item is made a Python object once.
        encoded = items if pyarrow.types.is_dictionary(items.type) else items.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        return counts, [values[code] for code in encoded.indices.to_pylist()]

    def _refuse_nested(self) -> None:
        if self._is_nested:
            raise DataError(f"{self._where}: found {self._array.type}, expected numbers, texts, or lists of them")

    def numbers(self) -> "NDArray[np.float64]":
        import pyarrow

        kind = pyarrow.types
        array = self._array
        if kind.is_dictionary(array.type):
            array = array.dictionary_decode()
        if kind.is_boolean(array.type):
            array = array.cast(pyarrow.uint8())
        if not (kind.is_integer(array.type) or kind.is_floating(array.type) or kind.is_decimal(array.type)):
            return np.full(len(array), np.nan)
        # Nulls become NaN.
        found: NDArray[np.float64] = array.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
        return found

    def codes(self) -> "tuple[NDArray[np.int64], list[Any]]":
        import pyarrow

        self._refuse_nested()
        encoded = self._array if pyarrow.types.is_dictionary(self._array.type) else self._array.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes, encoded.dictionary.to_pylist()

    def __getitem__(self, row: int) -> Any:
        return self._array[row].as_py()


def _tables(source: str, batches: Any) -> Iterator[Table]:
    n_rows = 0
    for whole in batches:
        for start in range(0, whole.num_rows, _ROWS):  # an Arrow file may be a single batch
            batch = whole.slice(start, _ROWS)
            names = list(batch.schema.names)
            columns = [
                _Values(column, f"{source}: column {name!r}") for name, column in zip(names, batch.columns, strict=True)
            ]
            yield ArrayTable(source, names, columns, batch.num_rows, n_rows)
            n_rows += batch.num_rows


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
        raise ConfigError(
            f"{what} needs the package pyarrow, which is not installed: install factorization-machines[parquet]"
        ) from error
    return pyarrow


def _one_line(error: Exception) -> str:
    text = str(error).splitlines()[0].rstrip(".")
    return text[:200]
