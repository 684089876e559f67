"""Decide what each column of a table becomes: the user's plan, and what is detected in the rows."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.remarks import MOST_ROWS, example_of, label_remarks, remarks_of
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.formats.tables.table import Table, no_column
from fm_core.formats.tables.values import number_of
from fm_core.given import MOST_FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SEPARATOR", "Learner", "TablePlan", "find_column", "make_schema", "said_of_columns"]

#: Feature ids are int32.
#: Between the ids of a cell that is a list where it comes from, when such a cell is a text.
SEPARATOR = "|"


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """The user's settings for columns. A column is given by its name, or by its number from 0.

    Attributes
    ----------
    label : str or None
        None: there is none.
    weight : str or None
        The column that says how often each row counts; None: each counts once.
    categorical : sequence of str
    hashed : mapping of str to int
        To the number of features.
    several : mapping of str to str
        Columns with several ids in a cell, to the separator. Categorical, unless hashed. Columns of
        lists (of Parquet, Arrow or pandas) have several without being named, and the separator ``|``.
    numeric : sequence of str
        Columns that must be numbers. The kind of a column that is not named is detected: it is numeric
        if all its cells in the first part of the data are numbers or empty, else categorical.
    ignored : sequence of str
    sparse : bool
        Sparse rows even if every column is numeric.
    missing : {"error", "zero"}
        What an empty cell of a numeric column is. Of another column, it is no feature.
    fit : bool
        Whether columns are made fit to learn from: what is said of none is chosen from all of the data (fitting.py).
        What follows is of that alone, where it is said of some columns.
    bins : mapping of str to int
        Columns of numbers that are cut into so many bins.
    scaled, log, dates : sequence of str
        Columns of numbers that are scaled, or whose logarithm is, and columns of moments.
    weights : mapping of str to str
        Columns with several ids in a cell, to what stands between an id and its value.
    moments : bool
        Whether moments and half hours that several rows share are features.
    min_count : int
        Texts that are there less often share one feature.
    most_categories : int or None
        A column of more different texts is hashed; None: of half a million.
    positive : str or None
        Of two classes of the label, the one that is 1; None: the greater one.
    predictor_type : {"binary_classifier", "regressor"} or None
        None: a label of two different values has classes.
    """

    label: str | None = None
    weight: str | None = None
    categorical: Sequence[str] = ()
    hashed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    several: Mapping[str, str] = dataclasses.field(default_factory=dict)
    numeric: Sequence[str] = ()
    ignored: Sequence[str] = ()
    sparse: bool = False
    missing: str = "error"
    fit: bool = False
    bins: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scaled: Sequence[str] = ()
    log: Sequence[str] = ()
    dates: Sequence[str] = ()
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    moments: bool = True
    min_count: int = 2
    most_categories: int | None = None
    positive: str | None = None
    predictor_type: str | None = None


def make_schema(tables: Iterable[Table], plan: TablePlan) -> TableSchema:
    """Find out which features a data set has.

    Parameters
    ----------
    tables : iterable of Table
        All of the data; only the first part is looked at if no column is categorical.
    plan : TablePlan

    Returns
    -------
    schema : TableSchema

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


def said_of_columns(table: Table, plan: TablePlan) -> dict[int, str]:
    """Return the kinds of columns that the plan sets.

    Parameters
    ----------
    table : Table
        Its names resolve those of the plan.
    plan : TablePlan

    Returns
    -------
    kinds : dict of int to str
        By the position of the column.

    Raises
    ------
    ConfigError
        The plan sets a column twice.
    """
    said: dict[int, str] = {}
    for kind, names in {
        "label": [] if plan.label is None else [plan.label],
        "weight": [] if plan.weight is None else [plan.weight],
        "numeric": plan.numeric,
        "hashed": plan.hashed,
        "categorical": [
            *plan.categorical,
            *(name for name in (*plan.several, *plan.weights) if name not in plan.hashed),
        ],
        "ignored": plan.ignored,
        "binned": plan.bins,
        "scaled": plan.scaled,
        "log": plan.log,
        "date": plan.dates,
    }.items():
        for name in names:
            column = find_column(table, name)[0]
            if said.setdefault(column, kind) != kind:
                raise ConfigError(f"column {name!r} is declared {said[column]} and {kind}, expected one of them")
    for name in plan.several:
        find_column(table, name)
    return said


def _guessed(table: Table, column: int) -> str:
    """Detect the kind of a column that the plan does not set."""
    declared = table.declared(column)
    if table.is_list(column):
        _refuse_fractions(table, column)
        return "categorical"
    if declared is not None:
        return "numeric" if declared == "numbers" else "categorical"
    wrong = np.flatnonzero(np.isnan(table.numbers([column])[0])).tolist()
    # A column of empty cells alone has categories, none so far.
    numeric = len(wrong) < table.n_rows and all(table.is_missing(row, column) for row in wrong)
    return "numeric" if numeric else "categorical"


def _refuse_fractions(table: Table, column: int) -> None:
    items = {item for text in table.codes(column, SEPARATOR)[1][:1000] for item in text.split(SEPARATOR)}
    fractions = sorted(item for item in items if "." in item and number_of(item) == number_of(item))
    if len(fractions) > 0.5 * len(items):
        raise DataError(
            f"{table.source}: column {table.names[column]!r} holds lists of numbers such as {fractions[0]}, which are "
            f"not ids: leave it out (--ignore), or declare them ids (--several '{table.names[column]}:|')"
        )


def find_column(table: Table, name: str) -> tuple[int, str]:
    """Find a column by its name, or else by its number.

    Parameters
    ----------
    table : Table
    name : str
        A name, or a number from 0; negative numbers count from the end.

    Returns
    -------
    place, name : tuple of int and str

    Raises
    ------
    DataError
        There is none.
    """
    if name in table.places:
        return table.places[name], name
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

    learns = True

    def __init__(self, first: Table, plan: TablePlan, *, labels: str = "real") -> None:
        said = said_of_columns(first, plan)
        self._is_said = {first.names[place] for place in said}
        self._left_out = {first.names[place]: "as declared" for place, kind in said.items() if kind == "ignored"}
        for name, note in first.notes.items():
            if name in first.places and first.places[name] not in said:
                self._left_out[name] = note
        kinds = {
            name: said.get(place) or _guessed(first, place)
            for place, name in enumerate(first.names)
            if name not in self._left_out and said.get(place) not in ("label", "weight")
        }
        separators = {find_column(first, name)[1]: separator for name, separator in plan.several.items()}
        for name in kinds:
            if first.is_list(first.places[name]):
                separators.setdefault(name, SEPARATOR)
        buckets = {find_column(first, name)[1]: n for name, n in plan.hashed.items()}
        columns = tuple(
            Column(name, kind, (), buckets.get(name, 0), separators.get(name)) for name, kind in kinds.items()
        )
        label = None if plan.label is None else find_column(first, plan.label)[1]
        is_dense = not plan.sparse and all(column.of_kind.may_be_dense for column in columns)
        weight = None if plan.weight is None else find_column(first, plan.weight)[1]
        super().__init__(TableSchema(columns, label, is_dense, plan.missing, weight=weight), labels=labels)
        self._first = first.head(MOST_ROWS)

    @property
    def has_categories(self) -> bool:
        """Whether all of the data has to be looked at."""
        return any("categories" in column.of_kind.needs for column in self.schema.columns)

    def learn(self, table: Table) -> None:
        """Collect the categories of a table.

        Parameters
        ----------
        table : Table
        """
        for column, known in zip(self.schema.columns, self.vocabularies, strict=True):
            if "categories" in column.of_kind.needs:
                column.of_kind.entries(table, self.place_of(table, column.name), column, known, self.rules)

    def labels(self, table: Table) -> "NDArray[np.float32] | None":
        """Return the labels of a table.

        Parameters
        ----------
        table : Table

        Returns
        -------
        labels : ndarray of float32, shape (n_rows,), or None
            None if the schema has no label.
        """
        return self.read_labels(table)

    def learned(self) -> TableSchema:
        """Return the schema of all that was looked at.

        Raises
        ------
        DataError
            There is no feature, or there are too many.
        """
        first, label = self._first, self.schema.label
        label_place = None if label is None else first.places.get(label)
        labels = None if label_place is None else first.numbers([label_place])[0][:, 0]
        columns = tuple(
            dataclasses.replace(
                column,
                categories=tuple(known.texts()),
                example=example_of(first, first.places[column.name]),
                remarks=remarks_of(
                    first, first.places[column.name], column, labels, was_guessed=column.name not in self._is_said
                ),
            )
            for column, known in zip(self.schema.columns, self.vocabularies, strict=True)
        )
        schema = dataclasses.replace(
            self.schema,
            columns=columns,
            label_remarks=() if label_place is None else label_remarks(first, label_place),
            left_out=tuple(f"{name}: {why}" for name, why in self._left_out.items()),
        )
        if not 0 < schema.feature_dim <= MOST_FEATURES:
            raise DataError(
                f"{first.source}: the columns make {schema.feature_dim} features, expected 1 to {MOST_FEATURES}"
            )
        return schema
