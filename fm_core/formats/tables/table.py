"""Tables as columns of numbers or of texts, wherever they come from: delimited text, Arrow, pandas.

A table is a part of a file: some rows of all columns. What a column means is the business
of fm_core/formats/tables/encoder.py; here a column gives its numbers, or the texts of its cells.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrayTable", "Table", "TextTable", "no_column", "text_of", "where", "without_empty"]


class Table(Protocol):
    """Some rows of all columns.

    Attributes
    ----------
    source : str
        For messages: a path, mostly.
    names : list of str
        Of the columns; their numbers, from 0, where there is no header.
    n_rows : int
    """

    source: str
    names: list[str]
    n_rows: int

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":
        """Give columns as numbers, shape (n_rows, len(columns)), NaN where there is none, and how many are NaN."""

    def codes(self, column: int, separator: str | None = None) -> "tuple[NDArray[np.int64], list[str]]":
        """Give a column as texts, each once in order of appearance, and the number of each cell's; -1: empty.

        Cells that are lists become texts by the separator.
        """

    def is_list(self, column: int) -> bool:
        """Whether the cells of a column are lists."""

    def find(self, column: int, vocabulary: Vocabulary, *, learn: bool = False) -> "NDArray[np.int64]":
        """Give the id of each cell's text; -1: empty, -2: not known, and not to be learned."""

    def hashes(self, column: int) -> "NDArray[np.int64]":
        """Give the CRC-32 of each cell's text, in UTF-8; -1: empty."""

    def is_empty(self, row: int, column: int) -> bool:
        """Whether a cell holds nothing."""

    def shown(self, row: int, column: int) -> str:
        """Give a cell as a message shows it."""

    def place(self, row: int) -> str:
        """Say where a row is."""


def where(table: Table, row: int, column: int) -> str:
    """Say where a cell is."""
    place = f"{table.place(row)}, column {table.names[column]!r}"
    return f"{table.source}: {place}" if table.source else place


def no_column(table: Table, name: str) -> DataError:
    """Make the error of a column that is not there."""
    shown = ", ".join(table.names[:20]) + (", ..." if len(table.names) > 20 else "")
    found = f"there is no column {name!r}, expected one of: {shown}"
    return DataError(f"{table.source}: {found}" if table.source else found)


class ArrayTable:
    """Rows whose columns are arrays in memory.

    Parameters
    ----------
    source : str
    names : list of str
    columns : list
        One for each name, with `numbers()`, `codes()` and ``[row]``, and `lists()` where it gives something else
        than None: how many items each cell has, and the items.
    first_row : int
        The number of the first row, counted from 0.
    """

    def __init__(self, source: str, names: list[str], columns: list[Any], n_rows: int, first_row: int = 0) -> None:
        self.source = source
        self.names = names
        self.n_rows = n_rows
        self._columns = columns
        self._first_row = first_row

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":  # noqa: D102
        out = np.empty((self.n_rows, len(columns)), np.float32)
        for i, column in enumerate(columns):
            with np.errstate(over="ignore", invalid="ignore"):
                out[:, i] = self._columns[column].numbers()
        out[~np.isfinite(out)] = np.nan
        return out, int(np.isnan(out).sum())

    def is_list(self, column: int) -> bool:  # noqa: D102
        return self._lists(column) is not None

    def _lists(self, column: int) -> "tuple[NDArray[np.int64], list[Any]] | None":
        lists = getattr(self._columns[column], "lists", None)
        found: tuple[NDArray[np.int64], list[Any]] | None = None if lists is None else lists()
        return found

    def codes(  # noqa: D102
        self, column: int, separator: str | None = None
    ) -> "tuple[NDArray[np.int64], list[str]]":
        lists = self._lists(column)
        if lists is None:
            codes, values = self._columns[column].codes()
            try:
                return without_empty(codes, [text_of(value) for value in values])
            except UnicodeDecodeError as error:
                row = next(row for row in range(self.n_rows) if self._columns[column][row] == error.object)
                raise DataError(f"{where(self, row, column)}: found bytes that are no UTF-8 text") from None
        if separator is None:
            raise DataError(f"{self.source}: column {self.names[column]!r} holds lists, expected one value in a cell")
        counts, items = lists
        texts = [text_of(item) for item in items]
        for at, text in enumerate(texts):
            if separator in text:
                row = int(np.searchsorted(np.cumsum(counts), at, side="right"))
                raise DataError(
                    f"{where(self, row, column)}: the id {text[:40]!r} holds {separator!r}, which stands between ids: "
                    f"name another separator (--several '{self.names[column]}:SEPARATOR')"
                )
        ends = np.cumsum(counts).tolist()
        known: dict[str, int] = {}
        joined = (separator.join(texts[end - n : end]) for n, end in zip(counts.tolist(), ends, strict=True))
        codes = np.array([known.setdefault(text, len(known)) for text in joined], np.int64)
        return without_empty(codes, list(known))

    def find(self, column: int, vocabulary: Vocabulary, *, learn: bool = False) -> "NDArray[np.int64]":  # noqa: D102
        codes, texts = self.codes(column)
        ids: NDArray[np.int64] = np.append(vocabulary.find(texts, learn), -1)[codes]
        return ids

    def hashes(self, column: int) -> "NDArray[np.int64]":  # noqa: D102
        codes, texts = self.codes(column)
        return np.array([*(zlib.crc32(text.encode()) for text in texts), -1], np.int64)[codes]

    def is_empty(self, row: int, column: int) -> bool:  # noqa: D102
        value = self._columns[column][row]
        if isinstance(value, list | tuple | np.ndarray):
            return False
        return value is None or value == "" or value != value

    def shown(self, row: int, column: int) -> str:  # noqa: D102
        value = self._columns[column][row]
        return repr(value)[:40]

    def place(self, row: int) -> str:  # noqa: D102
        return f"row {self._first_row + row}"


class TextTable(ArrayTable):
    """Rows of texts.

    Parameters
    ----------
    source : str
    columns : mapping of str to list of str
        By name, all of one length.
    """

    def __init__(self, source: str, columns: Mapping[str, list[str]]) -> None:
        n_rows = len(next(iter(columns.values())))
        super().__init__(source, list(columns), [_Texts(texts) for texts in columns.values()], n_rows)


class _Texts:
    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def numbers(self) -> "NDArray[np.float64]":
        return np.array([_float(text) for text in self._texts], np.float64)

    def codes(self) -> "tuple[NDArray[np.int64], list[Any]]":
        codes: dict[str, int] = {}
        found = [codes.setdefault(text, len(codes)) for text in self._texts]
        return np.array(found, np.int64), list(codes)

    def __getitem__(self, row: int) -> Any:
        return self._texts[row]


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def without_empty(codes: "NDArray[np.int64]", texts: list[str]) -> "tuple[NDArray[np.int64], list[str]]":
    """Take the empty text out of what `Table.codes` gives."""
    if "" not in texts:
        return codes, texts
    empty = texts.index("")
    codes = np.where(codes == empty, -1, codes - (codes > empty))
    return codes, texts[:empty] + texts[empty + 1 :]


def text_of(value: Any) -> str:
    """Give a value as a category: the text that CSV would have for it; 3.0 is 3, as pandas makes integers floats."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)
