"""fit, with the model's rows divided among the members of a process group: exactly the model of one host.

Feature f is the row ``f // n`` of member ``f % n``, which also keeps its optimizer's state, so memory per member
falls as members are added. A step trains on one mini batch of each member:

1. keys    each member asks the owners for the rows that its batch touches. This depends on data only. The reading
           thread does it some steps ahead, while earlier steps are computed (steps.py).
2. rows    the owners send them; each member scores its batch and computes the gradient of each of those rows.
3. update  gradients go back to the owners, which add them in the order of the members and update each row once
           (sharded_solver.py).

So n members with mini batches of m learn what one host learns with mini batches of n * m, made of the members'
batches in their order. Sums differ in the last bits, and are the same in every run. Every member has w0, and updates
it from the same sum. A member without more data serves rows until all are done. Whether to stop, and when to
write a checkpoint, is sent with the keys, so that all do it after the same step.

Dense data on members that all have devices uses the same steps differently: see replicated.py.

`process_group.ProcessGroup` exchanges the arrays; only it uses PyTorch.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator

from fm_core.batch import Batch
from fm_core.checkpoints.state import Checkpoint
from fm_core.cluster.checkpoints import SharedCheckpointer
from fm_core.cluster.collectives import sum_metrics
from fm_core.cluster.data import DistributedData, local_batches
from fm_core.cluster.evaluation import evaluate_shares, evaluate_together
from fm_core.cluster.members import Members, told_where
from fm_core.cluster.replicated import Replicas, ReplicatedSolver
from fm_core.cluster.sharded_solver import ShardedSolver
from fm_core.cluster.steps import PlannedStep, StepPlanner
from fm_core.hyperparameters import Hyperparameters
from fm_core.metrics import Metrics
from fm_core.model import Model
from fm_core.solvers.base import Learner, Moment, SolverState
from fm_core.training.callbacks import Callback, FitResult, Silent
from fm_core.training.early_stopping import check_validation
from fm_core.training.loop import Feed, Loop
from fm_core.training.prefetch import DEPTH, prefetch
from fm_core.training.resume import compare_labels, pass_over

__all__ = ["ShardedHosts", "fit_together"]


def fit_together(
    data: DistributedData,
    hyperparameters: Hyperparameters,
    members: Members,
    *,
    num_threads: int = 1,
    model: Model | None = None,
    validation: DistributedData | None = None,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: Checkpoint | None = None,
    checkpointer: SharedCheckpointer | None = None,
    replicas: Replicas | None = None,
) -> FitResult:
    """Train a model with the other members of a process group, each of which calls this.

    Parameters
    ----------
    data : DistributedData
    hyperparameters : Hyperparameters
        The same on every member. `mini_batch_size` is each member's.
    members : Members
    num_threads, model, callback, should_stop
        As for `fit`; one member that has to stop stops all.
    validation : DistributedData, optional
    resume : Checkpoint, optional
        Of this member's rows.
    checkpointer : SharedCheckpointer, optional
    replicas : Replicas, optional
        Where dense data is learned from, with the whole model on every member.

    Returns
    -------
    result : FitResult
        Its model has this member's rows only; `GatheredModel` makes one of all of them. Metrics are those of all.

    Raises
    ------
    ProcessGroupError
        A member was lost, or gave up.
    """
    check_validation(hyperparameters, validation)
    data = data.class_weighted(hyperparameters)
    validation = None if validation is None else validation.class_weighted(hyperparameters)
    hosts = ShardedHosts(hyperparameters, members, num_threads, should_stop, checkpointer, replicas)
    loop = Loop(hyperparameters, hosts, callback or Silent(), model, checkpointer)
    del model  # it may be large, and is not needed once training has started
    return told_where(loop, lambda: loop.run(data, validation, resume))


class ShardedHosts:
    """The hosts of a sharded training: see `training.loop.Hosts`. All decisions are collective."""

    where = " on any host"

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        members: Members,
        num_threads: int,
        should_stop: Callable[[], bool],
        checkpointer: SharedCheckpointer | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self._hp = hyperparameters
        self._members = members
        self._num_threads = num_threads
        self._asked_to_stop = should_stop
        self._checkpointer = checkpointer
        self._replicas = replicas
        self._solver: ShardedSolver | ReplicatedSolver | None = None
        self._stopped = False

    def should_stop(self) -> bool:
        """Whether all have agreed to."""
        return self._stopped

    @contextlib.contextmanager
    def feed(self, data: DistributedData, at: Moment, labels_crc: int) -> Iterator[Feed]:
        """Plan the steps together with the other members, some ahead; see `Hosts.feed`."""
        asks = (lambda: False) if self._checkpointer is None else self._checkpointer.asks
        planner = StepPlanner(self._members, self._hp, self._asked_to_stop, asks, self._replicas, sums=True)

        def planned() -> Iterator[PlannedStep]:
            stream = local_batches(data, at.epoch, self._members, self._hp, is_trained=True)
            self._leave_out(stream, at, labels_crc)
            return planner(stream)

        def to_the_end(steps: Iterator[PlannedStep]) -> Iterator[PlannedStep]:
            yield from steps
            self._stopped = planner.stopped  # not before: this member would stop some steps before others

        with prefetch(planned, DEPTH) as ready:
            steps = to_the_end(ready)
            first = next(steps, None)
            yield Feed(None, steps) if first is None else Feed(first.is_dense, itertools.chain([first], steps))

    def _leave_out(self, stream: Iterator[Batch], at: Moment, labels_crc: int) -> None:
        _, crc = pass_over(stream, at.n_batches)  # a member that had run out has fewer
        if not self._asked_to_stop():
            compare_labels(crc, labels_crc, at.epoch)

    def make_solver(self, is_dense: bool | None, model: Model | None, state: SolverState | None) -> Learner:
        """Create the solver of this member's rows, or of all rows if they are on devices; see `Hosts.make_solver`."""
        if is_dense is not None and self._replicas is not None and self._replicas.are_used(is_dense):
            self._solver = self._replicas.solver(self._hp, self._num_threads, model, state)
        else:
            self._solver = ShardedSolver(self._hp, self._members, self._num_threads, model, state)
        return self._solver

    def total(self, metrics: Metrics) -> Metrics:
        """Sum the metrics of all members; see `Hosts.total`."""
        return sum_metrics(metrics, self._members, self._hp.predictor_type)

    total_so_far = total

    def n_batches(self, n: int) -> int:
        """Return the number unchanged, because every member makes every step; see `Hosts.n_batches`."""
        return n

    def evaluate(self, data: DistributedData, epoch: int) -> tuple[dict[str, float], int] | None:
        """Score data once over all members; see `Hosts.evaluate`."""
        assert self._solver is not None
        if isinstance(self._solver, ReplicatedSolver):
            score = functools.partial(evaluate_shares, self._solver.predict)
        else:
            score = functools.partial(evaluate_together, self._solver.model, num_threads=self._num_threads)
        found = score(data, self._hp, self._members, epoch=epoch, should_stop=self._asked_to_stop)
        self._stopped = found is None
        return found
