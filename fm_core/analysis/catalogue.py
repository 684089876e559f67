"""The items that can be recommended: a table, and the features of its columns.

A catalogue is a table with one row for each item. The first column holds its id, which must be unique. Columns that the
model's schema has become the item's features. Requests can filter by every column, and answers contain all of them.
It is stored next to the model as catalogue.csv, which any tool can read and write. The features of its items are
computed when it is read, so they always match the schema.

A model without a schema takes a column `features`, whose cells are feature ids as in libsvm: ``7`` or ``7:1 19:0.5``.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.analysis.item_column import ItemColumn
from fm_core.analysis.listed_features import FEATURES, rows_of_ids
from fm_core.atomic_file import atomic_write
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.registry import FORMATS, format_of
from fm_core.formats.registry.inputs import Options, read_tables
from fm_core.formats.tables import CATALOGUE_FILE
from fm_core.formats.tables.schema_check import unwatched
from fm_core.formats.tables.table import Table, no_column, where
from fm_core.given import MOST_FEATURES, check_kind
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.formats.tables.encoder import Encoder

__all__ = ["CATALOGUE_FILE", "FEATURES", "Catalogue"]

#: Bytes of memory that a text takes in its table and as one of Python's.
_BYTES_OF_TEXT = 150

#: Bytes of a row, and columns.
_LONGEST_ROW, _MOST_COLUMNS = 2**20, 65_536


class Catalogue:
    """The items that a model can recommend: their ids, features and other columns.

    Attributes
    ----------
    columns : dict of str to ItemColumn
        By name; the first column holds the ids.
    rows : Batch
        The items' features, sparse.
    """

    def __init__(self, columns: dict[str, ItemColumn], rows: Batch) -> None:
        self.columns = columns
        self.rows = rows
        self.ids = next(iter(columns.values()))
        _, indices, _ = rows.csr
        self._features = np.unique(indices)

    def __len__(self) -> int:
        return self.rows.n_rows

    @classmethod
    def read(
        cls,
        tables: Iterable[Table],
        encoder: "Encoder | None",
        feature_dim: int,
        *,
        item: str | None = None,
        columns: Iterable[str] | None = None,
        distinct: bool = False,
        what: str = "the catalogue",
        watch: Callable[[int], None] = unwatched,
    ) -> "Catalogue":
        """Make a catalogue from tables.

        Parameters
        ----------
        tables : iterable of Table
        encoder : Encoder or None
            The encoder of the model's schema. None: the model has no schema, and a column `features` holds feature ids.
        feature_dim : int
            The model's.
        item : str, optional
            The column of ids; by default the first one.
        columns : iterable of str, optional
            The other columns to keep; by default all.
        distinct : bool
            Whether ids may repeat, as in training data; then the first row of each is used.
        what : str
            The name of the tables in messages.
        watch : callable
            Called with the bytes of memory of each piece of the tables; an exception ends reading.

        Returns
        -------
        catalogue : Catalogue

        Raises
        ------
        DataError
            There are no items, an id is empty or repeated, or a cell does not fit the model's schema.
        """
        check_kind("feature_dim", feature_dim, (int, np.integer), "an integer")
        if not 0 < feature_dim <= MOST_FEATURES:
            raise DataError(f"feature_dim is {feature_dim}, expected 1 to {MOST_FEATURES}")
        if encoder is not None and encoder.schema.feature_dim != feature_dim:
            raise DataError(
                f"{what}: the schema has feature_dim={encoder.schema.feature_dim}, expected the model's {feature_dim}: "
                "give the schema that the model was trained with"
            )
        reader: _Reader | None = None
        for table in tables:
            if reader is None:
                reader = _Reader(table, encoder, feature_dim, item, columns, distinct=distinct)
            watch(reader.read(table))
        if reader is None or not reader.n_items:
            raise DataError(f"{what} holds no items, expected at least one")
        return reader.catalogue()

    @classmethod
    def load(
        cls, path: Path, encoder: "Encoder | None", feature_dim: int, *, watch: Callable[[int], None] = unwatched
    ) -> "Catalogue":
        """Read catalogue.csv, or any other table whose first column is the ids; see `read`.

        Parameters
        ----------
        encoder, feature_dim, watch
            As for `read`.

        Returns
        -------
        catalogue : Catalogue
        """
        path = Path(path)
        of = FORMATS["csv"] if path.name == CATALOGUE_FILE else format_of(path)
        return cls.read(
            read_tables([path], of, Options(header=True, longest_row=_LONGEST_ROW)), encoder, feature_dim,
            what=str(path), watch=watch,
        )  # fmt: skip

    def has(self, features: "NDArray[np.int32]") -> "NDArray[np.bool_]":
        """Return which features belong to some item.

        Parameters
        ----------
        features : ndarray of int32, shape (n,)

        Returns
        -------
        there : ndarray of bool, shape (n,)

        Raises
        ------
        DataError
            They are not integers.
        """
        check_kind("features", features, np.ndarray, "an ndarray of integers")
        if features.ndim != 1 or features.dtype.kind not in "iu":
            raise DataError(f"features are {features.dtype} of {features.ndim} dimensions, expected integers of one")
        if not len(self._features):
            return np.zeros(len(features), np.bool_)
        place = np.minimum(np.searchsorted(self._features, features), len(self._features) - 1)
        there: NDArray[np.bool_] = self._features[place] == features
        return there

    def positions(self, ids: Iterable[str]) -> "NDArray[np.int64]":
        """Return the positions of items by their ids; unknown ids are left out.

        Parameters
        ----------
        ids : iterable of str

        Returns
        -------
        positions : ndarray of int64

        Raises
        ------
        TypeError
            `ids` is a single string.
        """
        if isinstance(ids, str):
            raise TypeError(f"ids are the text {quoted(ids)}, expected a list of texts")
        texts = list(ids)
        for text in texts:
            check_kind("an id", text, str, "a text")
        found = self.ids.find(texts)
        return found[found >= 0]

    def allowed(self, wanted: Mapping[str, Any]) -> "NDArray[np.bool_]":
        """Return which items a filter allows.

        Parameters
        ----------
        wanted : mapping of str to any
            Conditions by column, each as for `ItemColumn.allowed`; an item must meet all of them.

        Returns
        -------
        allowed : ndarray of bool, shape (n_items,)

        Raises
        ------
        DataError
            There is no such column, or a condition does not fit its column.
        """
        check_kind("a filter", wanted, Mapping, "a mapping of columns")
        allowed = np.ones(len(self), np.bool_)
        for name, choice in wanted.items():
            if name not in self.columns:
                shown = ", ".join(list(self.columns)[:20])
                raise DataError(f"filter {name[:40]!r} is not a column of the catalogue, expected some of: {shown}")
            allowed &= self.columns[name].allowed(choice)
        return allowed

    def document(self, item: int) -> dict[str, Any]:
        """Return the columns of the item at a position, as JSON values.

        Parameters
        ----------
        item : int

        Returns
        -------
        document : dict

        Raises
        ------
        DataError
            There is no item at this position.
        """
        check_kind("item", item, (int, np.integer), "an integer")
        if not 0 <= item < len(self):
            raise DataError(f"there is no item {quoted(item)}, expected 0 to {len(self) - 1}")
        return {name: column.value(item) for name, column in self.columns.items()}

    def save(self, path: Path) -> None:
        """Write catalogue.csv, complete or not at all."""
        with atomic_write(Path(path)) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(self.columns)
            for item in range(len(self)):
                writer.writerow([column.text(item) for column in self.columns.values()])
            text.detach()


def _places(table: Table, names: Iterable[str]) -> list[int]:
    """Find columns of a table."""
    there = {name: place for place, name in enumerate(table.names)}
    for name in names:
        if name not in there:
            raise no_column(table, name)
    return [there[name] for name in names]


class _Reader:
    """Tables, one after the other, as items."""

    def __init__(
        self,
        first: Table,
        encoder: "Encoder | None",
        feature_dim: int,
        item: str | None,
        columns: Iterable[str] | None,
        *,
        distinct: bool,
    ) -> None:
        self._encoder = encoder
        self._feature_dim = feature_dim
        self._distinct = distinct
        self._batches: list[Batch] = []
        self.n_items = 0
        if not first.names:
            raise DataError(f"{first.source} has no columns, expected one with the ids of items")
        if len(first.names) > _MOST_COLUMNS:
            raise DataError(f"{first.source} has {len(first.names)} columns, expected at most {_MOST_COLUMNS}")
        item = first.names[0] if item is None else item
        taken = [item, *(name for name in (first.names if columns is None else columns) if name != item)]
        _places(first, taken)
        schema = None if encoder is None else encoder.schema
        known = {} if schema is None else {column.name: column for column in schema.columns}
        if known and known.keys().isdisjoint(taken):
            raise DataError(
                f"{first.source}: none of the columns {', '.join(taken[:20])} is in the model's schema, expected some "
                f"of {', '.join(list(known)[:20])}: it is the catalogue of another model"
            )
        if schema is None and FEATURES not in taken:
            raise DataError(
                f"{first.source}: there is no column {FEATURES!r}, which a catalogue needs if the model has no "
                f"schema: found {', '.join(taken[:20])}"
            )
        self._columns = {
            name: ItemColumn(
                name,
                known[name].separator if name in known else None,
                is_text=name in (item, FEATURES) or (name in known and known[name].of_kind.has_texts),
            )
            for name in taken
        }

    def read(self, table: Table) -> int:
        """Read a piece, and give the bytes of memory that it took, about."""
        names = list(self._columns)
        places = _places(table, names)
        before = self.n_items
        n_texts = sum(column.n_texts for column in self._columns.values())
        codes = [self._columns[name].read(table, place) for name, place in zip(names, places, strict=True)]
        ids = codes[0]
        if (ids < 0).any():
            raise DataError(f"{where(table, int(np.argmax(ids < 0)), places[0])}: the cell is empty, expected an id")
        # Numbered in the order of their appearance: an id that is new has the next number.
        is_new = np.maximum.accumulate(np.concatenate([[before - 1], ids]))[:-1] < ids
        if not is_new.all() and not self._distinct:
            row = int(np.argmin(is_new))
            raise DataError(
                f"{where(table, row, places[0])}: {table.shown(row, places[0])} occurs twice, expected each item once"
            )
        rows = self._rows(table)
        if not is_new.all():
            new = np.flatnonzero(is_new)
            rows = rows.take(new)
            for name in names:
                self._columns[name].keep(new)
        self.n_items += rows.n_rows
        self._batches.append(rows)
        n_new = sum(column.n_texts for column in self._columns.values()) - n_texts
        return rows.nbytes + sum(part.nbytes for part in codes) + _BYTES_OF_TEXT * n_new

    def _rows(self, table: Table) -> Batch:
        if self._encoder is None:
            return rows_of_ids(table, self._feature_dim)
        entries = self._encoder.entries(table, partial=True, only=self._columns)
        return self._encoder.join(table.n_rows, entries, None)

    def catalogue(self) -> Catalogue:
        for column in self._columns.values():
            column.finish()
        return Catalogue(self._columns, Batch.concatenate(self._batches))
