"""A column of a catalogue: its cells as texts, and the items that match a condition."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.analysis.listed_features import number_in
from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables.table import Table
from fm_core.formats.tables.values import texts_of
from fm_core.printable import begun

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ItemColumn"]


class ItemColumn:
    """A column of a catalogue.

    Parameters
    ----------
    name : str
    separator : str or None
        Between the ids of a cell.
    is_text : bool
        Whether its cells are texts even if all of them are numbers.
    """

    def __init__(self, name: str, separator: str | None, *, is_text: bool) -> None:
        self.name = name
        self.separator = separator
        self._is_text = is_text
        self._known = Vocabulary()
        self._parts: list[NDArray[np.int64]] = []

    @property
    def n_texts(self) -> int:
        """The number of different texts that were read so far."""
        return len(self._known)

    def read(self, table: Table, place: int) -> "NDArray[np.int64]":
        """Read the cells of a table, and number their texts.

        Parameters
        ----------
        table : Table
            The next rows.
        place : int
            Position of the column in the table, from 0.

        Returns
        -------
        codes : ndarray of int64
            The number of each cell's text, or -1 for an empty cell. A column of lists has a number for each id.
        """
        if table.is_list(place):
            codes, texts = table.codes(place, self.separator)
            codes = np.append(self._known.find(texts, learn=True), -1)[codes]
        else:
            codes = table.find(place, self._known, learn=True)
        self._parts.append(codes)
        return codes

    def keep(self, rows: "NDArray[np.int64]") -> None:
        """Keep only some of the rows that were read last.

        Parameters
        ----------
        rows : ndarray of int64
            Their positions among these rows.
        """
        self._parts[-1] = self._parts[-1][rows]

    def finish(self) -> None:
        """Prepare for lookups; nothing is read after that."""
        self.codes = np.concatenate(self._parts).astype(np.int32) if self._parts else np.empty(0, np.int32)
        self.texts: list[str] = self._known.texts()
        self._parts = []
        numbers = None if self._is_text or self.separator is not None else _numbers(self.texts)
        self.numbers = None if numbers is None else np.append(numbers, np.nan)

    def text(self, item: int) -> str:
        """Return the cell of an item as it was read.

        Parameters
        ----------
        item : int
            The number of the item, from 0.

        Returns
        -------
        text : str
            Empty if the cell is.
        """
        code = int(self.codes[item])
        return self.texts[code] if code >= 0 else ""

    def value(self, item: int) -> Any:
        """Return the cell of an item as a JSON value.

        Parameters
        ----------
        item : int
            The number of the item, from 0.

        Returns
        -------
        value : str, int, float, list of str or None
            None if the cell is empty.
        """
        code = int(self.codes[item])
        if code < 0:
            return [] if self.separator is not None else None
        if self.numbers is not None:
            number = float(self.numbers[code])
            return int(number) if number.is_integer() else number
        return self.texts[code] if self.separator is None else _ids(self.texts[code], self.separator)

    def find(self, texts: Iterable[str]) -> "NDArray[np.int64]":
        """Return the numbers of texts.

        Parameters
        ----------
        texts : iterable of str
            Cells to look for.

        Returns
        -------
        codes : ndarray of int64
            One number per text; -2 if no cell has this text.
        """
        found: NDArray[np.int64] = self._known.find(texts)
        return found

    def allowed(self, wanted: Any) -> "NDArray[np.bool_]":
        """Return which items have the wanted cell, or one of the wanted cells.

        Parameters
        ----------
        wanted : str, number, bool, None, list of these, or {"min": number, "max": number}
            None: an empty cell.

        Returns
        -------
        is_allowed : ndarray of bool, shape (n_items,)
            Whether each item matches.

        Raises
        ------
        DataError
            The value has another form.
        """
        of_text = np.zeros(len(self.texts) + 1, np.bool_)  # the last one: empty
        if isinstance(wanted, dict):
            low, high = self._bounds(wanted)
            assert self.numbers is not None
            of_text[:-1] = (self.numbers[:-1] >= low) & (self.numbers[:-1] <= high)
            return of_text[self.codes]
        choices = wanted if isinstance(wanted, list) else [wanted]
        for choice in choices:
            if choice is not None and not isinstance(choice, str | int | float | bool):
                raise DataError(
                    f"filter {self.name!r} is {begun(wanted)}, expected a text, a number, true, false, null, "
                    'a list of these, or {"min": number, "max": number}'
                )
        of_text[-1] = None in choices
        texts = set(texts_of(choice for choice in choices if choice is not None))
        if self.separator is not None:
            of_text[:-1] = [not texts.isdisjoint(_ids(text, self.separator)) for text in self.texts]
            return of_text[self.codes]
        found = self.find(texts)
        of_text[found[found >= 0]] = True
        if self.numbers is not None:  # 7 is 7.0
            same = np.array([number_in(text) for text in texts], np.float64)
            of_text[:-1] |= np.isin(self.numbers[:-1], same[~np.isnan(same)])
        return of_text[self.codes]

    def _bounds(self, wanted: Mapping[str, Any]) -> tuple[float, float]:
        if self.numbers is None:
            raise DataError(f"filter {self.name!r} has bounds, but not all of the column's cells are numbers")
        if not wanted or not wanted.keys() <= {"min", "max"} or not all(map(_is_number, wanted.values())):
            raise DataError(f'filter {self.name!r} is {begun(wanted)}, expected {{"min": number, "max": number}}')
        return wanted.get("min", -math.inf), wanted.get("max", math.inf)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ids(text: str, separator: str) -> list[str]:
    return [item for part in text.split(separator) if (item := part.strip())]


def _numbers(texts: list[str]) -> "NDArray[np.float64] | None":
    numbers = np.fromiter(map(number_in, texts), np.float64, len(texts))
    return numbers if np.isfinite(numbers).all() and len(texts) else None
