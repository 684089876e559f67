"""Delimited text as tables."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables.table import Table, where, without_empty
from fm_core.formats.text.parse import cell_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CellTable", "cell_tables", "rest_of"]


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
        return without_empty(codes, decoded)

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
