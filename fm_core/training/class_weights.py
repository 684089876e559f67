"""The weight of a class, put into the weights of its rows: of training and of validation data.

So what is minimised is what is told. A test, and `evaluate`, count rows as they are.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import Batches

__all__ = ["class_weighted"]


def class_weighted(batches: Batches, hyperparameters: Hyperparameters) -> Batches:
    """Give batches whose rows of label 1 count as `positive_class_weight` says, if it says something."""
    weight = hyperparameters.positive_class_weight
    return batches if weight is None or weight == 1 else _ClassWeighted(batches, weight)


class _ClassWeighted:
    def __init__(self, batches: Batches, weight: float) -> None:
        self._batches = batches
        self._weight = np.float32(weight)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        return self._weighted(self._batches(epoch))

    def _weighted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            of_class = np.where(batch.known_labels > 0.5, self._weight, np.float32(1))
            yield batch.with_weights(of_class if batch.weights is None else batch.weights * of_class)
