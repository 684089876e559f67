"""fit, with local steps and periodic averages (local SGD): for networks too slow for sharded.py.

Each member keeps the whole model and trains on its own mini batches like a single host. After `_sync_interval` of them,
or fewer if its data ends, all members meet. For each feature that any of them has touched since the last meeting,
parameters and optimizer state become the mean over the members that touched it, added in the order of the members; w0
becomes the mean over those that made a step. So all members have the same bits after each meeting, and what one member
alone has learned about a rare feature is kept in full. The result is not the model of one host, but it is the same in
every run, and for any number of threads.

The owner of a feature (partition.py) computes its mean and sends it to all others.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.cluster.collectives import broadcasts, sum_metrics
from fm_core.cluster.data import DistributedData, local_batches
from fm_core.cluster.evaluation import evaluate_shared
from fm_core.cluster.members import LARGE, Floats, Members, partition_of, told_where
from fm_core.errors import DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.metrics import Metrics
from fm_core.model import Model
from fm_core.solvers.base import Learner, Moment, SafePoint, SolverState
from fm_core.solvers.minibatch import MiniBatch, MiniBatchSolver
from fm_core.training.callbacks import Callback, FitResult, Silent
from fm_core.training.early_stopping import check_validation
from fm_core.training.loop import Feed, Loop
from fm_core.training.prefetch import DEPTH, prefetch

__all__ = ["AveragedHosts", "AveragedSolver", "fit_local_sgd"]

#: What each member says at a meeting, before how many features it has touched of each owner.
_MORE, _STOPS, _STEPS, _FACTS = range(4)


def fit_local_sgd(
    data: DistributedData,
    hyperparameters: Hyperparameters,
    members: Members,
    *,
    num_threads: int = 1,
    model: Model | None = None,
    validation: DistributedData | None = None,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train a model with the other members of a process group; each member calls this.

    Parameters
    ----------
    data : DistributedData
    hyperparameters : Hyperparameters
        The same on every member; `mini_batch_size` is each member's.
    members : Members
    num_threads, model, callback, should_stop
        As for `fit`; one member that has to stop stops all. There are no checkpoints.
    validation : DistributedData, optional

    Returns
    -------
    result : FitResult
        Its model is whole, and the same on every member.

    Raises
    ------
    ProcessGroupError
        A member was lost, or gave up.
    """
    check_validation(hyperparameters, validation)
    data = data.class_weighted(hyperparameters)
    validation = None if validation is None else validation.class_weighted(hyperparameters)
    hosts = AveragedHosts(hyperparameters, members, num_threads, should_stop)
    loop = Loop(hyperparameters, hosts, callback or Silent(), model)
    del model  # it may be large, and is not needed once training has started
    return told_where(loop, lambda: loop.run(data, validation))


class AveragedHosts:
    """The hosts of such a training: see `training.loop.Hosts`. Steps are a member's own, decisions are everybody's."""

    where = " on any host"

    def __init__(
        self, hyperparameters: Hyperparameters, members: Members, num_threads: int, should_stop: Callable[[], bool]
    ) -> None:
        self._hp = hyperparameters
        self._members = members
        self._num_threads = num_threads
        self._algorithm = MiniBatch(num_threads)
        self._asked_to_stop = should_stop
        self._is_dense: bool | None = None
        self._solver: AveragedSolver | None = None
        self._stopped = False

    def should_stop(self) -> bool:
        """Whether all have agreed to."""
        return self._stopped or (self._solver is not None and self._solver.stopped)

    @contextlib.contextmanager
    def feed(self, data: DistributedData, at: Moment, labels_crc: int) -> Iterator[Feed]:
        """Read this member's batches ahead; see `Hosts.feed`."""

        def prepared() -> Iterator[tuple[Batch, Any]]:
            for batch in local_batches(data, at.epoch, self._members, self._hp, is_trained=True):
                yield batch, self._algorithm.prepare(batch)

        with prefetch(prepared, DEPTH, self._asked_to_stop) as items:
            first = next(items, None)
            if self._is_dense is None:
                self._agree(None if first is None else first[0].is_dense)
            yield Feed(self._is_dense, items if first is None else itertools.chain([first], items))

    def _agree(self, is_dense: bool | None) -> None:
        """Find out what kind of data all have: a member may have none."""
        told = np.array([-1 if is_dense is None else is_dense, self._asked_to_stop()], np.int64)
        table = self._members.rows.all_gather(told)
        kinds = set(table[:, 0].tolist()) - {-1}
        if len(kinds) > 1:
            raise DataError("some hosts read dense rows and others sparse ones, expected all of one kind")
        self._stopped = bool(table[:, 1].any())
        if kinds and not self._stopped:
            self._is_dense = bool(kinds.pop())

    def make_solver(self, is_dense: bool | None, model: Model | None, state: SolverState | None) -> Learner:
        """Create this member's solver; see `Hosts.make_solver`."""
        own = MiniBatchSolver(self._hp, self._num_threads, model, state)
        self._solver = AveragedSolver(own, self._members, self._asked_to_stop)
        return self._solver

    def total(self, metrics: Metrics) -> Metrics:
        """Sum the metrics of all members; see `Hosts.total`."""
        return sum_metrics(metrics, self._members, self._hp.predictor_type)

    def total_so_far(self, metrics: Metrics) -> Metrics:
        """Return this member's metrics: within an epoch members are at different steps; see `Hosts.total_so_far`."""
        return metrics

    def n_batches(self, n: int) -> int:
        """Sum the batches of all members; see `Hosts.n_batches`."""
        return int(self._members.rows.all_gather(np.array([n], np.int64)).sum())

    def evaluate(self, data: DistributedData, epoch: int) -> tuple[dict[str, float], int] | None:
        """Score data once over all members; see `Hosts.evaluate`."""
        assert self._solver is not None
        found = evaluate_shared(
            self._solver.model, data, self._hp, self._members,
            epoch=epoch, num_threads=self._num_threads, should_stop=self._asked_to_stop,
        )  # fmt: skip
        self._stopped = found is None
        return found


class AveragedSolver(Learner):
    """The steps of one member, and after every few of them a meeting.

    Parameters
    ----------
    own : MiniBatchSolver
    members : Members
    should_stop : callable
        Whether this member was asked to; all do after the next meeting.

    Attributes
    ----------
    stopped : bool
        Whether all have agreed to stop.
    """

    def __init__(self, own: MiniBatchSolver, members: Members, should_stop: Callable[[], bool]) -> None:
        self._own = own
        self._members = members
        self._should_stop = should_stop
        self._interval = own.hyperparameters._sync_interval
        self._touched = np.zeros(own.hyperparameters.feature_dim, bool)
        self.stopped = False

    @property
    def n_steps(self) -> int:
        """Updates so far, of the member that has made most."""
        return self._own.n_steps

    @property
    def remedy(self) -> str:
        """See `minibatch.remedy`."""
        return self._own.remedy

    @property
    def model(self) -> Model:
        """The model as it is here: on all members the same after a meeting."""
        return self._own.model

    def arrays(self) -> Mapping[str, Floats]:
        """Those of this member."""
        return self._own.arrays()

    def check(self) -> None:
        """See `Parameters.check`."""
        self._own.check()

    def epoch(self, data: Iterable[tuple[Batch, Any]], at: Moment) -> Iterator[SafePoint]:
        """Make a step from each batch, and average until no member has any left; see `Learner.epoch`."""
        batches = iter(data)
        more = True
        while more:
            n_done = 0
            for point in self._own.epoch(itertools.islice(batches, self._interval), at):
                self._touched[slice(None) if point.changed is None else point.changed] = True
                n_done += 1
                yield point
            more = self._meet(n_done)

    def _meet(self, n_done: int) -> bool:
        """Average what was touched since the last meeting; False: the epoch is over, or training has to stop."""
        members, partition = self._members, partition_of(self._members)
        touched = np.flatnonzero(self._touched)
        owners = partition.owner(touched)
        touched = touched[np.argsort(owners, kind="stable")]
        facts = np.zeros(_FACTS + members.size, np.int64)
        facts[_MORE] = n_done == self._interval
        facts[_STOPS] = self._should_stop()
        facts[_STEPS] = n_done
        facts[_FACTS:] = np.bincount(owners, minlength=members.size)
        table = members.rows.all_gather(facts)
        self._average(touched, table)
        self._touched[:] = False
        self.stopped = bool(table[:, _STOPS].any())
        return bool(table[:, _MORE].any()) and not self.stopped

    def _average(self, touched: NDArray[np.int64], table: NDArray[np.int64]) -> None:
        members, at, partition = self._members, self._own.parameters, partition_of(self._members)
        width = at.params.shape[1]
        to, by = table[members.rank, _FACTS:], table[:, _FACTS + members.rank]
        keys = members.rows.all_to_all(partition.local(touched).astype(np.int32), to, by)
        mine = np.hstack([at.params[touched], at.state[touched]])
        is_large = bool(table[:, _FACTS:].max() * mine.itemsize * mine.shape[1] >= LARGE)
        rows = members.rows.all_to_all(mine, to, by, is_large=is_large)
        owned, place = np.unique(keys, return_inverse=True)
        sums = np.zeros((len(owned), rows.shape[1]), np.float32)
        counts = np.zeros((len(owned), 1), np.float32)
        end = 0
        for n in by.tolist():  # the members' order; a member names a feature once
            here = place[end : end + n]
            sums[here] += rows[end : end + n]
            counts[here] += 1
            end += n
        means = sums / np.maximum(counts, 1)
        sizes = members.rows.all_gather(np.array([len(owned)], np.int64))[:, 0].tolist()
        told = zip(broadcasts(owned, sizes, members), broadcasts(means, sizes, members), strict=True)
        for (owner, rows_of), (_, values) in told:
            features = partition.of(owner).global_ids(rows_of)
            at.params[features] = values[:, :width]
            at.state[features] = values[:, width:]
        made_steps = table[:, _STEPS] > 0
        biases = members.rows.all_gather(at.bias.astype(np.float64))[made_steps]
        if len(biases):
            at.bias[:] = np.add.reduce(biases, axis=0) / len(biases)
        at.n_steps = int(members.rows.all_gather(np.array([at.n_steps], np.int64)).max())
        if not np.isfinite(at.bias).all():
            raise DivergenceError("the mean of the hosts' parameters is no longer finite")
