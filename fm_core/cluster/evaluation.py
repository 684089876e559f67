"""Score data once over all members, and combine the metrics."""

import functools
import itertools
from collections.abc import Callable

import numpy as np

from fm_core.analysis.evaluation import RowEvaluation
from fm_core.batch import Batch
from fm_core.cluster.collectives import gathered, sum_metrics
from fm_core.cluster.data import DistributedData, local_batches
from fm_core.cluster.members import Floats, Members
from fm_core.cluster.sharded_solver import scored
from fm_core.cluster.steps import Step, StepPlanner
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.training.prefetch import DEPTH, prefetch

__all__ = ["evaluate_shared", "evaluate_shares", "evaluate_together"]


def evaluate_together(
    model: Model,
    data: DistributedData,
    hyperparameters: Hyperparameters,
    members: Members,
    *,
    epoch: int = 0,
    num_threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, float], int] | None:
    """Score data over all members, each of which has its rows of the model.

    Parameters
    ----------
    model : Model
        This member's rows.
    data : DistributedData
    hyperparameters : Hyperparameters
        Those of the whole model.
    members : Members
    epoch : int
    num_threads : int
    should_stop : callable

    Returns
    -------
    metrics : dict of float
    n_records : int
        Of all members. None in place of both if a member was asked to stop.
    """
    assert model.V.base is not None
    evaluation = RowEvaluation(model.predictor_type, hyperparameters)
    planner = StepPlanner(members, hyperparameters, should_stop)
    stream = functools.partial(local_batches, data, epoch, members, hyperparameters, is_trained=False)
    with prefetch(lambda: planner(stream()), DEPTH) as ready:
        for step in ready:
            assert isinstance(step, Step)
            scores = scored(step, model.V.base, model.w0, hyperparameters, members, num_threads).scores
            evaluation.update(step.original, lambda _, scores=scores: scores)  # type: ignore[misc]
    if planner.stopped:
        return None
    return _together(evaluation, members, model.predictor_type)


def _together(evaluation: RowEvaluation, members: Members, predictor_type: str) -> tuple[dict[str, float], int]:
    evaluation.join(
        lambda totals: sum_metrics(totals, members, predictor_type), functools.partial(gathered, members=members)
    )
    return evaluation.values(), evaluation.n


def evaluate_shared(
    model: Model,
    data: DistributedData,
    hyperparameters: Hyperparameters,
    members: Members,
    *,
    epoch: int = 0,
    num_threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, float], int] | None:
    """Score data over all members, each of which has the whole model.

    Parameters
    ----------
    model : Model
        The whole one, the same on every member.
    data, hyperparameters, members, epoch, num_threads, should_stop
        As for `evaluate_together`.

    Returns
    -------
    metrics : dict of float
    n_records : int
        As of `evaluate_together`.
    """
    predict = functools.partial(model.predict, num_threads=num_threads)
    return evaluate_shares(predict, data, hyperparameters, members, epoch=epoch, should_stop=should_stop)


def evaluate_shares(
    predict: Callable[[Batch], Floats],
    data: DistributedData,
    hyperparameters: Hyperparameters,
    members: Members,
    *,
    epoch: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, float], int] | None:
    """Score data over all members, each of which scores its batches by a function.

    Parameters
    ----------
    predict : callable
        From a Batch to its scores, ndarray of float32, shape (n_rows,), by the whole model.
    data, hyperparameters, members, epoch, should_stop
        As for `evaluate_together`.

    Returns
    -------
    metrics : dict of float
    n_records : int
        As of `evaluate_together`.
    """
    evaluation = RowEvaluation(hyperparameters.predictor_type, hyperparameters)
    rows = local_batches(data, epoch, members, hyperparameters, is_trained=False)
    for batch in itertools.takewhile(lambda _: not should_stop(), rows):
        evaluation.update(batch, predict)
    if members.rows.all_gather(np.array([should_stop()], np.int64)).any():
        return None
    return _together(evaluation, members, hyperparameters.predictor_type)
