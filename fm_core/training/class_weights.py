"""The weights of classes, multiplied into the weights of rows, for training and validation data.

So the reported loss is the one that is minimised. Test data, and `evaluate`, ignore class weights. A job sets
`positive_class_weight`, an estimator `class_weight`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import Batches, once_more

__all__ = ["balanced_weights", "class_weighted", "weighted_by_class"]


def weighted_by_class(rows: Batch, of_0: float, of_1: float) -> Batch:
    """Give rows whose weights are those that they have, times that of their label.

    Parameters
    ----------
    rows : Batch
        With labels 0 and 1.
    of_0, of_1 : float
        From 0 on.

    Returns
    -------
    rows : Batch
        The same rows with new weights.
    """
    of_class = np.where(rows.known_labels > 0.5, np.float32(of_1), np.float32(of_0))
    return rows.with_weights(of_class if rows.weights is None else rows.weights * of_class)


def balanced_weights(rows: Batch) -> tuple[float, float]:
    """Give weights by which both labels count as much in all, and all rows as before.

    Parameters
    ----------
    rows : Batch
        With labels 0 and 1; a label that no row has weighs 1.

    Returns
    -------
    of_0, of_1 : tuple of float
        Both 1 if only one label occurs.
    """
    is_1 = rows.known_labels > 0.5
    counted = np.ones(rows.n_rows) if rows.weights is None else rows.weights.astype(np.float64)
    of_1, all_rows = float(counted[is_1].sum()), float(counted.sum())
    of_0 = all_rows - of_1
    if not (of_0 > 0 and of_1 > 0):
        return 1.0, 1.0
    return all_rows / (2 * of_0), all_rows / (2 * of_1)


def class_weighted(batches: Batches, hyperparameters: Hyperparameters) -> Batches:
    """Return batches whose weights include `positive_class_weight`.

    Parameters
    ----------
    batches : callable
        See `fit`.
    hyperparameters : Hyperparameters

    Returns
    -------
    batches : callable
        The same ones if the weight is not set or 1.
    """
    weight = hyperparameters.positive_class_weight
    return batches if weight is None or weight == 1 else _ClassWeighted(batches, weight)


class _ClassWeighted:
    def __init__(self, batches: Batches, weight: float) -> None:
        self._batches = batches
        self._weight = weight

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        return self._weighted(self._batches(epoch))

    def once_more(self, epoch: int) -> Iterator[Batch]:
        """Those of a pass before that of an epoch."""
        return self._weighted(once_more(self._batches, epoch))

    def _weighted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            yield weighted_by_class(batch, 1, self._weight)
