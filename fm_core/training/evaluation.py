"""Evaluate a model on data with labels."""

import functools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.evaluation import Evaluation, RowEvaluation
from fm_core.batch import Batch
from fm_core.given import check_kind, check_threads
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model

__all__ = ["evaluate", "evaluate_scores"]


def evaluate(
    model: Model,
    batches: Iterable[Batch],
    num_threads: int = 1,
    hyperparameters: Hyperparameters | None = None,
    evaluation: Evaluation | None = None,
) -> tuple[dict[str, float], int]:
    """Compute the metrics of a model on batches with labels.

    Parameters
    ----------
    model : Model
    batches : iterable of Batch
    num_threads : int
    hyperparameters : Hyperparameters, optional
        With `user_features`, the result has ranking metrics too.
    evaluation : Evaluation, optional
        What to compute from the scores, in place of the usual metrics.

    Returns
    -------
    metrics : dict of float
        The metrics that `fit` reports for validation data, by name.
    n_records : int
        The number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from fm_core import Batch, Model, evaluate
    >>> model = Model("regressor", 1.0, np.float32([0.5, 0]), np.zeros((2, 1), np.float32))
    >>> metrics, n_records = evaluate(model, [Batch.from_dense([[1, 0], [0, 1]], labels=[1.5, 3])])
    >>> metrics["mse"], n_records
    (2.0, 2)
    """
    check_kind("model", model, Model, "a Model")
    check_threads(num_threads)
    return evaluate_scores(
        evaluation or RowEvaluation(model.predictor_type, hyperparameters),
        functools.partial(model.predict, num_threads=num_threads),
        batches,
    )


def evaluate_scores(
    evaluation: Evaluation, predict: Callable[[Batch], NDArray[np.float32]], batches: Iterable[Batch]
) -> tuple[dict[str, float], int]:
    """Evaluate any function that scores a batch.

    Parameters
    ----------
    evaluation : Evaluation
        What is measured.
    predict : callable
        From a Batch to its scores, ndarray of float32, shape (n_rows,).
    batches : iterable of Batch

    Returns
    -------
    metrics : dict of str to float
    n_records : int
    """
    for batch in batches:
        check_kind("a batch", batch, Batch, "a Batch")
        evaluation.update(batch, predict)
    return evaluation.values(), evaluation.n
