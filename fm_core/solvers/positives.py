"""The positives of the data, read before negatives are drawn: users, items, and the items of each user.

A record of a positive has a user (one feature of `user_features`), an item (one feature of the first part of
`item_features`, its id, and the features of its other parts), and a context of any other features. A pass over the data
finds the items, their features and the items of each user, so that no negative is a known positive, from the first
batch on. Memory: 8 bytes for each pair while they are read, then 4, and the features of each item once.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fm_core.analysis.history import side_by_side
from fm_core.analysis.items_seen import ItemsSeen
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.feature_ranges import feature_ranges
from fm_core.kernels._negatives import draw_negatives, find_pairs, put_ranked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.hyperparameters import Hyperparameters

__all__ = ["Positives", "Ranked"]


class Ranked(NamedTuple):
    """Rows of contexts, and of the items that are compared in them; see kernels/_ranked.pxi.

    Attributes
    ----------
    n_contexts : int
    indptr, indices, values : ndarray
    """

    n_contexts: int
    indptr: "NDArray[np.int64]"
    indices: "NDArray[np.int32]"
    values: "NDArray[np.float32]"


class Positives:
    """The users and items of all positives.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    batches : iterable of Batch
        All of the data, once.

    Attributes
    ----------
    items : ndarray of int32, shape (n_items,)
        The id feature of each item, increasing.
    rows : Batch
        The items' features.
    known_starts, known : ndarray of int64, shape (n_users + 1,), and int32
        The numbers of the items of each user, increasing.

    Raises
    ------
    DataError
        A positive has not one user and one item, rows are dense, or there is no positive.
    """

    def __init__(self, hyperparameters: "Hyperparameters", batches: Iterable[Batch]) -> None:
        hp = hyperparameters
        self._feature_dim = hp.feature_dim
        (self._users,) = feature_ranges("user_features", hp.user_features, hp.feature_dim, most=1)
        self._item_ranges = feature_ranges("item_features", hp.item_features, hp.feature_dim)
        self._ids = self._item_ranges[0]
        self._ranges = np.array([[part.start, part.stop] for part in self._item_ranges], np.int32)
        seen = ItemsSeen(self._item_ranges, hp.feature_dim)
        pairs: list[NDArray[np.int64]] = []
        n_rows = 0
        for batch in batches:
            rows, users, ids = self._pairs(batch, n_rows)
            n_rows += batch.n_rows
            pairs.append(users.astype(np.int64) * len(self._ids) + ids)
            seen.add(batch, rows, ids)
        if not len(seen):
            raise DataError("the training data has no positive, expected at least one record whose label is above 0")
        self.items, self.rows = seen.ids, seen.rows
        self._number = np.full(len(self._ids), -1, np.int32)
        self._number[self.items] = np.arange(len(self.items), dtype=np.int32)
        self.items += np.int32(self._ids.start)
        self._know(np.concatenate(pairs), weighted=hp.negative_sampling == "popularity")

    def _know(self, pairs: "NDArray[np.int64]", *, weighted: bool) -> None:
        self._weights = self._number[pairs % len(self._ids)] if weighted else np.empty(0, np.int32)
        pairs = np.unique(pairs)
        self.known = self._number[pairs % len(self._ids)]
        self.known_starts = np.searchsorted(pairs, np.arange(len(self._users) + 1) * len(self._ids)).astype(np.int64)

    def _pairs(self, batch: Batch, before: int) -> "tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]":
        """Give the positives' rows, users and items, both counted from the begin of their range."""
        if batch.indptr is None or batch.indices is None:
            raise DataError("records are dense, expected sparse ones with the features of a user and an item")
        found: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], int] = find_pairs(
            batch.indptr, batch.indices, batch.values, batch.labels,
            self._users.start, self._users.stop, self._ids.start, self._ids.stop,
        )  # fmt: skip
        rows, users, ids, wrong = found
        if wrong >= 0:
            self._refuse(batch, wrong, before)
        return rows, users, ids

    def _refuse(self, batch: Batch, row: int, before: int) -> None:
        indptr, indices, values = batch.csr
        entries = slice(int(indptr[row]), int(indptr[row + 1]))
        keys = indices[entries][values[entries] != 0]
        for name, part in (("user_features", self._users), ("item_features", self._ids)):
            n = int(((keys >= part.start) & (keys < part.stop)).sum())
            if n != 1:
                raise DataError(
                    f"record {before + row} of a pass has {n} features in {part.start}:{part.stop}, the ids of "
                    f"{name}, expected one"
                )

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return len(self.items)

    def ranked(self, batch: Batch, n_negatives: int, key: int, first_row: int) -> Ranked:
        """Draw negatives for the positives of a batch.

        Parameters
        ----------
        batch : Batch
            Sparse. Its rows that are no positives, or of a user or an item that the pass has not found, are left out,
            and so are those of a user who has all items.
        n_negatives : int
        key : int
            Of the epoch's draws, below 2^64.
        first_row : int
            The number of the batch's first row in its epoch: a row's draws depend on its own number alone.

        Returns
        -------
        ranked : Ranked
        """
        rows, items = self._drawn(batch, n_negatives, key, first_row)
        return Ranked(len(items), *put_ranked(*batch.csr, rows, items, *self.rows.csr, self._ranges))

    def negatives(self, batch: Batch, n_negatives: int, key: int, first_row: int) -> "tuple[NDArray[np.int64], Batch]":
        """Create rows of negatives: each positive's context with other items.

        Parameters are those of `ranked`.

        Parameters
        ----------
        batch : Batch
            Sparse records of positives.
        n_negatives : int
            For each positive.
        key : ndarray of uint32
            The key of the random numbers.
        first_row : int
            The number of the batch's first record in its epoch.

        Returns
        -------
        rows : ndarray of int64, shape (n,)
            Of which row of the batch each is a negative, increasing.
        negatives : Batch
            Without labels.
        """
        rows, items = self._drawn(batch, n_negatives, key, first_row)
        rows = np.repeat(rows, n_negatives)
        indptr, indices, values = batch.take(rows).csr
        is_context = np.ones(len(indices), np.bool_)
        for part in self._item_ranges:
            is_context &= (indices < part.start) | (indices >= part.stop)
        starts = np.concatenate([[0], np.cumsum(is_context)])[indptr]
        contexts = Batch.trusted(batch.feature_dim, values[is_context], starts, indices[is_context])
        return rows, side_by_side(contexts, self.rows, items[:, 1:].ravel().astype(np.int64))

    def _drawn(
        self, batch: Batch, n_negatives: int, key: int, first_row: int
    ) -> "tuple[NDArray[np.int64], NDArray[np.int32]]":
        """Give rows of positives, and of each the numbers of its item and of its negatives."""
        rows, users, ids = self._pairs(batch, first_row)
        numbers = self._number[ids]
        kept = numbers >= 0
        rows, users, numbers = rows[kept], users[kept], numbers[kept]
        drawn = draw_negatives(
            users, rows + first_row, self.known_starts, self.known, self._weights, self.n_items, n_negatives, key
        )
        kept = drawn[:, 0] >= 0
        items = np.column_stack([numbers, drawn])
        return (rows, items) if kept.all() else (rows[kept], items[kept])
