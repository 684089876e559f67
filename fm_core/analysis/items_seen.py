"""The items of training rows: their ids, and the table that becomes a catalogue.

An item is identified by a feature of the first part of `item_features`; its features are those of the first row that
contains it. With a schema they are converted back into cells; without one they are written as feature ids. Memory: the
features of each item, once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fm_core.analysis.catalogue import FEATURES
from fm_core.analysis.evaluation import feature_of_rows
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.tables.array_table import TextTable
from fm_core.formats.tables.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.formats.tables.schema import Column, TableSchema

__all__ = ["ItemsSeen"]


#: A text that no column knows, in the place of one that was too rare to be.
_OTHER = "(other)"


class ItemsSeen:
    """The items of all rows so far.

    Parameters
    ----------
    parts : sequence of range
        Which features are an item's, its ids first.
    feature_dim : int
    """

    def __init__(self, parts: Sequence[range], feature_dim: int) -> None:
        self._parts = list(parts)
        self._feature_dim = feature_dim
        self._is_seen = np.zeros(len(parts[0]), np.bool_)
        self._entries: dict[int, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def update(self, batch: Batch) -> None:
        """Add the items of a sparse batch; rows without an item are ignored.

        Parameters
        ----------
        batch : Batch
            Sparse rows.
        """
        ids = feature_of_rows(batch, self._parts[0])
        rows = np.flatnonzero(ids >= 0)
        self.add(batch, rows, ids[rows])

    def add(self, batch: Batch, rows: "NDArray[np.int64]", ids: "NDArray[np.int64] | NDArray[np.int32]") -> None:
        """Add rows whose items are known.

        Parameters
        ----------
        batch : Batch
            Sparse rows.
        rows : ndarray of int64, shape (n,)
            Positions of rows in the batch.
        ids : ndarray of int, shape (n,)
            The item of each of these rows, counted from the first item's feature.
        """
        new, at = np.unique(ids, return_index=True)
        is_new = ~self._is_seen[new]
        for item, row in zip(new[is_new].tolist(), rows[at[is_new]].tolist(), strict=True):
            self._entries[item] = self._of_row(batch, row)
        self._is_seen[new] = True

    def _of_row(self, batch: Batch, row: int) -> "tuple[NDArray[np.int32], NDArray[np.float32]]":
        indptr, indices, values = batch.csr
        entries = slice(int(indptr[row]), int(indptr[row + 1]))
        keys, values = indices[entries], values[entries]
        is_item = np.zeros(len(keys), np.bool_)
        for part in self._parts:
            is_item |= (keys >= part.start) & (keys < part.stop)
        return keys[is_item].copy(), values[is_item].copy()

    @property
    def ids(self) -> "NDArray[np.int32]":
        """Each item's id, counted from the first one, increasing."""
        return np.flatnonzero(self._is_seen).astype(np.int32)

    @property
    def rows(self) -> Batch:
        """The items' features, in the order of `ids`."""
        found = [self._entries[item] for item in self.ids.tolist()]
        indptr = np.zeros(len(found) + 1, np.int64)
        np.cumsum([len(keys) for keys, _ in found], out=indptr[1:])
        keys = np.concatenate([np.empty(0, np.int32), *(keys for keys, _ in found)])
        values = np.concatenate([np.empty(0, np.float32), *(values for _, values in found)])
        return Batch.trusted(self._feature_dim, values, indptr, keys)

    def table(self, schema: "TableSchema | None") -> Table:
        """Return the items as a table, from which `Catalogue.read` makes a catalogue of the same features.

        Parameters
        ----------
        schema : TableSchema or None
            By which the rows were made.

        Returns
        -------
        table : Table
            One row for each item.

        Raises
        ------
        DataError
            There are no items.
        ConfigError
            The parts are not the columns of the schema, or the texts of a column are not in it.
        """
        if not self._entries:
            start, stop = self._parts[0].start, self._parts[0].stop
            raise DataError(f"no record has a feature of {start}:{stop}, which item_features declares as ids of items")
        if schema is None:
            keys, values = zip(*(self._entries[item] for item in self.ids.tolist()), strict=True)
            return _feature_table(self.ids + self._parts[0].start, keys, values)
        columns = self._columns(schema)
        # behind the texts of a column there may be a feature of rare ones: no item, but many
        ids = [item for item in self.ids.tolist() if item < len(columns[0][0].categories)]
        entries = [self._entries[item] for item in ids]
        return TextTable(
            "the training data",
            {column.name: [_cell(column, first, *each) for each in entries] for column, first in columns},
        )

    def _columns(self, schema: "TableSchema") -> "list[tuple[Column, int]]":
        columns = []
        for part in self._parts:
            inside = [
                (column, first)
                for column, first in zip(schema.columns, schema.offsets, strict=True)
                if part.start <= first and first + column.n_features <= part.stop and column.n_features
            ]
            if sum(column.n_features for column, _ in inside) != len(part):
                raise ConfigError(
                    f"item_features has {part.start}:{part.stop}, which are not whole columns of schema.json: give "
                    "the names of columns instead"
                )
            columns += inside
        for column, _ in columns:
            if column.kind not in ("numeric", "categorical"):
                raise ConfigError(
                    f"column {column.name[:40]!r} is {column.kind}, and its cells cannot be restored from features: "
                    "give the items as a table"
                )
        if columns[0][0].kind != "categorical" or columns[0][0].separator is not None:
            raise ConfigError(
                f"column {columns[0][0].name[:40]!r} has no ids of items: expected one category in a cell"
            )
        return columns


def _cell(column: "Column", first: int, keys: "NDArray[np.int32]", values: "NDArray[np.float32]") -> str:
    there = (keys >= first) & (keys < first + column.n_features)
    if column.kind == "numeric":
        return str(values[there][0]) if there.any() else "0"
    texts = []
    for number, value in zip((keys[there] - first).tolist(), values[there], strict=True):
        if number < len(column.categories):
            text = column.categories[number]
            texts.append(text if column.weights is None else f"{text}{column.weights}{value}")
        elif number == len(column.categories) and column.unseen == "feature":
            texts.append(_OTHER if column.weights is None else f"{_OTHER}{column.weights}{value}")
    return (column.separator or "").join(texts)  # empty of a missing cell


def _feature_table(
    ids: "NDArray[np.int32]", keys: "Sequence[NDArray[np.int32]]", values: "Sequence[NDArray[np.float32]]"
) -> Table:
    """Give items as a table of feature ids, where a model has no schema."""
    cells = [
        " ".join(
            str(key) if value == 1 else f"{key}:{value}" for key, value in zip(of_item.tolist(), of_values, strict=True)
        )
        for of_item, of_values in zip(keys, values, strict=True)
    ]
    return TextTable("the training data", {"item": list(map(str, ids.tolist())), FEATURES: cells})
