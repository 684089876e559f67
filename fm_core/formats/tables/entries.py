"""The features and values that a column's cells give to rows, and the handling of cells that do not fit."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables.table import Table, where

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Entries", "Rules", "Watch", "numbers_and_gaps", "numbers_of_columns"]


class Watch(Protocol):
    """Receives counts of cells that the training data did not have."""

    def count(self, name: str, *, values: int, missing: int = 0, unseen: int = 0, outside: int = 0) -> None:
        """Count values of a column.

        Parameters
        ----------
        name : str
            The name of the column.
        values : int
            Number of cells.
        missing, unseen, outside : int
            How many of these are missing, are categories that the schema does not have, or are outside the range of
            training.
        """

    def numbers(self, names: Sequence[str], numbers: "NDArray[Any]") -> None:
        """Count numbers of columns whose range the schema does not contain.

        Parameters
        ----------
        names : sequence of str
            The names of the columns.
        numbers : ndarray, shape (n_rows, len(names))
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Entries:
    """What one column gives to the rows of a table.

    Attributes
    ----------
    features : ndarray of int32
        Of the entries, counted within the column.
    count : ndarray of int32, shape (n_rows,), or None
        How many entries each row has. None: there is one feature for each row, -1 for no entry.
    values : ndarray of float32, or None
        As many as features; None: 1 each.
    """

    features: "NDArray[np.int32]"
    count: "NDArray[np.int32] | None" = None
    values: "NDArray[np.float32] | None" = None

    def without(self, rows: "NDArray[np.bool_]") -> "Entries":
        """Remove the entries of some rows.

        Parameters
        ----------
        rows : ndarray of bool, shape (n_rows,)
            True for the rows whose entries are removed.

        Returns
        -------
        entries : Entries
        """
        if self.count is None:
            return Entries(np.where(rows, -1, self.features).astype(np.int32), None, self.values)
        kept = ~np.repeat(rows, self.count)
        values = None if self.values is None else self.values[kept]
        return Entries(self.features[kept], np.where(rows, 0, self.count).astype(np.int32), values)


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of cells that do not fit, where the column itself does not say it.

    Attributes
    ----------
    missing : {"error", "zero"}
        What a missing cell of a column of numbers is.
    unseen : {"error", "ignore"}
        What a category that the schema does not have is.
    way_out : str
        What lets categories be unseen, for the message.
    learns : bool
        Whether categories that are not known are learned.
    watch : Watch or None
    """

    missing: str = "error"
    unseen: str = "error"
    way_out: str = "--unseen ignore"
    learns: bool = False
    watch: Watch | None = None


def numbers_of_columns(table: Table, columns: list[int], rules: Rules) -> "NDArray[np.float32]":
    """Give columns as numbers, all of them finite.

    Parameters
    ----------
    table : Table
    columns : list of int
        Their places in the table.
    rules : Rules
        ``rules.missing`` says whether a missing cell is 0 or an error.

    Returns
    -------
    numbers : ndarray of float32, shape (n_rows, len(columns))

    Raises
    ------
    DataError
        A cell is not a number, or is missing; the message names it.
    """
    numbers, n_wrong = table.numbers(columns)
    if n_wrong:
        for row, i in np.argwhere(np.isnan(numbers)).tolist():
            column = columns[i]
            if not table.is_missing(row, column):
                raise _no_number(table, row, column)
            if rules.missing != "zero":
                raise DataError(
                    f"{where(table, row, column)}: {_nothing(table, row, column)}, expected a number "
                    "(a schema made with --missing zero takes it as 0)"
                )
            numbers[row, i] = 0
    return numbers


def numbers_and_gaps(table: Table, column: int) -> "tuple[NDArray[np.float64], NDArray[np.bool_]]":
    """Read a column as numbers.

    Parameters
    ----------
    table : Table
    column : int
        The position of the column.

    Returns
    -------
    numbers : ndarray of float64, shape (n_rows,)
        0 for missing cells.
    gaps : ndarray of bool, shape (n_rows,)
        True for missing cells.

    Raises
    ------
    DataError
        A cell is there and is no finite number; the message names it.
    """
    found, n_wrong = table.numbers([column])
    numbers = found[:, 0].astype(np.float64)
    gaps = np.zeros(len(numbers), bool)
    if n_wrong:
        gaps = np.isnan(numbers)
        for row in np.flatnonzero(gaps).tolist():
            if not table.is_missing(row, column):
                raise _no_number(table, row, column)
        numbers[gaps] = 0
    return numbers, gaps


def _no_number(table: Table, row: int, column: int) -> DataError:
    return DataError(
        f"{where(table, row, column)}: found {table.shown(row, column)}, expected a number that is "
        "finite as float32 (texts need --categorical or --hashed)"
    )


def _nothing(table: Table, row: int, column: int) -> str:
    shown = table.shown(row, column)
    is_empty = shown in ("None", "nan", "''", "b''", "<NA>", "NaT") or not shown.strip("' ")
    return "the cell is empty" if is_empty else f"the cell is {shown}, which stands for a missing value"
