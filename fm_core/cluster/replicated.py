"""fit, with the whole model on a device of every member: dense data on several hosts with GPUs.

Dense rows touch every feature, so dividing the rows of the model would save nothing and send much. Each member
keeps the whole model on its devices (solvers/minibatch_torch.py). A step:

1. gradient  each member computes that of its rows, summed over its devices; without rows it is zero.
2. sum       the gradients are divided into as many pieces as there are members. Each member receives its piece from
             all, adds the pieces in the order of the members, and sends the sum to all.
3. update    every member makes the same step from the same sum, divided by the rows of all.

So n members with mini batches of m learn what one host with mini batches of n * m learns, as in sharded.py, whose
training this is: `Replicas` replaces its keys and rows. To all other code, a member shows its share of the
features, like `sharded_solver.ShardedSolver`: checkpoints, also those of another number of hosts, and the saved
model do not differ.

Gradients are exchanged by the members' communicators, from host memory: through gloo, not NCCL.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from fm_core.batch import Batch
from fm_core.cluster.collectives import all_reduce, broadcasts
from fm_core.cluster.data import local_hyperparameters
from fm_core.cluster.members import Floats, Members, partition_of
from fm_core.cluster.steps import safe_point
from fm_core.cluster.wire import on_wire
from fm_core.errors import DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers import registry
from fm_core.solvers.base import Learner, Moment, SafePoint, SolverState
from fm_core.solvers.parameters import Parameters

__all__ = ["Replicas", "ReplicatedSolver", "ReplicatedStep"]

#: Given a list of tensors, replaces each by its sum over all members.
Reduce = Callable[[list[Any]], None]

_log = logging.getLogger(__name__)


class WholeSolver(Protocol):
    """What is asked of the solver on a member's devices; `minibatch_torch.TorchSolver` is one."""

    @property
    def n_steps(self) -> int: ...

    @property
    def remedy(self) -> str: ...

    @property
    def parameters(self) -> Parameters: ...

    def predict(self, batch: Batch) -> Floats: ...

    def step(self, batch: Batch, staged: Any = None) -> Floats: ...

    def check(self) -> None: ...


class Device(Protocol):
    """What is asked of a member's devices; `minibatch_torch.DenseDevice` is one."""

    def release(self) -> None: ...

    def stage(self, batch: Batch) -> Any: ...

    def solver(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> WholeSolver: ...


class ReplicatedStep(NamedTuple):
    """A step, as far as it depends on the data: this member's rows, perhaps none, on their way to the devices."""

    original: Batch
    staged: Any
    writes_checkpoint: bool
    is_dense: bool = True


class Replicas:
    """The devices of all members: whether they are used, and what is different of a training if so.

    Parameters
    ----------
    open_device : callable
        Called once, if the data is dense: makes this member's device, given its `reduce`; or None.
    members : Members
    """

    def __init__(self, open_device: Callable[[Reduce], Device | None], members: Members) -> None:
        self._open = open_device
        self._members = members
        self._device: Device | None = None
        self._wire_dtype = "float32"
        self._is_decided = False
        self._bias_gradient = 0.0

    def are_used(self, is_dense: bool | None) -> bool:
        """Agree with the other members, once, on whether the training is on devices.

        Parameters
        ----------
        is_dense : bool or None
            What data this member has; None: no row yet.

        Returns
        -------
        are_used : bool
            The same on every member: the data is dense, and each of them has a device.
        """
        if not self._is_decided:
            told = self._members.keys.all_gather(np.array([-1 if is_dense is None else is_dense], np.int64))
            kinds = set(told[:, 0].tolist()) - {-1}
            if kinds == {1}:
                self._open_together()
            self._is_decided = bool(kinds)
        return self._device is not None

    def _open_together(self) -> None:
        device = self._open(self._reduce)
        has_device = self._members.keys.all_gather(np.array([device is not None], np.int64))[:, 0] == 1
        if registry.dense_hosts(has_device.tolist()) == "replicated":
            self._device = device
        elif device is not None:
            device.release()
            _log.warning(
                "Not every host has a usable GPU (hosts without one, counted from 0: %s): all hosts "
                "train on their CPUs.", ", ".join(map(str, np.flatnonzero(~has_device))),
            )  # fmt: skip

    def _reduce(self, tensors: list[Any]) -> None:
        """Add up the gradients of all members, that of w0 in float64."""
        gradient, of_bias = tensors
        host = gradient.cpu()  # the tensor itself where that is its device
        all_reduce(host.view(-1).numpy(), on_wire(self._members, self._wire_dtype))
        if host is not gradient:
            gradient.copy_(host)
        self._bias_gradient = sum(self._members.rows.all_gather(np.array([float(of_bias)]))[:, 0].tolist())
        of_bias.fill_(self._bias_gradient)

    # --- what a training asks for ---

    def step(self, batch: Batch | None, feature_dim: int, writes_checkpoint: bool) -> ReplicatedStep:
        """Start to copy this member's rows of a step to its devices; called ahead, in another thread.

        Parameters
        ----------
        batch : Batch or None
            None: this member has no rows left.
        feature_dim : int
        writes_checkpoint : bool
            Whether a checkpoint follows the step.

        Returns
        -------
        step : ReplicatedStep

        Raises
        ------
        DataError
            The rows are sparse, and those before were dense.
        """
        assert self._device is not None
        if batch is None:
            batch = Batch.empty(feature_dim, is_dense=True)
        if not batch.is_dense:
            raise DataError("sparse rows follow dense ones, expected all of one kind")
        return ReplicatedStep(batch, self._device.stage(batch), writes_checkpoint)

    def solver(
        self, hyperparameters: Hyperparameters, num_threads: int, model: Model | None, state: SolverState | None
    ) -> "ReplicatedSolver":
        """Create the solver.

        Parameters
        ----------
        hyperparameters : Hyperparameters
            Those of the job.
        num_threads : int
        model : Model or None
            The model to start from.
        state : SolverState or None
            The state of a checkpoint.

        Returns
        -------
        solver : ReplicatedSolver
        """
        assert self._device is not None
        self._wire_dtype = hyperparameters._wire_dtype
        members, mine = self._members, local_hyperparameters(hyperparameters, self._members)
        # `mini_batch_size` is that of all members, by which gradients are divided
        whole = dataclasses.replace(hyperparameters, mini_batch_size=mine.mini_batch_size)
        if state is not None:
            gathered = {
                name: _whole(array, whole.feature_dim, members) if name in ("params", "state") else array
                for name, array in state.arrays.items()
            }
            state = SolverState(state.n_steps, gathered)
        solver = self._device.solver(whole, num_threads, model, state)
        return ReplicatedSolver(solver, mine, members, lambda: self._bias_gradient)


class ReplicatedSolver(Learner):
    """The whole model where `whole` keeps it; its arrays are this member's rows of that.

    Parameters
    ----------
    whole : WholeSolver
        Its gradients are summed over all members.
    hyperparameters : Hyperparameters
        Those of this member's rows.
    members : Members
    bias_gradient : callable
        Gives that of w0 of the last step, summed over all members.
    """

    def __init__(
        self,
        whole: WholeSolver,
        hyperparameters: Hyperparameters,
        members: Members,
        bias_gradient: Callable[[], float],
    ) -> None:
        self.hyperparameters = hyperparameters
        self.whole = whole
        self._members = members
        self._gradient_of_bias = bias_gradient

    def epoch(self, data: Iterable[ReplicatedStep], at: Moment) -> Iterator[SafePoint]:
        """Make the steps; see `Learner.epoch`."""
        for step in data:
            yield safe_point(step, self.step(step), None)

    def step(self, step: ReplicatedStep) -> Floats:
        """Score this member's rows of a step, then update the parameters with the rows of all members.

        Parameters
        ----------
        step : ReplicatedStep

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)

        Raises
        ------
        DivergenceError
            A score, on any member, is not finite: all of them raise it.
        """
        scores = self.whole.step(step.original, step.staged)
        if not math.isfinite(self._gradient_of_bias()):
            raise DivergenceError(f"scores are no longer finite at update {self.n_steps}{self.remedy}")
        return scores

    def predict(self, batch: Batch) -> Floats:
        """Score a batch with the current model; see `Solver.predict`."""
        return self.whole.predict(batch)

    @property
    def n_steps(self) -> int:
        """Updates so far."""
        return self.whole.n_steps

    @property
    def remedy(self) -> str:
        """See `minibatch.remedy`."""
        return self.whole.remedy

    def check(self) -> None:
        """See `Parameters.check`, of the whole model."""
        self.whole.check()

    def arrays(self) -> Mapping[str, Floats]:
        """Copy the rows of parameters and optimizer's state that are this member's; w0 is the same on all members."""
        whole = self.whole.parameters
        return {
            "bias": whole.bias,
            "params": _share(whole.params, self._members),
            "state": _share(whole.state, self._members),
        }

    @property
    def model(self) -> Model:
        """Rows of the model, this member's: a copy."""
        whole = self.whole.parameters
        params = _share(whole.params, self._members)
        return Model.of_params(self.hyperparameters.predictor_type, float(whole.bias[0]), params)


def _share(whole: Floats, members: Members) -> Floats:
    """Give this member's rows of an array, as a sharded model has them."""
    partition = partition_of(members)
    share = np.zeros((partition.n_rows(len(whole)), whole.shape[1]), np.float32)
    rows = whole[partition.rows]
    share[: len(rows)] = rows
    return share


def _whole(share: Floats, feature_dim: int, members: Members) -> Floats:
    """An array, of which each member has its rows."""
    whole = np.empty((feature_dim, share.shape[1]), np.float32)
    partition = partition_of(members)
    sizes = [partition.of(rank).n_features(feature_dim) for rank in range(members.size)]
    for owner, rows in broadcasts(share[: sizes[members.rank]], sizes, members):
        whole[partition.of(owner).rows] = rows
    return whole
