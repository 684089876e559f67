"""Delimited text as tables."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables._values import cell_codes, cell_hashes
from fm_core.formats.tables.table import Table, check_names, where
from fm_core.formats.tables.values import canonical_cells, in_order, is_missing, number_of
from fm_core.formats.text.parse import MAX_LINE_BYTES, cell_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CellTable", "cell_tables", "header_of", "rest_of"]


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
        self.notes: Mapping[str, str] = {}
        self._block = block

    @functools.cached_property
    def places(self) -> dict[str, int]:  # noqa: D102
        return {name: place for place, name in enumerate(self.names)}

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":  # noqa: D102
        found: tuple[NDArray[np.float32], int] = self._block.numbers(columns, words=True)
        return found

    def is_list(self, column: int) -> bool:  # noqa: D102
        return False

    def declared(self, column: int) -> str | None:  # noqa: D102
        return None

    def codes(  # noqa: D102
        self, column: int, separator: str | None = None
    ) -> "tuple[NDArray[np.int64], list[str]]":
        self._check_encoding(column)
        data, bounds = self._block.places(column)
        codes, texts = cell_codes(*((data, bounds) if separator is not None else canonical_cells(data, bounds)))
        return in_order(codes, [text.decode() for text in texts])

    def find(self, column: int, vocabulary: Vocabulary, *, learn: bool = False) -> "NDArray[np.int64]":  # noqa: D102
        self._check_encoding(column)
        ids: NDArray[np.int64] = vocabulary.find_cells(*canonical_cells(*self._block.places(column)), learn)
        return ids

    def hashes(self, column: int) -> "NDArray[np.int64]":  # noqa: D102
        self._check_encoding(column)
        found: NDArray[np.int64] = cell_hashes(*canonical_cells(*self._block.places(column)))
        return found

    def is_missing(self, row: int, column: int) -> bool:  # noqa: D102
        return is_missing(self._block.text(row, column).decode(errors="replace"))

    def shown(self, row: int, column: int) -> str:  # noqa: D102
        return repr(self._block.text(row, column).decode(errors="replace")[:40])

    def place(self, row: int) -> str:  # noqa: D102
        return f"line {self._block.lines[row]}"

    def head(self, n_rows: int) -> "CellTable":  # noqa: D102
        return CellTable(self.source, self.names, _Part(self._block, 0, n_rows))

    def _check_encoding(self, column: int) -> None:
        if self._block.is_utf8:
            return
        for row in range(self.n_rows):
            try:
                self._block.text(row, column).decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{where(self, row, column)}: {_no_text(error)}") from None


def _no_text(error: UnicodeDecodeError) -> str:
    return (
        f"byte {error.start} of the cell is {error.object[error.start]:#04x}, expected UTF-8 text: convert it, or "
        "name the encoding of the file (--encoding latin-1)"
    )


def cell_tables(
    source: str,
    chunks: Iterable[Any],
    *,
    delimiter: str = ",",
    header: bool | None = None,
    quotes: bool | None = True,
    longest_row: int = MAX_LINE_BYTES,
) -> Iterator[Table]:
    """Cut delimited text into tables.

    Parameters
    ----------
    source : str
    chunks : iterable of bytes-like
    delimiter : str
    header : bool, optional
        Whether the first row names the columns; None: it does if no cell of it is a number, and does not if all are.
    quotes : bool or None
    longest_row : int
        As for `cell_blocks`.

    Yields
    ------
    table : Table
        Some rows.

    Raises
    ------
    DataError
        A row has another number of cells than the first one, two columns have one name, or nothing tells whether the
        first row names them.
    """
    blocks = cell_blocks(source, chunks, delimiter=delimiter, quotes=quotes, longest_row=longest_row, many_rows=True)
    first = next(blocks, None)
    if first is None:
        return
    columns = range(first.n_columns)
    if header is None:
        header = _is_header(source, first)
    names = [str(column) for column in columns]
    if header:
        names = header_of(source, first)
        check_names(f"{source}: line {first.lines[0]}", names)
        first = rest_of(first)
    for block in itertools.chain([first], blocks):
        if block.n_rows:
            yield CellTable(source, names, block)


def _is_header(source: str, block: Any) -> bool:
    """Return whether a first row names the columns, if no option says so."""
    cells = [block.text(0, column).decode(errors="replace").strip() for column in range(block.n_columns)]
    is_number = [number_of(cell) == number_of(cell) for cell in cells]
    is_text = [bool(cell) and not number for cell, number in zip(cells, is_number, strict=True)]
    if any(is_number) and any(is_text):
        found = f"{cells[is_number.index(True)][:20]!r} and {cells[is_text.index(True)][:20]!r}"
        raise DataError(
            f"{source}: line {block.lines[0]} holds numbers and texts, {found}: give --header if it names the "
            "columns, else --no-header"
        )
    for first, n_at_least in ((0, 3), (1, 4)):
        if len(cells) >= n_at_least and cells == [str(first + column) for column in range(len(cells))]:
            raise DataError(
                f"{source}: line {block.lines[0]} is {', '.join(cells[:3])} and so on, like column names that are made "
                "up, by pandas for example: give --header if it names them, else --no-header"
            )
    return any(is_text) or not any(is_number)


def header_of(source: str, block: Any) -> list[str]:
    """Return the column names in the first row of a block.

    Parameters
    ----------
    source : str
        The name of the file in error messages.
    block : any
        Parsed lines (text/parse.py).

    Returns
    -------
    names : list of str

    Raises
    ------
    DataError
        One is not UTF-8.
    """
    names = []
    for column in range(block.n_columns):
        try:
            # As pandas calls a column without a name, which mostly is the index that it has written.
            names.append(block.text(0, column).decode().strip() or f"Unnamed: {column}")
        except UnicodeDecodeError as error:
            place = f"line {block.lines[0]}, column {column}"
            raise DataError(
                f"{source}: {place}: {_no_text(error)}" if source else f"{place}: {_no_text(error)}"
            ) from None
    return names


def rest_of(block: Any) -> Any:
    """Return a block without its first row.

    Parameters
    ----------
    block : any
        Parsed lines (text/parse.py).

    Returns
    -------
    block : any
    """
    return _Part(block, 1, block.n_rows)


class _Part:
    """The cells of some rows of a block."""

    def __init__(self, block: Any, start: int, stop: int) -> None:
        self._block = block
        self._start, self._stop = start, min(stop, block.n_rows)
        self.n_rows = self._stop - start
        self.lines = block.lines[start : self._stop]
        self.is_utf8 = block.is_utf8

    def text(self, row: int, column: int) -> bytes:
        text: bytes = self._block.text(self._start + row, column)
        return text

    def numbers(self, columns: Sequence[int], *, words: bool = False) -> "tuple[NDArray[np.float32], int]":
        numbers: NDArray[np.float32] = self._block.numbers(columns, words=words)[0][self._start : self._stop]
        return numbers, int(np.isnan(numbers).sum())

    def places(self, column: int) -> "tuple[bytearray, NDArray[np.int32]]":
        data, bounds = self._block.places(column)
        return data, bounds[self._start : self._stop]
