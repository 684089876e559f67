"""Tables in folders such as ``day=3``: each folder is a column with one value, after the file's own columns.

A folder's value is read like a CSV cell with that text: as a number if a number is needed, otherwise as text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.hive import folders_above
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables.array_table import ArrayTable
from fm_core.formats.tables.table import Table
from fm_core.formats.tables.values import number_of, text_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["beside_folders"]


def beside_folders(path: str, tables: Iterable[Table]) -> Iterator[Table]:
    """Yield the tables of a file with the columns that the folders next above it are.

    Parameters
    ----------
    path : str
        The file's.
    tables : iterable of Table

    Yields
    ------
    table : Table
        With the columns of the file, then those of its folders.

    Raises
    ------
    DataError
        The file has such a column itself.
    """
    folders = folders_above(path)
    for table in tables:
        yield _PartitionedTable(table, folders) if folders else table


class _Constant:
    """The cells of a column that has one text in all rows."""

    declared = None

    def __init__(self, text: str, n_rows: int) -> None:
        self._text = text
        self._n_rows = n_rows

    def numbers(self) -> "NDArray[np.float64]":
        return np.full(self._n_rows, number_of(self._text))

    def codes(self, *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
        codes, texts = text_codes([self._text], as_they_stand=as_they_stand)
        return np.full(self._n_rows, codes[0]), texts

    def lists(self) -> None:
        return None

    def __getitem__(self, row: int) -> Any:
        return self._text


class _PartitionedTable:
    """A table, and columns of one text each behind its own."""

    def __init__(self, table: Table, folders: Mapping[str, str]) -> None:
        for name in folders:
            if name in table.places:
                raise DataError(
                    f"{table.source}: the folder {name}={folders[name][:40]} is a column, and two columns are named "
                    f"{name[:40]!r} then, expected one: rename the folder, or the file's column"
                )
        self.source, self.n_rows, self.notes = table.source, table.n_rows, table.notes
        self.names = [*table.names, *folders]
        self.places = {name: place for place, name in enumerate(self.names)}
        self._own, self._n_own, self._folders = table, len(table.names), folders
        constants = [_Constant(text, table.n_rows) for text in folders.values()]
        self._constant = ArrayTable(table.source, list(folders), constants, table.n_rows)

    def _table(self, column: int) -> tuple[Table, int]:
        """Give whose column it is, and which."""
        return (self._own, column) if column < self._n_own else (self._constant, column - self._n_own)

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":
        if all(column < self._n_own for column in columns):
            return self._own.numbers(columns)
        out = np.empty((self.n_rows, len(columns)), np.float32)
        is_own = np.array([column < self._n_own for column in columns], bool)
        places = np.array(columns, np.int64)
        out[:, is_own] = self._own.numbers(places[is_own].tolist())[0]
        out[:, ~is_own] = self._constant.numbers((places[~is_own] - self._n_own).tolist())[0]
        return out, int(np.isnan(out).sum())

    def codes(self, column: int, separator: str | None = None) -> "tuple[NDArray[np.int64], list[str]]":
        table, at = self._table(column)
        return table.codes(at, separator)

    def is_list(self, column: int) -> bool:
        table, at = self._table(column)
        return table.is_list(at)

    def declared(self, column: int) -> str | None:
        table, at = self._table(column)
        return table.declared(at)

    def find(self, column: int, vocabulary: Vocabulary, *, learn: bool = False) -> "NDArray[np.int64]":
        table, at = self._table(column)
        return table.find(at, vocabulary, learn=learn)

    def hashes(self, column: int) -> "NDArray[np.int64]":
        table, at = self._table(column)
        return table.hashes(at)

    def is_missing(self, row: int, column: int) -> bool:
        table, at = self._table(column)
        return table.is_missing(row, at)

    def shown(self, row: int, column: int) -> str:
        table, at = self._table(column)
        return table.shown(row, at)

    def place(self, row: int) -> str:
        return self._own.place(row)

    def head(self, n_rows: int) -> Table:
        return _PartitionedTable(self._own.head(n_rows), self._folders)
