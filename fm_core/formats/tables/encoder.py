"""Tables to rows of features: which column becomes which feature ids, and the encoding by that.

A `TableSchema` is made once, of the data that a model learns from (`make_schema`), saved as
schema.json, and encodes every table after that in the same way (`Encoder`). A numeric
column is one feature; a categorical one has a feature for each text of its cells that was
seen, with value 1; a hashed one a fixed number of features, which CRC-32 of the text
chooses. A cell of several ids, split at a separator, has a feature for each of them.
If every column is numeric, rows are dense; else they are sparse and zeros are left out.
"""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.canonical import sparse_batch
from fm_core.formats.tables._columns import Vocabulary, put_entries
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.formats.tables.table import Table, no_column, where

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Encoder", "Entries"]


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

    def knows(self, column: str, text: str) -> bool:
        """Whether a categorical column of the schema has this category."""
        at = [each.name for each in self.schema.columns].index(column)
        return bool(self._known[at].find([text])[0] >= 0)

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

    def entries(
        self, table: Table, *, partial: bool = False, only: Collection[str] | None = None
    ) -> dict[int, Entries]:
        """Give what each column of the schema, or only some of them, gives to the rows, by its number."""
        return {
            i: self._entries(table, self._place(table, column.name), column, self._known[i])
            for i, column in enumerate(self.schema.columns)
            if (not partial or column.name in table.names) and (only is None or column.name in only)
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
            raise no_column(table, name)  # unlike a user's, a schema's names stand for no numbers
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
