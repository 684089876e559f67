"""Tables as columns of numbers or texts, from any source: delimited text, Arrow, DataFrames, Python.

A table is a part of a file: some rows of all columns. fm_core/formats/tables/encoder.py decides what a column means;
here a column gives its numbers, or the texts of its cells. values.py defines values as numbers and as texts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INDEX", "Table", "check_names", "no_column", "of_same_columns", "where"]


#: A note of a column: it was the index of a DataFrame, and is left out unless somebody names it.
INDEX = "the index of a DataFrame"


class Table(Protocol):
    """Some rows of all columns.

    Attributes
    ----------
    source : str
        For messages: a path, mostly.
    names : list of str
        Of the columns; their numbers, from 0, where there is no header.
    n_rows : int
    notes : mapping of str to str
        What else is known of columns, such as that one is an index.
    """

    source: str
    names: list[str]
    n_rows: int
    notes: Mapping[str, str]

    @property
    def places(self) -> Mapping[str, int]:
        """The number of each column, by its name."""

    def numbers(self, columns: Sequence[int]) -> "tuple[NDArray[np.float32], int]":
        """Return columns as numbers.

        Parameters
        ----------
        columns : sequence of int
            Positions of columns.

        Returns
        -------
        numbers : ndarray of float32, shape (n_rows, len(columns))
            NaN for cells that are missing or not numbers.
        n_wrong : int
            How many are NaN.
        """

    def codes(self, column: int, separator: str | None = None) -> "tuple[NDArray[np.int64], list[str]]":
        """Return a column as distinct texts, in order of appearance, and the number of each cell's text.

        With a separator a cell's text is that of all its ids, or the cell as it stands: they have their one form only
        when they are taken apart.

        Parameters
        ----------
        column : int
            The position of the column.
        separator : str, optional
            Between several ids in a cell.

        Returns
        -------
        codes : ndarray of int64, shape (n_rows,)
            -1 for a missing cell.
        texts : list of str
            In canonical form.
        """

    def is_list(self, column: int) -> bool:
        """Return whether the cells of a column are lists.

        Parameters
        ----------
        column : int
            The position of the column.

        Returns
        -------
        is_list : bool
        """

    def declared(self, column: int) -> str | None:
        """Return what the table's type declares about a column.

        Parameters
        ----------
        column : int
            The position of the column.

        Returns
        -------
        kind : "numbers", "texts" or None
            None: the type does not say, only the cells do.
        """

    def find(self, column: int, vocabulary: Vocabulary, *, learn: bool = False) -> "NDArray[np.int64]":
        """Look up each cell's text in a vocabulary.

        Parameters
        ----------
        column : int
            The position of the column.
        vocabulary : Vocabulary
        learn : bool
            Whether to add unknown texts.

        Returns
        -------
        ids : ndarray of int64, shape (n_rows,)
            -1 for a missing cell, -2 for an unknown text.
        """

    def hashes(self, column: int) -> "NDArray[np.int64]":
        """Return the CRC-32 of each cell's text in UTF-8.

        Parameters
        ----------
        column : int
            The position of the column.

        Returns
        -------
        hashes : ndarray of int64, shape (n_rows,)
            -1 for a missing cell.
        """

    def is_missing(self, row: int, column: int) -> bool:
        """Return whether a cell is empty, or holds a text that means a missing value.

        Parameters
        ----------
        row, column : int
            Positions.

        Returns
        -------
        is_missing : bool
        """

    def shown(self, row: int, column: int) -> str:
        """Return a cell as an error message shows it.

        Parameters
        ----------
        row, column : int
            Positions.

        Returns
        -------
        text : str
        """

    def place(self, row: int) -> str:
        """Describe the position of a row, for error messages.

        Parameters
        ----------
        row : int
            Its position in this table.

        Returns
        -------
        text : str
            Such as ``line 17``.
        """

    def head(self, n_rows: int) -> "Table":
        """Return the first rows.

        Parameters
        ----------
        n_rows : int
            The table may have more.

        Returns
        -------
        table : Table
        """


def where(table: Table, row: int, column: int) -> str:
    """Say where a cell is.

    Parameters
    ----------
    table : Table
    row, column : int
        Counted from 0.

    Returns
    -------
    place : str
        The file, if there is one, the row or line, and the column's name.
    """
    place = f"{table.place(row)}, column {table.names[column]!r}"
    return f"{table.source}: {place}" if table.source else place


def no_column(table: Table, name: str) -> DataError:
    """Create the error for a column that the table does not have.

    Parameters
    ----------
    table : Table
    name : str
        The name of the column.

    Returns
    -------
    error : DataError
    """
    shown = ", ".join(table.names[:20]) + (", ..." if len(table.names) > 20 else "")
    found = f"there is no column {name!r}, expected one of: {shown}"
    held = next((c for c in ",;\t|" if len(table.names) == 1 and c in table.names[0]), None)
    if held is not None:
        found += f"; is {held!r} what separates its cells (--delimiter)?"
    return DataError(f"{table.source}: {found}" if table.source else found)


def check_names(where: str, names: Sequence[str]) -> None:
    """Check that all names are different.

    Parameters
    ----------
    where : str
        The start of the error message.
    names : sequence of str

    Raises
    ------
    DataError
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{where}: two columns are named {name[:40]!r}, expected one")
        seen.add(name)


def of_same_columns(tables: "Iterable[Table]") -> "Iterator[Table]":
    """Pass on the tables of a data set, and check that none has columns that the first one does not have.

    Without a header a column more would make others of all those behind it.

    Parameters
    ----------
    tables : iterable of Table

    Yields
    ------
    table : Table

    Raises
    ------
    DataError
        One has, and nothing says what they are.
    """
    first: Table | None = None
    for table in tables:
        if first is None:
            first = table
        elif table.names != first.names:
            strange = [repr(name[:40]) for name in table.names if name not in first.places]
            lacks = [repr(name[:40]) for name in first.names if name not in table.places]
            if strange:
                more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
                raise DataError(
                    f"{table.source}: its columns are not those of {first.source}: it has {', '.join(strange[:5])}"
                    f"{more}{f', and lacks {lacks[0]}' if lacks else ''}; expected the same columns in every file that "
                    "is learned from"
                )
        yield table
