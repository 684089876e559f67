"""fit, with the whole model on a device of every member: dense data on several hosts that have GPUs.

Dense rows touch every feature, so that there is nothing to gain from sharing rows of the model out, and much
to send. Each member keeps all of it on its devices (on_device.py). A step:

1. gradient  each member has that of its rows, summed over its devices; one without rows has zeros.
2. sum       the gradients are cut into as many pieces as there are members. Each member gets its piece of
             everybody's, adds them in the members' order, and sends the sum to all.
3. update    every member makes the same step from the same sum, divided by the rows of all.

So n members with mini batches of m are one host with mini batches of n * m, as in distributed.py, whose
training this is: `Replicas` stands in for keys and rows there. To all others a member shows its share of the
features, which is what `distributed.ShardedSolver` has: checkpoints, also those of another number of hosts,
and the model that is saved do not differ.

Gradients go by the lanes of the team, from host memory: through gloo, not NCCL.
"""

import dataclasses
import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.checkpoints.file import Checkpoint
from fm_core.cluster.sharded import Members, Rows, evaluate_shares, given_to_all, part_of
from fm_core.errors import DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.partition import Partition
from fm_core.solvers.minibatch_torch import DenseDevice
from fm_core.training.loop import Solver, _cause

__all__ = ["Replicas", "ReplicatedSolver", "added_up"]

Floats = NDArray[np.float32]
#: Given a list of tensors, replaces each by its sum over all members.
Reduce = Callable[[list[Any]], None]

_log = logging.getLogger(__name__)


class _Turn(NamedTuple):
    """A step, as far as it depends on the data: this member's rows, perhaps none, on their way to the devices."""

    original: Batch
    staged: Any
    writes_checkpoint: bool
    is_dense: bool = True
    touched: None = None


class Replicas:
    """The devices of all members: whether they are used, and what is different of a training if so.

    Parameters
    ----------
    open_device : callable
        Called once, if the data is dense: makes this member's device, given its `reduce`; or None.
    team : Team
    """

    def __init__(self, open_device: Callable[[Reduce], DenseDevice | None], team: Members) -> None:
        self._open = open_device
        self._team = team
        self._device: DenseDevice | None = None
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
            told = self._team.keys.gather(np.array([-1 if is_dense is None else is_dense], np.int64))
            kinds = set(told[:, 0].tolist()) - {-1}
            if kinds == {1}:
                self._open_together()
            self._is_decided = bool(kinds)
        return self._device is not None

    def _open_together(self) -> None:
        device = self._open(self._reduce)
        lacking = np.flatnonzero(self._team.keys.gather(np.array([device is not None], np.int64))[:, 0] == 0)
        if not len(lacking):
            self._device = device
        elif device is not None:
            device.release()
            _log.warning(
                "Not every host has a GPU that can be used (of all, counted from 0, these have none: %s): all hosts "
                "train on their CPUs.", ", ".join(map(str, lacking)),
            )  # fmt: skip

    def _reduce(self, tensors: list[Any]) -> None:
        """Add up the gradients of all members, that of w0 in float64."""
        gradient, of_bias = tensors
        host = gradient.cpu()  # the tensor itself where that is its device
        added_up(host.view(-1).numpy(), self._team)
        if host is not gradient:
            gradient.copy_(host)
        self._bias_gradient = sum(self._team.rows.gather(np.array([float(of_bias)]))[:, 0].tolist())
        of_bias.fill_(self._bias_gradient)

    # --- what a training asks for ---

    def turn(self, batch: Batch | None, feature_dim: int, writes_checkpoint: bool) -> _Turn:
        """Begin to copy this member's rows of a step to its devices; called ahead, from another thread.

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
        return _Turn(batch, self._device.stage(batch), writes_checkpoint)

    def solver(
        self, hyperparameters: Hyperparameters, num_threads: int, model: Model | None, checkpoint: Checkpoint | None
    ) -> "ReplicatedSolver":
        """Make the solver, from what `distributed.ShardedSolver` is made from."""
        assert self._device is not None
        team, mine = self._team, part_of(hyperparameters, self._team)
        # `mini_batch_size` is that of all members, by which gradients are divided
        whole = dataclasses.replace(hyperparameters, mini_batch_size=mine.mini_batch_size)
        if checkpoint is not None:
            params, state = (_whole(part, whole.feature_dim, team) for part in (checkpoint.params, checkpoint.state))
            checkpoint = dataclasses.replace(checkpoint, params=params, state=state, changed=None, best=None)
        solver = self._device.solver(whole, num_threads, model, checkpoint)
        return ReplicatedSolver(solver, mine, team, lambda: self._bias_gradient)

    def evaluate(
        self,
        solver: "ReplicatedSolver",
        data: Rows,
        hyperparameters: Hyperparameters,
        epoch: int,
        should_stop: Callable[[], bool],
    ) -> tuple[dict[str, float], int] | None:
        """Score data once over all members, each its share on its devices; see `distributed.evaluate_together`."""
        return evaluate_shares(solver.predict, data, hyperparameters, self._team, epoch=epoch, should_stop=should_stop)


class ReplicatedSolver:
    """As `solver.Solver`, with the whole model where `whole` keeps it; its arrays are this member's rows of that.

    Parameters
    ----------
    whole : Solver
        Its gradients are summed over all members.
    hyperparameters : Hyperparameters
        Those of this member's rows.
    team : Team
    bias_gradient : callable
        Gives that of w0 of the last step, summed over all members.
    """

    def __init__(
        self, whole: Solver, hyperparameters: Hyperparameters, team: Members, bias_gradient: Callable[[], float]
    ) -> None:
        self.hyperparameters = hyperparameters
        self._whole = whole
        self._team = team
        self._gradient_of_bias = bias_gradient

    def step(self, turn: _Turn) -> Floats:
        """Score this member's rows of a step, then update the parameters from everybody's.

        Raises
        ------
        DivergenceError
            A score, on any member, is not finite: all of them raise it.
        """
        scores = self._whole.step(turn.original, turn.staged)
        if not math.isfinite(self._gradient_of_bias()):
            cause = _cause(self.hyperparameters)
            raise DivergenceError(f"scores are no longer finite at update {self.n_steps}{cause}")
        return scores

    def predict(self, batch: Batch) -> Floats:
        """Score a batch with the whole model as it is now."""
        return self._whole.predict(batch)

    @property
    def n_steps(self) -> int:
        """Updates so far."""
        return self._whole.n_steps

    @property
    def params(self) -> Floats:
        """Rows of the parameters, this member's: a copy."""
        return _share(self._whole.params, self._team)

    @property
    def state(self) -> Floats:
        """Rows of the optimizer's state, this member's: a copy."""
        return _share(self._whole.state, self._team)

    @property
    def bias(self) -> Floats:
        """w0 and its state, which are the same on all members."""
        return self._whole.bias

    @property
    def model(self) -> Model:
        """Rows of the model, this member's: a copy."""
        return Model.of_params(self.hyperparameters.predictor_type, float(self.bias[0]), self.params)


# ---------------------------------------------------------------- between members


def added_up(mine: Floats, team: Members) -> None:
    """Replace an array by the sum of all members' arrays, added in their order: the same bits on each.

    Parameters
    ----------
    mine : ndarray of float32, shape (n,)
        Changed in place.
    team : Team
        Of n numbers each member sends 2 n (size - 1) / size to others.
    """
    cuts = [len(mine) * rank // team.size for rank in range(team.size + 1)]
    sizes = np.diff(cuts).tolist()
    n = sizes[team.rank]
    pieces = team.rows.exchange(mine, sizes, [n] * team.size).reshape(team.size, n)
    total = pieces[0].copy()
    for piece in pieces[1:]:
        total += piece
    mine[:] = team.rows.exchange(np.tile(total, team.size), [n] * team.size, sizes)


def _share(whole: Floats, team: Members) -> Floats:
    """Give this member's rows of an array, as `distributed` has them."""
    partition = Partition(team.rank, team.size)
    share = np.zeros((partition.n_rows(len(whole)), whole.shape[1]), np.float32)
    rows = whole[partition.rows]
    share[: len(rows)] = rows
    return share


def _whole(share: Floats, feature_dim: int, team: Members) -> Floats:
    """An array, of which each member has its rows."""
    whole = np.empty((feature_dim, share.shape[1]), np.float32)
    partition = Partition(team.rank, team.size)
    sizes = [partition.of(rank).n_features(feature_dim) for rank in range(team.size)]
    for owner, rows in given_to_all(share[: sizes[team.rank]], sizes, team):
        whole[partition.of(owner).rows] = rows
    return whole
