"""Tables as columns of numbers or of texts, wherever they come from: delimited text, Arrow, pandas.

A table is a part of a file: some rows of all columns. What a column means is the business
of fm_core/formats/tables/encoder.py; here a column gives its numbers, or the texts of its cells.
"""

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.text.parse import cell_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrayTable", "CellTable", "Table", "cell_tables", "frame_table", "rest_of", "text_of", "where"]


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


class CellTable:
    """Rows of delimited text.

    Parameters
    ----------
    source : str
    names : list of str
    block : fm_core.formats.text._text.Cells
    """

    def __init__(self, source: str, names: list[str], block: Any) -> None:
        self.source = source
        self.names = names
        self.n_rows: int = block.n_rows
        self._block = block

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":  # noqa: D102
        found: tuple[NDArray[np.float32], int] = self._block.numbers(columns)
        return found

    def is_list(self, column: int) -> bool:  # noqa: D102
        return False

    def codes(  # noqa: D102
        self, column: int, separator: str | None = None
    ) -> "tuple[NDArray[np.int64], list[str]]":
        codes, texts = self._block.codes(column)
        try:
            decoded = list(map(bytes.decode, texts))
        except UnicodeDecodeError as error:
            row = int(np.argmax(codes == texts.index(error.object)))
            raise DataError(
                f"{where(self, row, column)}: byte {error.start} of the cell is "
                f"{error.object[error.start]:#04x}, expected UTF-8 text"
            ) from None
        return _without_empty(codes, decoded)

    def find(self, column: int, vocabulary: Vocabulary, *, learn: bool = False) -> "NDArray[np.int64]":  # noqa: D102
        n_known = len(vocabulary)
        ids: NDArray[np.int64] = vocabulary.find_cells(*self._block.places(column), learn)
        if not vocabulary.is_utf8(n_known):
            self.codes(column)  # says where
        return ids

    def hashes(self, column: int) -> "NDArray[np.int64]":  # noqa: D102
        found: NDArray[np.int64] = self._block.hashes(column)
        return found

    def is_empty(self, row: int, column: int) -> bool:  # noqa: D102
        return not self._block.text(row, column).strip()

    def shown(self, row: int, column: int) -> str:  # noqa: D102
        return repr(self._block.text(row, column).decode(errors="replace")[:40])

    def place(self, row: int) -> str:  # noqa: D102
        return f"line {self._block.lines[row]}"


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
                return _without_empty(codes, [text_of(value) for value in values])
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
        return _without_empty(codes, list(known))

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


def cell_tables(
    source: str, chunks: Iterable[Any], *, delimiter: str = ",", header: bool | None = None
) -> Iterator[Table]:
    """Cut delimited text into tables.

    Parameters
    ----------
    source : str
    chunks : iterable of bytes-like
    delimiter : str
    header : bool, optional
        Whether the first row names the columns; None: it does if a cell of it is no number.

    Raises
    ------
    DataError
        A row has another number of cells than the first one, or two columns have one name.
    """
    blocks = cell_blocks(source, chunks, delimiter=delimiter)
    first = next(blocks, None)
    if first is None:
        return
    columns = range(first.n_columns)
    if header is None:
        header = bool(np.isnan(first.numbers(columns)[0][0]).any())
    names = [str(column) for column in columns]
    if header:
        names = [first.text(0, column).decode(errors="replace").strip() for column in columns]
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{source}: line {first.lines[0]}: two columns are named {name!r}, expected one")
        first = rest_of(first)
    for block in itertools.chain([first], blocks):
        if block.n_rows:
            yield CellTable(source, names, block)


def rest_of(block: Any) -> Any:
    """Give a block without its first row."""
    return _Rest(block)


class _Rest:
    """The cells of a block but its first row."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self.n_rows = block.n_rows - 1
        self.lines = block.lines[1:]

    def text(self, row: int, column: int) -> bytes:
        text: bytes = self._block.text(row + 1, column)
        return text

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":
        numbers, _ = self._block.numbers(columns)
        return numbers[1:], int(np.isnan(numbers[1:]).sum())

    def codes(self, column: int) -> "tuple[NDArray[np.int64], list[bytes]]":
        codes, texts = self._block.codes(column)
        if not (codes[1:] == 0).any():  # the header's own text is no cell's
            return codes[1:] - 1, texts[1:]
        return codes[1:], texts

    def places(self, column: int) -> "tuple[bytearray, NDArray[np.int32]]":
        data, bounds = self._block.places(column)
        return data, bounds[1:]

    def hashes(self, column: int) -> "NDArray[np.int64]":
        hashes: NDArray[np.int64] = self._block.hashes(column)
        return hashes[1:]


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


def frame_table(frame: Any, source: str = "the table") -> Table:
    """See a pandas DataFrame as a table."""
    names = [str(name) for name in frame.columns]
    return ArrayTable(source, names, [_Series(frame.iloc[:, i]) for i in range(len(names))], len(frame))


def _without_empty(codes: "NDArray[np.int64]", texts: list[str]) -> "tuple[NDArray[np.int64], list[str]]":
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
