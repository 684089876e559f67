"""What a table's columns are to be: the user's plan, and what is found out from the rows."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.formats.tables.table import Table, no_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Learner", "TablePlan", "find_column", "make_schema"]

#: Feature ids are int32.
_MOST_FEATURES = 2**31 - 1
#: Between the ids of a cell that is a list where it comes from, when such a cell is a text.
_SEPARATOR = "|"


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What the user says of the columns; a column is called by its name, or by its number from 0.

    Attributes
    ----------
    label : str or None
        None: there is none.
    categorical : sequence of str
    hashed : mapping of str to int
        To the number of features.
    several : mapping of str to str
        Columns with several ids in a cell, to the separator. Categorical, unless hashed. Columns of
        lists (of Parquet, Arrow or pandas) have several without being named, and the separator ``|``.
    numeric : sequence of str
        Columns that must be numbers. What is said of no column is found out: it is numeric
        if all its cells in the first part of the data are numbers or empty, else categorical.
    ignored : sequence of str
    sparse : bool
        Sparse rows even if every column is numeric.
    missing : {"error", "zero"}
        What an empty cell of a numeric column is. Of another column, it is no feature.
    """

    label: str | None = None
    categorical: Sequence[str] = ()
    hashed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    several: Mapping[str, str] = dataclasses.field(default_factory=dict)
    numeric: Sequence[str] = ()
    ignored: Sequence[str] = ()
    sparse: bool = False
    missing: str = "error"


def make_schema(tables: Iterable[Table], plan: TablePlan) -> TableSchema:
    """Find out which features a data set has.

    Parameters
    ----------
    tables : iterable of Table
        All of the data; only the first part is looked at if no column is categorical.
    plan : TablePlan

    Raises
    ------
    ConfigError
        The plan says two things of one column.
    DataError
        A column of the plan is not there, or there are no rows.
    """
    tables = iter(tables)
    first = next(tables, None)
    if first is None:
        raise DataError("the input holds no rows, expected at least one")
    learner = Learner(first, plan)
    if learner.has_categories:
        for table in itertools.chain([first], tables):
            learner.learn(table)
    return learner.learned()


def _kinds(table: Table, plan: TablePlan) -> dict[str, str]:
    """Give the kind of each column that becomes features, in their order."""
    said: dict[int, str] = {}
    for kind, names in {
        "label": [] if plan.label is None else [plan.label],
        "numeric": plan.numeric,
        "hashed": plan.hashed,
        "categorical": [*plan.categorical, *(name for name in plan.several if name not in plan.hashed)],
        "ignored": plan.ignored,
    }.items():
        for name in names:
            column = find_column(table, name)[0]
            if said.setdefault(column, kind) != kind:
                raise ConfigError(f"column {name!r} is said to be {said[column]} and {kind}, expected one of them")
    for name in plan.several:
        find_column(table, name)
    for column in range(len(table.names)):
        if column not in said and table.is_list(column):
            said[column] = "categorical"
        elif column not in said:
            wrong = np.flatnonzero(np.isnan(table.numbers([column])[0])).tolist()
            # A column of empty cells alone has categories, none so far.
            numeric = len(wrong) < table.n_rows and all(table.is_empty(row, column) for row in wrong)
            said[column] = "numeric" if numeric else "categorical"
    return {table.names[i]: said[i] for i in sorted(said) if said[i] not in ("label", "ignored")}


def find_column(table: Table, name: str) -> tuple[int, str]:
    """Find a column by its name, or else by its number, and give both.

    Raises
    ------
    DataError
        There is none.
    """
    if name in table.names:
        return table.names.index(name), name
    try:
        number = range(len(table.names))[int(name)]
    except (ValueError, IndexError):
        raise no_column(table, name) from None
    return number, table.names[number]


class Learner(Encoder):
    """Encodes tables while it finds out which features there are.

    Categories get their numbers within a column as they appear, but only at the end is known how
    many each column has, and with that where the next one's features begin. So `entries` can be
    had table by table, and `Encoder(learned()).join` makes rows of them afterwards.

    Parameters
    ----------
    first : Table
        The first part of the data, which decides the columns' kinds.
    plan : TablePlan
    labels : {"real", "optional", "none"}

    Raises
    ------
    ConfigError
        The plan says two things of one column.
    DataError
        A column of the plan is not there.
    """

    _learns = True

    def __init__(self, first: Table, plan: TablePlan, *, labels: str = "real") -> None:
        kinds = _kinds(first, plan)
        separators = {find_column(first, name)[1]: separator for name, separator in plan.several.items()}
        for place, name in enumerate(first.names):
            if name in kinds and first.is_list(place):
                separators.setdefault(name, _SEPARATOR)
        buckets = {find_column(first, name)[1]: n for name, n in plan.hashed.items()}
        columns = tuple(
            Column(name, kind, (), buckets.get(name, 0), separators.get(name)) for name, kind in kinds.items()
        )
        label = None if plan.label is None else find_column(first, plan.label)[1]
        is_dense = not plan.sparse and all(kind == "numeric" for kind in kinds.values())
        super().__init__(TableSchema(columns, label, is_dense, plan.missing), labels=labels)
        self._source = first.source

    @property
    def has_categories(self) -> bool:
        """Whether all of the data has to be looked at."""
        return any(column.kind == "categorical" for column in self.schema.columns)

    def learn(self, table: Table) -> None:
        """Look at the categories of a table."""
        for column, known in zip(self.schema.columns, self._known, strict=True):
            if column.kind == "categorical":
                self._entries(table, self._place(table, column.name), column, known)

    def labels(self, table: Table) -> "NDArray[np.float32] | None":
        """Give the labels of a table."""
        return self._read_labels(table)

    def learned(self) -> TableSchema:
        """Give the schema of all that was looked at.

        Raises
        ------
        DataError
            There is no feature, or there are too many.
        """
        columns = tuple(
            dataclasses.replace(column, categories=tuple(known.texts()))
            for column, known in zip(self.schema.columns, self._known, strict=True)
        )
        schema = dataclasses.replace(self.schema, columns=columns)
        if not 0 < schema.feature_dim <= _MOST_FEATURES:
            raise DataError(
                f"{self._source}: the columns make {schema.feature_dim} features, expected 1 to {_MOST_FEATURES}"
            )
        return schema
