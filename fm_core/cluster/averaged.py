"""fit, with local steps and periodic averages: for networks too slow for distributed.py.

Each member keeps the whole model and learns from its own mini batches as one host does. After `_sync_interval` of
them, or as many as it has, all meet: of each feature that any of them has touched since the last time, parameters and
optimizer's state become the mean of those that touched it, added in the members' order; w0 the mean of those that
made a step. So all members agree after each meeting, to the bit, and what one of them alone has learned of a rare
feature is kept whole. It is not the model of one host, but it is the same from run to run.

A feature's mean is made by the member ``feature % n``, which tells all others.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.cluster.sharded import Members, Rows, TrainingOfSeveral, evaluate_shares, given_to_all, reduced, share_of
from fm_core.errors import DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.partition import Partition
from fm_core.training.loop import Callback, FitResult, Silent
from fm_core.training.prefetch import read_ahead

__all__ = ["evaluate_shared", "fit_by_averages"]

Floats = NDArray[np.float32]

#: Batches prepared ahead.
_AHEAD = 4
#: What each member says at a meeting, before how many features it has touched of each owner.
_MORE, _STOPS, _DENSE, _STEPS, _FACTS = range(5)


def fit_by_averages(
    data: Rows,
    hyperparameters: Hyperparameters,
    team: Members,
    *,
    num_threads: int = 1,
    model: Model | None = None,
    validation: Rows | None = None,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train a model with the other members of a team, each of which calls this.

    Parameters and errors are those of `distributed.fit_together`; there are no checkpoints.

    Returns
    -------
    result : FitResult
        Its model is whole, and the same on every member.
    """
    training = _TrainingByAverages(hyperparameters, team, num_threads, model, callback or Silent(), should_stop)
    del model
    return training.run(data, validation)


def evaluate_shared(
    model: Model,
    data: Rows,
    hyperparameters: Hyperparameters,
    team: Members,
    *,
    epoch: int = 0,
    num_threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, float], int] | None:
    """Score data once over all members, each of which has the whole model; see `distributed.evaluate_together`."""
    predict = functools.partial(model.predict, num_threads=num_threads)
    return evaluate_shares(predict, data, hyperparameters, team, epoch=epoch, should_stop=should_stop)


class _TrainingByAverages(TrainingOfSeveral):
    """What is different of `_Training`: steps are a member's own, decisions are made at meetings."""

    def __init__(self, hyperparameters: Hyperparameters, *further: Any) -> None:
        super().__init__(hyperparameters, *further)
        self._touched = np.zeros(hyperparameters.feature_dim, bool)

    def learn(self, data: Rows) -> bool:
        """Learn from an epoch; False: training has to stop."""
        started = time.time()

        def prepared() -> Iterator[tuple[Batch, Any]]:
            for batch in share_of(data, self._epoch, self._team, self._hp, is_trained=True):
                yield batch, self._prepare(batch)

        with read_ahead(prepared, _AHEAD, self._asked_to_stop) as ready:
            while True:
                n_done = 0
                for batch, groups in itertools.islice(ready, self._hp._sync_interval):
                    if self._solver is None:
                        self._start(batch.is_dense)
                    self._touched[slice(None) if groups is None or not self._hp.lazy_update else groups[0]] = True
                    self._learn(batch, groups)
                    self._end_batch(started, 0)
                    n_done += 1
                if not self._meet(n_done):
                    break
        if self.stopped:
            return False
        self._check_records()
        self._totals = reduced(self._totals, self._team, self._hp.predictor_type)
        steps = self._team.rows.gather(np.array([self._n_batches], np.int64))
        self._n_batches = int(steps.sum())
        self._end_epoch(started)
        return True

    def _evaluate(self, validation: Rows) -> tuple[dict[str, float], int] | None:
        assert self._solver is not None
        return evaluate_shared(
            self._solver.model, validation, self._hp, self._team,
            epoch=self._epoch, num_threads=self._num_threads, should_stop=self._asked_to_stop,
        )  # fmt: skip

    def _meet(self, n_done: int) -> bool:
        """Average what was touched since the last meeting; False: the epoch is over, or training has to stop."""
        team, partition = self._team, Partition(self._team.rank, self._team.size)
        touched = np.flatnonzero(self._touched)
        owners = partition.owner(touched)
        touched = touched[np.argsort(owners, kind="stable")]
        facts = np.zeros(_FACTS + team.size, np.int64)
        facts[_MORE] = n_done == self._hp._sync_interval
        facts[_STOPS] = self._asked_to_stop()
        facts[_DENSE] = -1 if self._solver is None else self._is_dense
        facts[_STEPS] = n_done
        facts[_FACTS:] = np.bincount(owners, minlength=team.size)
        table = team.rows.gather(facts)
        kinds = set(table[:, _DENSE].tolist()) - {-1}
        if len(kinds) > 1:
            raise DataError("some hosts read dense rows and others sparse ones")
        if kinds and self._solver is None:  # this member has had no row yet
            self._start(bool(kinds.pop()))
        if self._solver is not None:
            self._average(touched, table)
        self._touched[:] = False
        self.stopped = bool(table[:, _STOPS].any())
        return bool(table[:, _MORE].any()) and not self.stopped

    def _average(self, touched: NDArray[np.int64], table: NDArray[np.int64]) -> None:
        team, solver = self._team, self._solver
        assert solver is not None
        width = solver.params.shape[1]
        to, by = table[team.rank, _FACTS:], table[:, _FACTS + team.rank]
        partition = Partition(team.rank, team.size)
        keys = team.rows.exchange(partition.local(touched).astype(np.int32), to, by)
        rows = team.rows.exchange(np.hstack([solver.params[touched], solver.state[touched]]), to, by)
        owned, place = np.unique(keys, return_inverse=True)
        sums = np.zeros((len(owned), rows.shape[1]), np.float32)
        counts = np.zeros((len(owned), 1), np.float32)
        end = 0
        for n in by.tolist():  # the members' order; a member names a feature once
            at = place[end : end + n]
            sums[at] += rows[end : end + n]
            counts[at] += 1
            end += n
        means = sums / np.maximum(counts, 1)
        sizes = team.rows.gather(np.array([len(owned)], np.int64))[:, 0].tolist()
        told = zip(given_to_all(owned, sizes, team), given_to_all(means, sizes, team), strict=True)
        for (owner, rows_of), (_, values) in told:
            features = partition.of(owner).global_ids(rows_of)
            solver.params[features] = values[:, :width]
            solver.state[features] = values[:, width:]
        made_steps = table[:, _STEPS] > 0
        biases = team.rows.gather(solver.bias.astype(np.float64))[made_steps]
        if len(biases):
            solver.bias[:] = np.add.reduce(biases, axis=0) / len(biases)
        solver.n_steps = int(team.rows.gather(np.array([solver.n_steps], np.int64)).max())
        if not np.isfinite(solver.bias).all():
            raise DivergenceError(f"{self.moment}: the mean of the hosts' parameters is no longer finite")
