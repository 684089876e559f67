"""Tables whose columns are arrays or lists: of Arrow, DataFrames and Python."""

import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables.table import check_names, where
from fm_core.formats.tables.values import ValueFault, is_missing, number_of, numbers_of, text_codes, text_of
from fm_core.printable import begun, quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrayTable", "Cells", "PythonCells", "TextTable"]


class Cells(Protocol):
    """The cells of one column, in memory."""

    @property
    def declared(self) -> str | None:
        """What the cells hold, "numbers" or "texts"; None: their texts decide."""

    def numbers(self) -> "NDArray[np.float64]":
        """Return the cells as numbers; NaN if a cell is missing or not a number."""

    def codes(self, *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
        """Give them as texts; see `Table.codes` and `values.text_codes`."""

    def lists(self) -> "tuple[NDArray[np.int64], NDArray[np.int64], list[str]] | None":
        """Give how many items each cell has, the items by number, and their texts; None: they are no lists."""

    def __getitem__(self, row: int) -> Any: ...


class PythonCells:
    """Cells that are Python's objects, or NumPy's.

    Parameters
    ----------
    cells : sequence
    declared : {"numbers", "texts"}, optional
        None: numbers, if all that are not missing are such.
    """

    def __init__(self, cells: Sequence[Any], declared: str | None = None) -> None:
        self._cells = cells
        self._declared = declared

    @functools.cached_property
    def declared(self) -> str | None:
        """What they hold."""
        if self._declared is not None:
            return self._declared
        there = [cell for cell in self._cells if not is_missing(cell)]
        if not there:
            return None
        return "numbers" if all(not isinstance(cell, (str, bytes)) and _is_number(cell) for cell in there) else "texts"

    def numbers(self) -> "NDArray[np.float64]":
        """Give them as numbers."""
        return numbers_of(self._cells)

    def codes(self, *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
        """Return the cells as distinct texts; see `Table.codes`."""
        return text_codes(self._cells, as_they_stand=as_they_stand)

    def lists(self) -> "tuple[NDArray[np.int64], NDArray[np.int64], list[str]] | None":
        """Return the items of the cells; see `Cells.lists`."""
        if not any(isinstance(cell, (list, tuple, np.ndarray)) for cell in self._cells):
            return None
        items: list[Any] = []
        counts = np.zeros(len(self._cells), np.int64)
        rows = []
        for row, cell in enumerate(self._cells):
            if not isinstance(cell, (list, tuple, np.ndarray)):
                if is_missing(cell):
                    continue
                cell = [cell]
            items.extend(cell)
            rows += [row] * len(cell)
        try:
            codes, texts = text_codes(items)
        except ValueFault as fault:
            raise ValueFault(rows[fault.row], str(fault)) from fault
        there = codes >= 0
        np.add.at(counts, np.array(rows, np.int64)[there], 1)
        return counts, codes[there], texts

    def __getitem__(self, row: int) -> Any:
        return self._cells[row]


def _is_number(cell: Any) -> bool:
    return number_of(cell) == number_of(cell) or isinstance(cell, (float, np.floating))


class ArrayTable:
    """Rows whose columns are arrays in memory.

    Parameters
    ----------
    source : str
    names : list of str
    columns : list of Cells
    n_rows : int
    first_row : int
        The number of the first row, counted from 0.
    notes : mapping of str to str, optional

    Raises
    ------
    DataError
        Two columns have one name.
    """

    def __init__(
        self,
        source: str,
        names: list[str],
        columns: Sequence[Cells],
        n_rows: int,
        first_row: int = 0,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.source = source
        self.names = names
        self.n_rows = n_rows
        self.notes = notes or {}
        self._columns = columns
        self._first_row = first_row
        if len(self.places) < len(names):
            check_names(source, names)

    @functools.cached_property
    def places(self) -> dict[str, int]:  # noqa: D102
        return {name: place for place, name in enumerate(self.names)}

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":  # noqa: D102
        out = np.empty((self.n_rows, len(columns)), np.float32)
        for i, column in enumerate(columns):
            with np.errstate(over="ignore", invalid="ignore"):
                out[:, i] = self._columns[column].numbers()
        out[~np.isfinite(out)] = np.nan
        return out, int(np.isnan(out).sum())

    def is_list(self, column: int) -> bool:  # noqa: D102
        return self._lists(column) is not None

    def declared(self, column: int) -> str | None:  # noqa: D102
        return self._columns[column].declared

    def _lists(self, column: int) -> "tuple[NDArray[np.int64], NDArray[np.int64], list[str]] | None":
        try:
            return self._columns[column].lists()
        except ValueFault as fault:
            raise self._located(fault, column) from fault

    def codes(  # noqa: D102
        self, column: int, separator: str | None = None
    ) -> "tuple[NDArray[np.int64], list[str]]":
        lists = self._lists(column)
        if lists is None:
            try:
                return self._columns[column].codes(as_they_stand=separator is not None)
            except ValueFault as fault:
                raise self._located(fault, column) from fault
        if separator is None:
            raise DataError(f"{self.source}: column {self.names[column]!r} holds lists, expected one value in a cell")
        counts, items, texts = lists
        ends = np.cumsum(counts)
        for code, text in enumerate(texts):
            if separator in text:
                row = int(np.searchsorted(ends, int(np.argmax(items == code)), side="right"))
                raise DataError(
                    f"{where(self, row, column)}: the id {text[:40]!r} holds {separator!r}, which separates ids: name "
                    f"another separator (--several '{self.names[column]}:SEPARATOR')"
                )
        known: dict[str, int] = {}
        found = [texts[code] for code in items.tolist()]
        joined = (separator.join(found[end - n : end]) for n, end in zip(counts.tolist(), ends.tolist(), strict=True))
        codes = np.array([known.setdefault(text, len(known)) if text else -1 for text in joined], np.int64)
        return codes, list(known)

    def _located(self, fault: ValueFault, column: int) -> DataError:
        return DataError(f"{where(self, fault.row, column)}: {fault}")

    def find(self, column: int, vocabulary: Vocabulary, *, learn: bool = False) -> "NDArray[np.int64]":  # noqa: D102
        codes, texts = self.codes(column)
        ids: NDArray[np.int64] = np.append(vocabulary.find(texts, learn), -1)[codes]
        return ids

    def hashes(self, column: int) -> "NDArray[np.int64]":  # noqa: D102
        codes, texts = self.codes(column)
        return np.array([*(zlib.crc32(text.encode()) for text in texts), -1], np.int64)[codes]

    def cell(self, row: int, column: int) -> Any:
        """Return a cell as an object of Python, NumPy or pandas.

        Parameters
        ----------
        row, column : int
            Positions.

        Returns
        -------
        value : any
        """
        return self._columns[column][row]

    def is_missing(self, row: int, column: int) -> bool:  # noqa: D102
        return is_missing(self.cell(row, column))

    def shown(self, row: int, column: int) -> str:  # noqa: D102
        value = self.cell(row, column)
        if isinstance(value, dict | list | tuple):
            return begun(value)
        try:
            return repr(text_of(value) if isinstance(value, np.generic) else value)[:40]
        except (TypeError, ValueError):  # ValueError: an integer of thousands of digits
            return quoted(value, 40)

    def place(self, row: int) -> str:  # noqa: D102
        return f"row {self._first_row + row}"

    def head(self, n_rows: int) -> "ArrayTable":  # noqa: D102
        return self


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
        super().__init__(source, list(columns), [PythonCells(texts, "texts") for texts in columns.values()], n_rows)
