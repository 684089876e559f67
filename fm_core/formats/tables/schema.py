"""schema.json: which columns of a table become which features, and how each was interpreted."""

import bisect
import dataclasses
import functools
import itertools
import numbers
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from fm_core.atomic_file import atomic_write
from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables.kinds import KINDS, Kind
from fm_core.formats.tables.schema_check import VERSION, check_readable, checked_document, unwatched
from fm_core.given import check_kind
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Column", "TableSchema"]


@dataclasses.dataclass(frozen=True)
class Column:
    """How one column becomes features.

    Attributes
    ----------
    name : str
    kind : str
        One of `KINDS`.
    categories : tuple of str
        Of a categorical column, in the order of their features.
    buckets : int
        Features of a hashed column.
    separator : str or None
        Between the ids of a cell.
    weights : str or None
        Between an id of several and the number that is its value.
    unseen : {"feature", "ignore"} or None
        What a category is that is not among `categories`: the feature of rare ones, or none; None: whoever encodes
        says it.
    gaps : bool
        Whether a missing cell is a feature, the last one of the column.
    edges : tuple of float
        Of the bins of a binned column, or of the ages of a date, in days since 1970.
    center, scale : float
        Of a scaled column: what is taken away, and what is divided by.
    low, high : float
        Of a scaled or binned column or a date (in days since 1970): the least and greatest that there was; equal:
        not known.
    log : bool
        Whether a scaled column's number is log(1 + x) first.
    form : str
        How dates are written: a name of `dates.FORMS`.
    parts : tuple of str
        What of the calendar becomes features: names of `dates.PARTS`.
    moments : tuple of float
        Of a date, in seconds since 1970, rising: each is a feature.
    sessions : tuple of int
        Of a date, in half hours since 1970, rising: each is a feature.
    example : str or None
        A cell of the data that the schema was made of.
    remarks : tuple of str
        What was odd about the column there.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    buckets: int = 0
    separator: str | None = None
    weights: str | None = None
    unseen: str | None = None
    gaps: bool = False
    edges: tuple[float, ...] = ()
    center: float = 0.0
    scale: float = 1.0
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    form: str = ""
    parts: tuple[str, ...] = ()
    moments: tuple[float, ...] = ()
    sessions: tuple[int, ...] = ()
    example: str | None = dataclasses.field(default=None, compare=False)
    remarks: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def of_kind(self) -> Kind:
        """The kind of the column."""
        return KINDS[self.kind]

    @property
    def n_features(self) -> int:
        """How many features the column has."""
        return self.of_kind.n_features(self)

    @functools.cached_property
    def shared(self) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
        """The moments and the half hours, as arrays: every row that is encoded is looked up in them."""
        return np.array(self.moments, np.float64), np.array(self.sessions, np.float64)

    @property
    def groups(self) -> tuple[int, ...]:
        """How many features each group of them has that is alike, in their order; see `Kind.groups`."""
        return self.of_kind.groups(self)

    def feature_name(self, number: int) -> str:
        """Return the name of one of the column's features.

        Parameters
        ----------
        number : int
            The feature, counted from 0 within the column.

        Returns
        -------
        name : str
        """
        return self.of_kind.feature_name(self, number)


@dataclasses.dataclass(frozen=True)
class TableSchema:
    """The schema of a table: which columns become which features.

    Attributes
    ----------
    columns : tuple of Column
        Their features are numbered in this order.
    label : str or None
        The column of labels.
    is_dense : bool
        Whether rows are dense: then every column has one feature.
    missing : {"error", "zero"}
        How to treat an empty cell of a numeric column.
    label_classes : tuple of str
        The two texts, or other values, that the labels 0 and 1 stand for; empty if labels are numbers.
    label_remarks : tuple of str
        Warnings about the label in the data that the schema was made from.
    left_out : tuple of str
        Columns of that data without features, and why.
    weight : str or None
        The column of row weights, if there is one; it has no feature.

    Raises
    ------
    ConfigError
        Two columns have the same name, or a dense schema has columns that are not numeric.

    Examples
    --------
    >>> from fm_core.formats.tables.schema import Column, TableSchema
    >>> film = Column("film", "categorical", categories=("Alien", "Brazil"))
    >>> schema = TableSchema((film, Column("year", "numeric")), label="rating")
    >>> schema.feature_dim, schema.feature_names()
    (3, ['film=Alien', 'film=Brazil', 'year'])
    >>> TableSchema.from_json(schema.to_json()) == schema
    True
    """

    columns: tuple[Column, ...]
    label: str | None = None
    is_dense: bool = False
    missing: str = "error"
    label_classes: tuple[str, ...] = ()
    label_remarks: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    left_out: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    weight: str | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and self.weight == self.label:
            raise ConfigError(f"the schema's label and its weight are both {self.weight[:40]!r}, expected two columns")
        seen = {name for name in (self.label, self.weight) if name is not None}
        for column in self.columns:
            if column.name in seen:
                raise ConfigError(f"the schema has two columns named {column.name[:40]!r}, expected one")
            seen.add(column.name)
            if self.is_dense and not column.of_kind.may_be_dense:
                raise ConfigError(
                    f"the schema has dense rows and the {column.kind} column {column.name[:40]!r}, expected sparse rows"
                )

    @functools.cached_property
    def feature_dim(self) -> int:
        """How many features there are."""
        return sum(column.n_features for column in self.columns)

    @functools.cached_property
    def offsets(self) -> list[int]:
        """The first feature of each column."""
        return list(itertools.accumulate((column.n_features for column in self.columns[:-1]), initial=0))

    @property
    def groups(self) -> str:
        """The numbers of features of groups of columns, as hyperparameter `feature_groups` has them.

        Columns of one feature, and of scaled numbers, that follow each other are one group: one feature is too little
        to learn a prior from. With a group for each, five of six generated tables of 150 to 380 rows with 8 to 12
        columns of numbers were scored worse by 4 to 18 % on held-out rows, and worse than by a linear model.
        """
        sizes: list[int] = []
        was_small = False
        for column in self.columns:
            if not column.n_features:
                continue
            is_small = column.n_features == 1 or column.kind == "scaled"
            if is_small and was_small:
                sizes[-1] += column.n_features
            else:
                sizes += column.groups
            was_small = is_small
        return ",".join(map(str, sizes))

    def features_of(self, names: Sequence[str], what: str) -> str:
        """Say which features columns have, as hyperparameters do: ``943:2625,2625:2644``.

        Parameters
        ----------
        names : sequence of str
            Columns.
        what : str
            What named them, for messages.

        Returns
        -------
        ranges : str

        Raises
        ------
        ConfigError
            There is no such column; the message begins with `what`.
        """
        parts = {
            column.name: f"{first}:{first + column.n_features}"
            for column, first in zip(self.columns, self.offsets, strict=True)
        }
        for name in names:
            check_kind(f"a name of {what}", name, str, "a text")
            if name.strip() not in parts:
                raise ConfigError(
                    f"{what} names column {name.strip()[:40]!r}, which the schema does not have, expected some of: "
                    f"{', '.join(list(parts)[:20])}"
                )
        return ",".join(parts[name.strip()] for name in names)

    @property
    def needs_version_2(self) -> bool:
        """Whether the schema has something that version 1 of schema.json does not support."""
        new = any(
            column.kind not in ("numeric", "categorical", "hashed")
            or column.gaps or column.unseen is not None or column.weights is not None
            for column in self.columns
        )  # fmt: skip
        return new or bool(self.label_classes) or self.weight is not None

    @property
    def has_header(self) -> bool:
        """Whether columns have names, not just numbers."""
        return self.has_header_beside(())

    def has_header_beside(self, folders: Collection[str]) -> bool:
        """Whether columns have names, where `folders` are columns that the file does not hold itself.

        Parameters
        ----------
        folders : collection of str

        Returns
        -------
        has_header : bool
        """
        names = [column.name for column in self.columns] + [self.label or "0", self.weight or "0"]
        return not all(name.isdecimal() or name in folders for name in names)

    def feature_name(self, feature: int) -> str:
        """Name a feature: ``column``, ``column=category`` or ``column#bucket``.

        Parameters
        ----------
        feature : int
            From 0 to ``feature_dim - 1``.

        Returns
        -------
        name : str

        Raises
        ------
        DataError
            There is no such feature.
        """
        check_kind("feature", feature, numbers.Integral, "an integer")
        offsets = self.offsets
        at = bisect.bisect_right(offsets, feature) - 1
        if at < 0 or feature - offsets[at] >= self.columns[at].n_features:
            raise DataError(f"there is no feature {quoted(feature)}, expected 0 to {self.feature_dim - 1}")
        return self.columns[at].feature_name(feature - offsets[at])

    def feature_names(self) -> list[str]:
        """Name every feature, in order.

        Returns
        -------
        names : list of str, of length feature_dim
        """
        return [column.feature_name(i) for column in self.columns for i in range(column.n_features)]

    def to_json(self) -> str:
        """Return what schema.json holds.

        Returns
        -------
        text : str

        Raises
        ------
        ConfigError
            It would be larger than what is read.
        """
        columns = []
        for column, offset in zip(self.columns, self.offsets, strict=True):
            described: dict[str, Any] = {"name": column.name, "kind": column.kind, "first_feature": offset}
            if column.example is not None:
                described["example"] = column.example
            if column.remarks:
                described["remarks"] = list(column.remarks)
            for member in (*column.of_kind.needs, *column.of_kind.allows):
                value = getattr(column, member)
                if member in column.of_kind.needs or value not in (None, False, ()):
                    described[member] = value
            columns.append(described)
        document = {
            "version": VERSION if self.needs_version_2 else 1,
            "feature_dim": self.feature_dim,
            "label": self.label,
            **({"label_classes": list(self.label_classes)} if self.label_classes else {}),
            **({} if self.weight is None else {"weight": self.weight}),
            "dense": self.is_dense,
            "missing": self.missing,
            **({"label_remarks": list(self.label_remarks)} if self.label_remarks else {}),
            **({"left_out": list(self.left_out)} if self.left_out else {}),
            "columns": columns,
        }
        data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        check_readable(data, self.feature_dim)
        return data.decode()

    @classmethod
    def from_json(
        cls, text: str | bytes, source: str = "the schema", watch: Callable[[int], None] = unwatched
    ) -> "TableSchema":
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str or bytes
        source : str
            Its name in messages.
        watch : callable
            As for `load`.

        Returns
        -------
        schema : TableSchema

        Raises
        ------
        ConfigError
            It is something else: schema_check.py says what is looked at.
        """
        check_kind("the text of a schema", text, (str, bytes), "a text or bytes")
        data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        return cls._of(checked_document(data, source, watch))

    @classmethod
    def _of(cls, document: dict[str, Any]) -> "TableSchema":
        columns = tuple(
            Column(
                name=described["name"],
                kind=described["kind"],
                example=described.get("example"),
                remarks=tuple(described.get("remarks", ())),
                **{  # type: ignore[arg-type]
                    member: tuple(described[member]) if isinstance(described[member], list) else described[member]
                    for member in (*KINDS[described["kind"]].needs, *KINDS[described["kind"]].allows)
                    if member in described
                },
            )
            for described in document["columns"]
        )
        return cls(
            columns,
            document["label"],
            document["dense"],
            document["missing"],
            tuple(document.get("label_classes", ())),
            tuple(document.get("label_remarks", ())),
            tuple(document.get("left_out", ())),
            document.get("weight"),
        )

    def save(self, path: Path) -> None:
        """Write schema.json, whole or not at all.

        Parameters
        ----------
        path : path

        Raises
        ------
        ConfigError
            As for `to_json`.
        """
        with atomic_write(Path(path)) as file:
            file.write(self.to_json().encode())

    @classmethod
    def load(
        cls, path: Path, feature_dim: int | None = None, *, watch: Callable[[int], None] = unwatched
    ) -> "TableSchema":
        """Read schema.json, but no more bytes than a schema may have.

        Parameters
        ----------
        path : Path
        feature_dim : int, optional
            That of the model it is wanted for.
        watch : callable
            Gets the bytes of memory that are about to be taken, again and again 0, and raises to end it.

        Returns
        -------
        schema : TableSchema

        Raises
        ------
        ConfigError
            It is no schema, or one of other data than the model's.
        """
        with Path(path).open("rb") as file:
            return cls.read(file, str(path), feature_dim, watch=watch)

    @classmethod
    def read(
        cls, file: BinaryIO, source: str, feature_dim: int | None = None, *, watch: Callable[[int], None] = unwatched
    ) -> "TableSchema":
        """Read schema.json from a file that is open.

        Parameters
        ----------
        file : binary file
        source : str
            Its name in messages.
        feature_dim, watch
            As for `load`.

        Returns
        -------
        schema : TableSchema

        Raises
        ------
        ConfigError
            As for `load`.
        """
        schema = cls._of(checked_document(file, source, watch, feature_dim))
        if feature_dim is not None and schema.feature_dim != feature_dim:
            raise ConfigError(
                f"{source}: its columns make {schema.feature_dim} features, expected the model's {feature_dim}: it is "
                "the schema of other data"
            )
        return schema
