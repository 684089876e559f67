"""Evaluation of scored data: metrics of rows, areas under curves, and ranking metrics of groups.

`RowEvaluation` uses the rows of the data: for a group (a user), it ranks the group's own rows. `FullRanking` uses only
positives, and ranks all items for each user: what an endpoint would recommend, without items known from training.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fm_core.analysis.ranking_metrics import AtK, areas_under_curves, groups_in_order
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.feature_ranges import feature_ranges
from fm_core.links import link_for
from fm_core.metrics import Metrics, metrics_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.analysis.packed_items import PackedItems
    from fm_core.hyperparameters import Hyperparameters
    from fm_core.model import Model

__all__ = ["Evaluation", "FullRanking", "KnownItems", "RowEvaluation", "feature_of_rows"]

Predict = Callable[[Batch], "NDArray[np.float32]"]

#: Users whose items are ordered at once.
_USERS = 1024


class Evaluation(Protocol):
    """Sums over data that is scored once."""

    @property
    def n(self) -> int:
        """Rows so far."""

    def update(self, batch: Batch, predict: Predict) -> None:
        """Score the rows of a batch and add them.

        Parameters
        ----------
        batch : Batch
            Rows with labels.
        predict : callable
            Takes a batch and returns one score per row, float32.
        """

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far."""


class RowEvaluation:
    """The metrics of rows; of a classifier the areas under its curves too; of users the order of their rows.

    Rows count as their weights say, but in the order of users' rows.

    Parameters
    ----------
    predictor_type : str
    hyperparameters : Hyperparameters, optional
        Say which features are users and items, if there are any, and at what k.
    """

    def __init__(self, predictor_type: str, hyperparameters: "Hyperparameters | None" = None) -> None:
        self._totals = metrics_for(predictor_type)
        self._is_classifier = link_for(predictor_type).is_classifier
        self._scores: list[NDArray[np.float32]] = []
        self._labels: list[NDArray[np.float32]] = []
        self._weights: list[NDArray[np.float32]] = []
        self._is_weighted = False
        self._groups: _Groups | None = None
        hp = hyperparameters
        if hp is not None and hp.user_features:
            self._groups = _Groups(hp)

    @property
    def n(self) -> int:
        """Rows so far."""
        return self._totals.n

    @property
    def _keeps_rows(self) -> bool:
        return self._is_classifier or self._groups is not None

    def update(self, batch: Batch, predict: Predict) -> None:
        """Score the rows of a batch and add them.

        Parameters
        ----------
        batch : Batch
            Rows with labels.
        predict : callable
            Takes a batch and returns one score per row, float32.
        """
        scores, labels = predict(batch), batch.known_labels
        self._totals.update(scores, labels, batch.weights)
        if self._keeps_rows:
            self._scores.append(scores.copy())
            self._labels.append(labels)
            if batch.weights is not None:
                self._is_weighted = True
                self._weights += [np.ones(len(part), np.float32) for part in self._labels[len(self._weights) : -1]]
                self._weights.append(batch.weights)
        if self._groups is not None:
            self._groups.update(batch)

    def join(self, add_up: "Callable[[Metrics], Metrics]", gather: "Callable[[NDArray[Any]], NDArray[Any]]") -> None:
        """Take in what other hosts have of the same data.

        Parameters
        ----------
        add_up : callable
            Gives the metrics of all hosts.
        gather : callable
            Gives an array of all hosts' rows, one host after the other.
        """
        self._totals = add_up(self._totals)
        if self._keeps_rows:
            self._scores = [gather(_joined(self._scores, np.float32))]
            weights = self._weights_of_rows()
            self._labels = [gather(_joined(self._labels, np.float32))]
            self._is_weighted = bool(gather(np.array([self._is_weighted], np.int64)).any())
            self._weights = [gather(weights)] if self._is_weighted else []
        if self._groups is not None:
            self._groups.join(gather)

    def _weights_of_rows(self) -> "NDArray[np.float32]":
        """Of all rows; those that have none count once."""
        unsaid = [np.ones(len(part), np.float32) for part in self._labels[len(self._weights) :]]
        return _joined([*self._weights, *unsaid], np.float32)

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far."""
        found = self._totals.values()
        if not self._scores or not found:
            return found
        scores, labels = np.concatenate(self._scores), np.concatenate(self._labels)
        if self._is_classifier:
            weights = self._weights_of_rows() if self._is_weighted else None
            found["roc_auc"], found["pr_auc"] = areas_under_curves(scores, labels, weights)
        if self._groups is not None:
            found |= self._groups.values(scores, labels)
        return found


def _joined(parts: "Sequence[NDArray[Any]]", dtype: type) -> "NDArray[Any]":
    return np.concatenate([np.empty(0, dtype), *parts])


class _Groups:
    """The users and items of rows."""

    def __init__(self, hp: "Hyperparameters") -> None:
        (self._users,) = feature_ranges("user_features", hp.user_features, hp.feature_dim, most=1)
        self._ids = (
            feature_ranges("item_features", hp.item_features, hp.feature_dim)[0] if hp.item_features else range(0)
        )
        self._k = hp.ranking_k
        self._threshold = hp.relevance_threshold
        self._of_rows: list[NDArray[np.int64]] = []
        self._items: list[NDArray[np.int64]] = []

    def update(self, batch: Batch) -> None:
        self._of_rows.append(feature_of_rows(batch, self._users))
        self._items.append(feature_of_rows(batch, self._ids))

    def join(self, gather: "Callable[[NDArray[Any]], NDArray[Any]]") -> None:
        self._of_rows = [gather(_joined(self._of_rows, np.int64))]
        self._items = [gather(_joined(self._items, np.int64))]

    def values(self, scores: "NDArray[np.float32]", labels: "NDArray[np.float32]") -> dict[str, float]:
        users, items = np.concatenate(self._of_rows), np.concatenate(self._items)
        there = np.flatnonzero(users >= 0)
        gains = np.maximum(labels[there].astype(np.float64), 0)
        relevant = labels[there] >= self._threshold
        starts, first, ideal = groups_in_order(users[there], scores[there], gains, self._k)
        at_k = AtK(self._k)
        order = np.argsort(users[there], kind="stable")
        n_relevant = np.add.reduceat(relevant[order], starts[:-1]) if len(there) else np.zeros(0, np.int64)
        is_there = first >= 0
        at_k.add(np.where(is_there, gains[first], 0), n_relevant.astype(np.int64), ideal, is_there & relevant[first])
        found = at_k.values()
        known = items[there]
        if len(self._ids) and (known >= 0).any():
            shown = np.unique(known[first[is_there]])
            found[f"coverage_at_{self._k}"] = int((shown >= 0).sum()) / len(np.unique(known[known >= 0]))
        return found


def feature_of_rows(batch: Batch, part: range) -> "NDArray[np.int64]":
    """Return the first feature of each row that lies in a range.

    Parameters
    ----------
    batch : Batch
        Sparse or dense rows.
    part : range
        Feature ids.

    Returns
    -------
    found : ndarray of int64, shape (n_rows,)
        The feature, counted from the start of the range; -1 if a row has none.
    """
    found = np.full(batch.n_rows, -1, np.int64)
    if batch.indptr is None or batch.indices is None:
        inside = batch.values[:, part.start : part.stop] != 0
        return np.where(inside.any(axis=1), inside.argmax(axis=1), -1).astype(np.int64)
    entries = np.flatnonzero((batch.indices >= part.start) & (batch.indices < part.stop) & (batch.values != 0))[::-1]
    rows = np.searchsorted(batch.indptr, entries, side="right") - 1
    found[rows] = batch.indices[entries] - part.start
    return found


class KnownItems(Protocol):
    """Items, and which of them are known to go with whom: fm_core/solvers/positives.py has them.

    Attributes
    ----------
    items : ndarray of int32, shape (n_items,)
        The id feature of each, increasing.
    rows : Batch
    known_starts, known : ndarray of int64 and int32
        The items of each user.
    """

    items: "NDArray[np.int32]"
    rows: Batch
    known_starts: "NDArray[np.int64]"
    known: "NDArray[np.int32]"


class FullRanking:
    """All items in the order of a model for each user of some positives, those left out that were known before.

    A user's context is that of the first of its rows. An item that is not known at all counts as one not found.

    Parameters
    ----------
    model : Model
    hyperparameters : Hyperparameters
    known : KnownItems
    num_threads : int
    """

    def __init__(
        self, model: "Model", hyperparameters: "Hyperparameters", known: KnownItems, num_threads: int = 1
    ) -> None:
        hp = hyperparameters
        self._n = 0
        self._model = model
        self._k = hp.ranking_k
        self._known = known
        self._num_threads = num_threads
        (self._users,) = feature_ranges("user_features", hp.user_features, hp.feature_dim, most=1)
        self._item_ranges = feature_ranges("item_features", hp.item_features, hp.feature_dim)
        self._contexts: dict[int, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}
        self._relevant: dict[int, set[int]] = {}

    @property
    def n(self) -> int:
        """Rows so far."""
        return self._n

    def update(self, batch: Batch, predict: Predict) -> None:
        """Add the positives of a batch.

        Parameters
        ----------
        batch : Batch
            Sparse rows. Rows without a label count as positives.
        predict : callable
            Not used here: all items are scored at the end.

        Raises
        ------
        DataError
            The rows are dense.
        """
        if batch.indptr is None or batch.indices is None:
            raise DataError("records are dense, expected sparse ones with the features of a user and an item")
        self._n += batch.n_rows
        users = feature_of_rows(batch, self._users)
        items = feature_of_rows(batch, self._item_ranges[0])
        is_positive = (users >= 0) & (items >= 0)
        if batch.labels is not None:
            is_positive &= batch.labels > 0
        for row in np.flatnonzero(is_positive).tolist():
            user = int(users[row])
            if user not in self._contexts:
                self._contexts[user] = self._context_of(batch, row)
                self._relevant[user] = set()
            self._relevant[user].add(int(items[row]) + self._item_ranges[0].start)

    def _context_of(self, batch: Batch, row: int) -> "tuple[NDArray[np.int32], NDArray[np.float32]]":
        indptr, indices, values = batch.csr
        entries = slice(int(indptr[row]), int(indptr[row + 1]))
        keys, values = indices[entries], values[entries]
        is_context = np.ones(len(keys), np.bool_)
        for part in self._item_ranges:
            is_context &= (keys < part.start) | (keys >= part.stop)
        return keys[is_context].copy(), values[is_context].copy()

    def values(self) -> dict[str, float]:
        """Order the items for every user."""
        from fm_core.analysis.packed_items import PackedItems  # not needed for rows

        at_k = AtK(self._k)
        packed = PackedItems(self._model, self._known.rows, self._num_threads)
        users = sorted(self._contexts)
        shown: set[int] = set()
        for start in range(0, len(users), _USERS):
            self._add(users[start : start + _USERS], packed, at_k, shown)
        found = at_k.values()
        found[f"coverage_at_{self._k}"] = len(shown) / max(1, len(self._known.items))
        return found

    def _add(self, users: list[int], packed: "PackedItems", at_k: AtK, shown: set[int]) -> None:
        from fm_core.analysis.ranking import contexts_of

        parts = [self._contexts[user] for user in users]
        indptr = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(keys) for keys, _ in parts], out=indptr[1:])
        batch = Batch.trusted(
            self._model.feature_dim,
            np.concatenate([values for _, values in parts]),
            indptr,
            np.concatenate([keys for keys, _ in parts]),
        )
        starts = self._known.known_starts
        excluded = [self._known.known[starts[user] : starts[user + 1]].astype(np.int64) for user in users]
        best = packed.best(list(contexts_of(self._model, batch)), self._k, excluded=excluded,
                           num_threads=self._num_threads)  # fmt: skip
        gains = np.zeros((len(users), self._k))
        n_relevant = np.zeros(len(users), np.int64)
        for i, (user, ranked, known) in enumerate(zip(users, best, excluded, strict=True)):
            relevant = self._relevant[user] - set(self._known.items[known].tolist())
            ids = self._known.items[ranked.indices].tolist()
            shown.update(ids)
            gains[i, : len(ids)] = [item in relevant for item in ids]
            n_relevant[i] = len(relevant)
        ideal = (np.arange(self._k) < n_relevant[:, np.newaxis]).astype(np.float64)
        at_k.add(gains, n_relevant, ideal)
