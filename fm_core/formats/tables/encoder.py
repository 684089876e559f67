"""Encode tables as rows of features, by a schema that says which column becomes which feature ids.

A `TableSchema` is made once, from the training data (`make_schema`), and saved as schema.json. `Encoder` then encodes
every table in the same way. A numeric column has one feature. A categorical column has a feature for each text of its
cells, with value 1. A hashed column has a fixed number of features; CRC-32 of the text selects one. If a cell has
several ids, split at a separator, each has a feature. If every column is numeric, rows are dense; otherwise they are
sparse, and zeros are left out.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.canonical import sparse_batch
from fm_core.formats.tables._columns import Vocabulary, put_entries
from fm_core.formats.tables.entries import Entries, Rules, Watch, numbers_of_columns
from fm_core.formats.tables.label import class_labels
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.formats.tables.table import Table, no_column, where
from fm_core.formats.tables.values import canonical_texts
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Encoder", "Entries"]


#: What the words of an encoder may be.
UNSEEN, LABELS = ("error", "ignore"), ("real", "optional", "none")


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
    needs_weights : bool
        Whether the weight's column has to be there, where the schema names one and labels are read; else rows of a
        table without it count once.
    """

    #: Whether categories that are not known are learned.
    learns = False

    def __init__(
        self, schema: TableSchema, *, unseen: str = "error", labels: str = "real", way_out: str = "--unseen ignore",
        needs_weights: bool = False,
    ) -> None:  # fmt: skip
        for name, value, known in (("unseen", unseen, UNSEEN), ("labels", labels, LABELS)):
            if not isinstance(value, str) or value not in known:
                raise ConfigError(f"{name} is {quoted(value)}, expected {' or '.join(known)}")
        self.schema = schema
        self.rules = Rules(schema.missing, unseen, way_out, self.learns)
        self._feature_dim, self._offsets = schema.feature_dim, schema.offsets
        self._labels = labels if schema.label is not None else "none"
        self._needs_weights = needs_weights

    def watched_by(self, watch: Watch) -> None:
        """Count from now on what cells hold.

        Parameters
        ----------
        watch : Watch
            Gets the counts.
        """
        self.rules = dataclasses.replace(self.rules, watch=watch)

    @functools.cached_property
    def vocabularies(self) -> list[Vocabulary]:
        """The categories of each column."""
        return [_vocabulary(column) for column in self.schema.columns]

    def knows(self, column: str, text: str) -> bool:
        """Return whether a categorical column of the schema has a category.

        Parameters
        ----------
        column : str
            The name of the column.
        text : str
            The category.

        Returns
        -------
        is_known : bool
        """
        at = [each.name for each in self.schema.columns].index(column)
        return bool(self.vocabularies[at].find([text])[0] >= 0)

    def encode(self, table: Table, *, sparse: bool = False, partial: bool = False) -> Batch:
        """Encode a table.

        Parameters
        ----------
        table : Table
        sparse : bool
            Sparse rows even if every column is numeric.
        partial : bool
            Whether columns may be missing, which are no features then; rows are sparse.

        Returns
        -------
        batch : Batch
            One row for each row of the table.

        Raises
        ------
        DataError
            A column is missing, a cell holds no number where one is expected, or a category
            that the schema does not have; the message names file, line and column.
        """
        labels, weights = self.read_labels(table), self.read_weights(table)
        if self.schema.is_dense and not (sparse or partial):
            places = [self.place_of(table, column.name) for column in self.schema.columns]
            numbers = numbers_of_columns(table, places, self.rules)
            if self.rules.watch is not None:
                self.rules.watch.numbers([column.name for column in self.schema.columns], numbers)
            return Batch.trusted(self._feature_dim, numbers, labels=labels, weights=weights)
        return self.join(table.n_rows, self.entries(table, partial=partial), labels, weights)

    def entries(
        self, table: Table, *, partial: bool = False, only: Collection[str] | None = None
    ) -> dict[int, Entries]:
        """Return the features and values that columns of the schema contribute to the rows.

        Parameters
        ----------
        table : Table
        partial : bool
            Whether columns of the schema may be missing.
        only : collection of str, optional
            The names of the columns to encode. Default: all.

        Returns
        -------
        entries : dict of int to Entries
            By the position of the column in the schema.
        """
        found = {
            i: column.of_kind.entries(
                table, self.place_of(table, column.name), column, self.vocabularies[i], self.rules
            )
            for i, column in enumerate(self.schema.columns)
            if (not partial or column.name in table.places) and (only is None or column.name in only)
        }
        absent: Mapping[str, NDArray[np.bool_]] = getattr(table, "absent", {})
        return {
            i: of_column.without(absent[name]) if (name := self.schema.columns[i].name) in absent else of_column
            for i, of_column in found.items()
        }

    def join(
        self,
        n_rows: int,
        entries: Mapping[int, Entries],
        labels: "NDArray[np.float32] | None",
        weights: "NDArray[np.float32] | None" = None,
    ) -> Batch:
        """Join the entries of columns into sparse rows.

        Parameters
        ----------
        n_rows : int
        entries : mapping of int to Entries
            As `entries` returns them.
        labels : ndarray of float32, shape (n_rows,), or None
        weights : ndarray of float32, shape (n_rows,), or None

        Returns
        -------
        batch : Batch
            Sparse.
        """
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
        return Batch.trusted(batch.feature_dim, batch.values, batch.indptr, batch.indices, labels, weights)

    def place_of(self, table: Table, name: str) -> int:
        """Return the position of a column in a table.

        Parameters
        ----------
        table : Table
        name : str
            The name of the column.

        Returns
        -------
        place : int
            From 0.

        Raises
        ------
        DataError
            The table does not have the column.
        """
        if name not in table.places:
            raise no_column(table, name)  # unlike a user's, a schema's names stand for no numbers
        return table.places[name]

    def read_labels(self, table: Table) -> "NDArray[np.float32] | None":
        """Read the labels of a table.

        Parameters
        ----------
        table : Table

        Returns
        -------
        labels : ndarray of float32, shape (n_rows,), or None
            None if labels are not requested.

        Raises
        ------
        DataError
            A label is missing or not a number; the message names file, line and column.
        """
        label = self.schema.label
        if self._labels == "none" or label is None or (self._labels == "optional" and label not in table.places):
            return None
        column = self.place_of(table, label)
        if self.schema.label_classes:
            return class_labels(table, column, self.schema.label_classes)
        numbers, n_wrong = table.numbers([column])
        if n_wrong:
            row = int(np.argmax(np.isnan(numbers[:, 0])))
            raise DataError(f"{where(table, row, column)}: the label is {table.shown(row, column)}, expected a number")
        return np.ascontiguousarray(numbers[:, 0])

    def read_weights(self, table: Table) -> "NDArray[np.float32] | None":
        """Read the weights of a table.

        Parameters
        ----------
        table : Table

        Returns
        -------
        weights : ndarray of float32, shape (n_rows,), or None
            None if there are none, or labels are not requested.

        Raises
        ------
        DataError
            A weight is no finite number from 0 on; the message names file, line and column.
        """
        weight = self.schema.weight
        if self._labels == "none" or weight is None or not (self._needs_weights or weight in table.places):
            return None
        column = self.place_of(table, weight)
        numbers = np.ascontiguousarray(table.numbers([column])[0][:, 0])
        right = np.isfinite(numbers) & (numbers >= 0)
        if not right.all():
            row = int(np.argmin(right))
            raise DataError(
                f"{where(table, row, column)}: the weight is {table.shown(row, column)}, expected a finite number "
                "of at least 0"
            )
        return numbers


def _vocabulary(column: Column) -> Vocabulary:
    """Make the table of a column's categories, in the one form that cells have."""
    texts = canonical_texts(column.categories)
    known = Vocabulary()
    ids = known.find(texts, True)
    wrong = np.flatnonzero(ids != np.arange(len(ids)))
    if len(wrong):
        text, other = column.categories[wrong[0]], column.categories[ids[wrong[0]]] if ids[wrong[0]] >= 0 else ""
        raise ConfigError(
            f"column {column.name[:40]!r}: the categories {other[:40]!r} and {text[:40]!r} are the same value: "
            "convert the data again"
        )
    return known
