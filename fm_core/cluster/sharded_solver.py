"""The update of a model whose rows are divided among members, for one step of all; see sharded.py."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator

import numpy as np

import fm_core.kernels._sharded as numbers
from fm_core.cluster.data import local_hyperparameters
from fm_core.cluster.members import Floats, Members, partition_of
from fm_core.cluster.steps import Step, safe_point
from fm_core.cluster.summed import SummedStep, scored_by_sums
from fm_core.cluster.wire import on_wire
from fm_core.errors import DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import Step as Rates
from fm_core.kernels import in_use, padded
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.solvers.base import Moment, SafePoint, SolverState
from fm_core.solvers.parameters import Parameters, ParametersLearner, rates

__all__ = ["ShardedSolver", "scored"]


class ShardedSolver(ParametersLearner):
    """The rows of this member, and their update.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Those of the whole model.
    members : Members
    num_threads : int
    model : Model, optional
        The whole model to start from.
    state : SolverState, optional
        To go on from, with this member's rows.

    Attributes
    ----------
    hyperparameters : Hyperparameters
        See `local_hyperparameters`.
    parameters : Parameters
        With this member's rows.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        members: Members,
        num_threads: int = 1,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> None:
        super().__init__(
            local_hyperparameters(hyperparameters, members),
            Parameters.make(hyperparameters, num_threads, model, state, partition_of(members)),
        )
        self._members = on_wire(members, hyperparameters._wire_dtype)
        self._num_threads = num_threads

    def epoch(self, data: Iterable[Step | SummedStep], at: Moment) -> Iterator[SafePoint]:
        """Make the steps; see `Learner.epoch`."""
        for step in data:
            scores = self.step(step)
            is_lazy = self.hyperparameters.lazy_update and not step.is_dense
            yield safe_point(step, scores, step.touched if is_lazy else None)

    def step(self, step: Step | SummedStep) -> Floats:
        """Score this member's rows of a step, then update its parameters with the rows of all members.

        Parameters
        ----------
        step : Step or SummedStep

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)

        Raises
        ------
        DivergenceError
            A score, on any member, is not finite.
        """
        hp, members, threads, at = self.hyperparameters, self._members, self._num_threads, self.parameters
        at.n_steps += 1
        if isinstance(step, SummedStep):
            return self._by_sums(step)
        found = scored(step, at.params, float(at.bias[0]), hp, members, threads)
        total = members.rows.all_gather(np.array([found.residuals.sum(dtype=np.float64)]))
        gradients = np.empty_like(found.params)
        in_use()[1].gradients(
            step.starts, step.rows, step.row_values, found.params, found.sums, found.residuals, found.pair_residuals,
            found.has_pairless, gradients, threads,
        )  # fmt: skip
        received = members.rows.all_to_all(gradients, step.wanted, step.asked, is_large=step.is_large)
        bias_gradient = functools.reduce(lambda a, b: a + b, total[:, 0].tolist())  # in the members' order
        rates_of_step = self._rates(bias_gradient)
        in_use()[1].update(
            step.touched, step.touched_starts, step.places, received,
            np.empty((len(step.touched) + 1, at.params.shape[1]), np.float32), at.params, at.state, rates_of_step,
            hp.lazy_update or step.is_dense, threads,
        )  # fmt: skip
        numbers.update_bias(at.bias, bias_gradient, rates_of_step)
        return found.scores

    def _by_sums(self, step: SummedStep) -> Floats:
        hp, at, threads = self.hyperparameters, self.parameters, self._num_threads
        found = scored_by_sums(step, at.params, float(at.bias[0]), hp.predictor_type, self._members, threads)
        rates_of_step = self._rates(found.bias_gradient)
        in_use()[1].learn_parts(
            step.touched, step.starts, step.rows, step.row_values, found.told, step.has_pairs, at.params, at.state,
            hp.lazy_update or step.is_dense, rates_of_step, threads,
        )  # fmt: skip
        numbers.update_bias(at.bias, found.bias_gradient, rates_of_step)
        return found.scores

    def _rates(self, bias_gradient: float) -> Rates:
        """Give the numbers of this update, unless a score is not finite."""
        if not math.isfinite(bias_gradient):
            raise DivergenceError(f"scores are no longer finite at update {self.parameters.n_steps}{self.remedy}")
        return rates(self.hyperparameters, self.parameters.n_steps)


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """What a member's batch comes to.

    Attributes
    ----------
    params : ndarray of float32, shape (features of the batch, num_factors + 1)
        The rows of the model that it touches.
    sums, residuals, pair_residuals, scores : ndarray of float32
    has_pairless : bool
        As of `kernels.interface.Kernels.score_rows`.
    """

    params: Floats
    sums: Floats
    residuals: Floats
    pair_residuals: Floats
    scores: Floats
    has_pairless: bool


def scored(
    step: Step, params: Floats, w0: float, hyperparameters: Hyperparameters, members: Members, num_threads: int
) -> ScoredRows:
    """Fetch the rows that a step touches from their owners, and score this member's batch. Collective.

    Parameters
    ----------
    step : Step
    params : ndarray of float32, shape (features of this member, num_factors + 1)
        This member's rows of the model, ``[V | w]``.
    w0 : float
    hyperparameters : Hyperparameters
    members : Members
    num_threads : int

    Returns
    -------
    scored : ScoredRows
    """
    batch = step.batch
    wanted = np.empty((len(step.keys), params.shape[1]), np.float32)
    numbers.gather(params, step.keys, wanted, num_threads)
    fetched = members.rows.all_to_all(wanted, step.asked, step.wanted, is_large=step.is_large)
    n = batch.n_rows
    sums = np.empty((n, padded(params.shape[1] - 1)), np.float32)
    residuals, pair_residuals, scores = np.empty((3, n), np.float32)
    has_pairless = in_use()[1].score_rows(
        *batch.csr, batch.known_labels, fetched, w0, sums, residuals, pair_residuals, scores,
        link_for(hyperparameters.predictor_type).is_classifier, num_threads, batch.weights,
    )  # fmt: skip
    return ScoredRows(fetched, sums, residuals, pair_residuals, scores, has_pairless)
