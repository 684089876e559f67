"""Which rows are held out, to measure a model on rows that it was not trained on."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from fm_core.errors import ConfigError, DataError
from fm_core.formats.draws import draws
from fm_core.formats.tables.dates import form_of, mixes_zones, seconds_of
from fm_core.formats.tables.learner import find_column
from fm_core.formats.tables.sample import Sample
from fm_core.formats.tables.table import Table, where

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Chooser", "HoldOut", "chooser"]

#: Marks the rows of a table that are learned from, given the number of its first row.
Chooser = Callable[[Table, int], "NDArray[np.bool_]"]


@dataclasses.dataclass(frozen=True)
class HoldOut:
    """What is held out.

    Attributes
    ----------
    share : float
        Of the rows, in [0, 1).
    seed : int
        Decides with a row's number, or its group's text, whether it is held out.
    time_column : str or None
        The latest rows are held out, by this column.
    group : str or None
        Whole groups are held out: rows with the same text in this column.

    Raises
    ------
    ConfigError
        The share is none, or rows are to be held out in two ways.
    """

    share: float = 0.1
    seed: int = 0
    time_column: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"--holdout is {self.share:g}, expected a share from 0 to below 1")
        if self.time_column is not None and self.group is not None:
            raise ConfigError("--time-column and --group exclude each other: give one")

    @property
    def words(self) -> str:
        """How rows are chosen, for people."""
        if self.time_column is not None:
            return f"the latest by {self.time_column}"
        return f"by {self.group}" if self.group is not None else "at random"


def chooser(tables: Callable[[], Iterable[Table]], holdout: HoldOut) -> Chooser | None:
    """Give what marks the rows that are learned from; None: all are.

    Parameters
    ----------
    tables : callable
        Gives the data from its start: walked once more where a time decides.
    holdout : HoldOut

    Returns
    -------
    chooser : callable or None
        Takes a table, and returns an array of bool: which rows to train on.

    Raises
    ------
    DataError
        A column is not there, or its cells are no times.
    """
    if holdout.share == 0:
        return None
    if holdout.time_column is not None:
        return _by_time(tables, holdout.time_column, holdout.share)
    if holdout.group is not None:
        name = holdout.group
        return lambda table, first: draws(holdout.seed, table.hashes(find_column(table, name)[0])) >= holdout.share
    return lambda table, first: draws(holdout.seed, np.arange(first, first + table.n_rows)) >= holdout.share


def _by_time(tables: Callable[[], Iterable[Table]], name: str, share: float) -> Chooser:
    sample, form = Sample(), ""
    for table in tables():
        form = form or _form(table, find_column(table, name)[0])
        sample.add(_times(table, find_column(table, name)[0], form))
    if not sample.low < sample.high:
        raise DataError(f"--time-column {name} has the same time in every row, expected later and earlier ones")
    times = sample.numbers()
    edge = float(np.quantile(times, 1 - share, method="lower"))
    if edge == sample.low:  # many rows have the first time: these are learned from
        edge = float(times[times > edge].min())
    return lambda table, first: _times(table, find_column(table, name)[0], form) < edge


def _form(table: Table, place: int) -> str:
    """How times are written; "number": they are counted in some unit."""
    if table.declared(place) != "texts":
        numbers, n_wrong = table.numbers([place])
        if not n_wrong and numbers.shape[0]:
            return "number"
    form = form_of(table.codes(place)[1])
    if form is None:
        is_mixed = mixes_zones(table.codes(place)[1])
        said = "times with a zone and others without" if is_mixed else "neither numbers nor dates in one format"
        raise DataError(
            f"{table.source}: column {table.names[place]!r} holds {said}, expected times in one format (--time-column)"
        )
    return form


def _times(table: Table, place: int, form: str) -> "NDArray[np.float64]":
    if form == "number":
        codes, texts = table.codes(place)  # float32 would take neighbouring seconds for one
        try:
            of_text = np.array([*texts, "nan"], np.str_).astype(np.float64)
        except ValueError:
            of_text = np.full(len(texts) + 1, np.nan)
    else:
        codes, texts = table.codes(place)
        of_text = np.append(seconds_of(texts, form), np.nan)
    times: NDArray[np.float64] = of_text[codes]
    if np.isnan(times).any():
        row = int(np.argmax(np.isnan(times)))
        raise DataError(
            f"{where(table, row, place)}: found {table.shown(row, place)}, expected a time as in other rows"
        )
    return times
