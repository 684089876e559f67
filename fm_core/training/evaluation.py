"""Scoring data with labels, and what the scores come to."""

import functools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.metrics import metrics_for
from fm_core.model import Model

__all__ = ["evaluate", "evaluate_scores"]


def evaluate(model: Model, batches: Iterable[Batch], num_threads: int = 1) -> tuple[dict[str, float], int]:
    """Score batches with labels.

    Returns
    -------
    metrics : dict of float
        As `fit` reports them.
    n_records : int
    """
    return evaluate_scores(model.predictor_type, functools.partial(model.predict, num_threads=num_threads), batches)


def evaluate_scores(
    predictor_type: str, predict: Callable[[Batch], NDArray[np.float32]], batches: Iterable[Batch]
) -> tuple[dict[str, float], int]:
    """Do what `evaluate` does with any function that scores a batch."""
    totals = metrics_for(predictor_type)
    for batch in batches:
        totals.update(predict(batch), batch.known_labels)
    return totals.values(), totals.n
