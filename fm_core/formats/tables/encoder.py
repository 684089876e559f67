"""Tables to rows of features: which column becomes which feature ids, and the encoding by that.

A `TableSchema` is made once, of the data that a model learns from (`make_schema`), saved as
schema.json, and encodes every table after that in the same way (`Encoder`). A numeric
column is one feature; a categorical one has a feature for each text of its cells that was
seen, with value 1; a hashed one a fixed number of features, which CRC-32 of the text
chooses. A cell of several ids, split at a separator, has a feature for each of them.
If every column is numeric, rows are dense; else they are sparse and zeros are left out.
"""

import bisect
import dataclasses
import functools
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from fm_core.atomic_file import replacing
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.canonical import sparse_batch
from fm_core.formats.tables._columns import Vocabulary, put_entries
from fm_core.formats.tables.table import Table, frame_table, where

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Column", "Encoder", "Entries", "Learner", "TablePlan", "TableSchema", "encode_table", "make_schema"]

_VERSION = 1
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


@dataclasses.dataclass(frozen=True)
class Column:
    """How one column becomes features.

    Attributes
    ----------
    name : str
    kind : {"numeric", "categorical", "hashed"}
    categories : tuple of str
        Of a categorical column, in the order of their features.
    buckets : int
        Features of a hashed column.
    separator : str or None
        Between the ids of a cell.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    buckets: int = 0
    separator: str | None = None

    @property
    def n_features(self) -> int:
        """How many features the column has."""
        return {"numeric": 1, "categorical": len(self.categories), "hashed": self.buckets}[self.kind]

    def feature_name(self, number: int) -> str:
        """Give the name of one of the column's features, counted from 0."""
        if self.kind == "numeric":
            return self.name
        return f"{self.name}={self.categories[number]}" if self.kind == "categorical" else f"{self.name}#{number}"


@dataclasses.dataclass(frozen=True)
class TableSchema:
    """Which columns become which features.

    Attributes
    ----------
    columns : tuple of Column
        Their features follow each other in this order.
    label : str or None
    is_dense : bool
    missing : {"error", "zero"}
    """

    columns: tuple[Column, ...]
    label: str | None = None
    is_dense: bool = False
    missing: str = "error"

    @property
    def feature_dim(self) -> int:
        """How many features there are."""
        return sum(column.n_features for column in self.columns)

    @property
    def offsets(self) -> list[int]:
        """The first feature of each column."""
        return list(itertools.accumulate((column.n_features for column in self.columns[:-1]), initial=0))

    @property
    def has_header(self) -> bool:
        """Whether columns have names, not just numbers."""
        return not all(name.isdecimal() for name in [column.name for column in self.columns] + [self.label or "0"])

    def feature_name(self, feature: int) -> str:
        """Name a feature: ``column``, ``column=category`` or ``column#bucket``."""
        offsets = self.offsets
        at = bisect.bisect_right(offsets, feature) - 1
        return self.columns[at].feature_name(feature - offsets[at])

    def feature_names(self) -> list[str]:
        """Name every feature, in order."""
        return [column.feature_name(i) for column in self.columns for i in range(column.n_features)]

    def to_json(self) -> str:
        """Give what schema.json holds."""
        columns = []
        for column, offset in zip(self.columns, self.offsets, strict=True):
            described: dict[str, Any] = {"name": column.name, "kind": column.kind, "first_feature": offset}
            if column.kind == "hashed":
                described["buckets"] = column.buckets
            if column.separator is not None:
                described["separator"] = column.separator
            if column.kind == "categorical":
                described["categories"] = list(column.categories)
            columns.append(described)
        document = {
            "version": _VERSION,
            "feature_dim": self.feature_dim,
            "label": self.label,
            "dense": self.is_dense,
            "missing": self.missing,
            "columns": columns,
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()

    @classmethod
    def from_json(cls, text: str, source: str = "the schema") -> "TableSchema":
        """Read what `to_json` wrote.

        Raises
        ------
        ConfigError
            It is something else.
        """
        try:
            document = json.loads(text)
            if document["version"] != _VERSION:
                raise ConfigError(f"{source}: version is {document['version']!r}, expected {_VERSION}")
            columns = tuple(_read_column(described) for described in document["columns"])
            schema = cls(columns, document["label"], document["dense"], document["missing"])
            if not isinstance(schema.label, str | None) or schema.missing not in ("error", "zero"):
                raise ValueError(f"label is {schema.label!r} and missing {schema.missing!r}")
            if not columns or document["feature_dim"] != schema.feature_dim:
                raise ConfigError(
                    f"{source}: feature_dim is {document['feature_dim']}, expected {schema.feature_dim}, "
                    "as many features as its columns have"
                )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{source} is no schema as `fm convert` writes it: {error!r}") from error
        return schema

    def save(self, path: Path) -> None:
        """Write schema.json, whole or not at all."""
        with replacing(path) as file:
            file.write(self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> "TableSchema":
        """Read schema.json.

        Raises
        ------
        ConfigError
            It is no schema.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is no schema: it is not UTF-8 text") from error
        return cls.from_json(text, str(path))


def _read_column(described: Mapping[str, Any]) -> Column:
    column = Column(
        name=described["name"],
        kind=described["kind"],
        categories=tuple(described.get("categories", ())),
        buckets=described.get("buckets", 0),
        separator=described.get("separator"),
    )
    texts = [column.name, *column.categories, *([] if column.separator is None else [column.separator])]
    if (
        not all(isinstance(text, str) for text in texts)
        or type(column.buckets) is not int
        or column.buckets < int(column.kind == "hashed")
        or column.separator == ""
        or len({"", *column.categories}) <= len(column.categories)
    ):
        raise ValueError(f"column {column.name!r} is not as written")
    return column


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
        raise _no_column(table, name) from None
    return number, table.names[number]


def _no_column(table: Table, name: str) -> DataError:
    shown = ", ".join(table.names[:20]) + (", ..." if len(table.names) > 20 else "")
    found = f"there is no column {name!r}, expected one of: {shown}"
    return DataError(f"{table.source}: {found}" if table.source else found)


def _ids(texts: Iterable[str], separator: str) -> Iterator[str]:
    return (item for text in texts for part in text.split(separator) if (item := part.strip()))


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


class Encoder:
    """Encodes tables by a schema.

    Parameters
    ----------
    schema : TableSchema
    unseen : {"error", "ignore"}
        What to do with a category that the schema does not have; ignored, it is no feature.
    labels : {"real", "optional", "none"}
        Whether the label's column has to be there; "optional": it may be.
    way_out : str
        What lets categories be unseen, for the message.
    """

    #: Whether categories that are not known are learned.
    _learns = False

    def __init__(
        self, schema: TableSchema, *, unseen: str = "error", labels: str = "real", way_out: str = "--unseen ignore"
    ) -> None:
        self.schema = schema
        self._unseen = unseen
        self._way_out = way_out
        self._feature_dim, self._offsets = schema.feature_dim, schema.offsets
        self._labels = labels if schema.label is not None else "none"

    @functools.cached_property
    def _known(self) -> list[Vocabulary]:
        return [Vocabulary(column.categories) for column in self.schema.columns]

    def encode(self, table: Table, *, sparse: bool = False, partial: bool = False) -> Batch:
        """Encode a table.

        Parameters
        ----------
        table : Table
        sparse : bool
            Sparse rows even if every column is numeric.
        partial : bool
            Whether columns may be missing, which are no features then; rows are sparse.

        Raises
        ------
        DataError
            A column is missing, a cell holds no number where one is expected, or a category
            that the schema does not have; the message names file, line and column.
        """
        labels = self._read_labels(table)
        if self.schema.is_dense and not (sparse or partial):
            places = [self._place(table, column.name) for column in self.schema.columns]
            return Batch.trusted(self._feature_dim, self._numbers(table, places), labels=labels)
        return self.join(table.n_rows, self.entries(table, partial=partial), labels)

    def entries(self, table: Table, *, partial: bool = False) -> dict[int, Entries]:
        """Give what each column of the schema gives to the rows, by its number."""
        return {
            i: self._entries(table, self._place(table, column.name), column, self._known[i])
            for i, column in enumerate(self.schema.columns)
            if not partial or column.name in table.names
        }

    def join(self, n_rows: int, entries: Mapping[int, Entries], labels: "NDArray[np.float32] | None") -> Batch:
        """Make sparse rows of what the columns give."""
        indptr = np.zeros(n_rows + 1, np.int64)
        for of_column in entries.values():
            indptr[1:] += of_column.features >= 0 if of_column.count is None else of_column.count
        np.cumsum(indptr, out=indptr)
        indices = np.empty(indptr[-1], np.int32)
        values = np.empty(indptr[-1], np.float32)
        ends = indptr[:-1].copy()
        for i, of_column in entries.items():
            put_entries(of_column.count, of_column.features, of_column.values, self._offsets[i], ends, indices, values)
        ascending = all(of_column.count is None for of_column in entries.values())
        batch = sparse_batch(self._feature_dim, indptr, indices, values, ascending=ascending)
        return Batch.trusted(batch.feature_dim, batch.values, batch.indptr, batch.indices, labels)

    def _place(self, table: Table, name: str) -> int:
        if name not in table.names:
            raise _no_column(table, name)  # unlike a user's, a schema's names stand for no numbers
        return table.names.index(name)

    def _read_labels(self, table: Table) -> "NDArray[np.float32] | None":
        label = self.schema.label
        if self._labels == "none" or label is None or (self._labels == "optional" and label not in table.names):
            return None
        column = self._place(table, label)
        numbers, n_wrong = table.numbers([column])
        if n_wrong:
            row = int(np.argmax(np.isnan(numbers[:, 0])))
            raise DataError(f"{where(table, row, column)}: the label is {table.shown(row, column)}, expected a number")
        return np.ascontiguousarray(numbers[:, 0])

    def _numbers(self, table: Table, columns: list[int]) -> "NDArray[np.float32]":
        numbers, n_wrong = table.numbers(columns)
        if n_wrong:
            for row, i in np.argwhere(np.isnan(numbers)).tolist():
                column = columns[i]
                if table.is_empty(row, column):
                    if self.schema.missing != "zero":
                        raise DataError(
                            f"{where(table, row, column)}: the cell is empty, expected a number "
                            "(a schema made with --missing zero takes it as 0)"
                        )
                    numbers[row, i] = 0
                else:
                    raise DataError(
                        f"{where(table, row, column)}: found {table.shown(row, column)}, expected a number that is "
                        "finite as float32 (texts need --categorical or --hashed)"
                    )
        return numbers

    def _entries(self, table: Table, place: int, column: Column, known: Vocabulary) -> Entries:
        if column.kind == "numeric":
            numbers = np.ascontiguousarray(self._numbers(table, [place])[:, 0])
            return Entries(-(numbers == 0).astype(np.int32), values=numbers)
        if column.separator is not None:
            return self._several(table, place, column, known)
        if column.kind == "hashed":
            hashes = table.hashes(place)
            return Entries(np.where(hashes >= 0, hashes % column.buckets, -1).astype(np.int32))
        ids = table.find(place, known, learn=self._learns)
        if self._unseen == "error" and (ids < -1).any():
            self._refuse(table, place, column, known)
        return Entries(ids.astype(np.int32))

    def _several(self, table: Table, place: int, column: Column, known: Vocabulary) -> Entries:
        assert column.separator is not None
        codes, texts = table.codes(place, column.separator)
        lists = [list(_ids([text], column.separator)) for text in texts]
        ids = itertools.chain.from_iterable(lists)
        if column.kind == "hashed":
            features = np.fromiter(map(zlib.crc32, map(str.encode, ids)), np.int64) % column.buckets
        else:
            features = known.find(ids, self._learns)
        lists_of = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(items) for items in lists], out=lists_of[1:])
        if (features < 0).any():
            if self._unseen == "error":
                self._refuse(table, place, column, known)
            kept = np.zeros(len(features) + 1, np.int64)
            np.cumsum(features >= 0, out=kept[1:])
            lists_of = kept[lists_of]
            features = features[features >= 0]
        # Each cell takes the entries of its text; an empty cell has none.
        lengths = np.append(np.diff(lists_of), 0)
        count = lengths[codes]
        before = np.cumsum(count) - count
        at = np.repeat(lists_of[codes] - before, count) + np.arange(int(count.sum()))
        return Entries(features[at].astype(np.int32), count.astype(np.int32))

    def _refuse(self, table: Table, place: int, column: Column, known: Vocabulary) -> None:
        codes, texts = table.codes(place, column.separator)
        for code, text in enumerate(texts):
            items = [text] if column.separator is None else list(_ids([text], column.separator))
            for item, found in zip(items, known.find(items).tolist(), strict=True):
                if found < 0:
                    row = int(np.argmax(codes == code))
                    raise DataError(
                        f"{where(table, row, place)}: {item[:40]!r} was not seen when the schema was made, expected "
                        f"one of its {len(known)} categories ({self._way_out} leaves such an id out)"
                    )


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


def encode_table(
    frame: Any, schema: TableSchema, *, unseen: str = "error", labels: str = "optional"
) -> "tuple[Any, NDArray[np.float32] | None]":
    """Encode a pandas DataFrame.

    Parameters
    ----------
    frame : pandas.DataFrame
    schema : TableSchema
        Of ``make_schema([frame_table(frame)], TablePlan(...))``, or read from schema.json.
    unseen : {"error", "ignore"}
    labels : {"real", "optional", "none"}

    Returns
    -------
    rows : scipy.sparse.csr_matrix or ndarray of float32, shape (n_rows, feature_dim)
    labels : ndarray of float32, shape (n_rows,), or None
        None if the frame lacks the label's column.
    """
    batch = Encoder(schema, unseen=unseen, labels=labels).encode(frame_table(frame))
    return batch.to_matrix(), batch.labels
