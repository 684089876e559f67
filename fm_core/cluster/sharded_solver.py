"""The update of a model whose rows are spread over members, from one step of all; see sharded.py."""

import functools
import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

import fm_core.kernels._sharded as kernels
from fm_core.cluster.data import local_hyperparameters
from fm_core.cluster.members import Floats, Members, partition_of
from fm_core.cluster.steps import Step, safe_point
from fm_core.cluster.summed import SummedStep, scored_by_sums
from fm_core.errors import DivergenceError
from fm_core.hyperparameters import Hyperparameters
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
        self._members = members
        self._num_threads = num_threads

    def epoch(self, data: Iterable[Step | SummedStep], at: Moment) -> Iterator[SafePoint]:
        """Make the steps."""
        for step in data:
            scores = self.step(step)
            is_lazy = self.hyperparameters.lazy_update and not step.is_dense
            yield safe_point(step, scores, step.touched if is_lazy else None)

    def step(self, step: Step | SummedStep) -> Floats:
        """Score this member's rows of a step, then update its parameters from everybody's.

        Raises
        ------
        DivergenceError
            A score, on any member, is not finite.
        """
        hp, members, threads, at = self.hyperparameters, self._members, self._num_threads, self.parameters
        at.n_steps += 1
        if isinstance(step, SummedStep):
            return self._by_sums(step)
        params, sums, residuals, scores = scored(step, at.params, float(at.bias[0]), hp, members, threads)
        total = members.rows.all_gather(np.array([residuals.sum(dtype=np.float64)]))
        gradients = np.empty_like(params)
        kernels.gradients(step.starts, step.rows, step.row_values, params, sums, residuals, gradients, threads)
        received = members.rows.all_to_all(gradients, step.wanted, step.asked, is_large=step.is_large)
        bias_gradient = functools.reduce(lambda a, b: a + b, total[:, 0].tolist())  # in the members' order
        self._update(step, step.touched_starts, step.places, received, bias_gradient)
        return scores

    def _by_sums(self, step: SummedStep) -> Floats:
        at, threads = self.parameters, self._num_threads
        predictor_type = self.hyperparameters.predictor_type
        found = scored_by_sums(step, at.params, float(at.bias[0]), predictor_type, self._members, threads)
        n = len(step.touched)
        params = np.empty((n, at.params.shape[1]), np.float32)
        kernels.gather(at.params, step.touched, params, threads)
        gradients = np.empty_like(params)
        kernels.gradients(
            step.starts,
            step.rows,
            step.row_values,
            params,
            found.sums,
            found.residuals,
            gradients,
            threads,
            step.has_pairs,
        )
        each = np.arange(n + 1, dtype=np.int64)
        self._update(step, each, each[:-1], gradients, found.bias_gradient)
        return found.scores

    def _update(
        self,
        step: Step | SummedStep,
        starts: NDArray[np.int64],
        places: NDArray[np.int64],
        gradients: Floats,
        bias: float,
    ) -> None:
        hp, at = self.hyperparameters, self.parameters
        if not math.isfinite(bias):
            raise DivergenceError(f"scores are no longer finite at update {at.n_steps}{self.remedy}")
        numbers = rates(hp, at.n_steps)
        kernels.update(
            step.touched, starts, places, gradients,
            np.empty((len(step.touched) + 1, at.params.shape[1]), np.float32), at.params, at.state, numbers,
            hp.lazy_update or step.is_dense, self._num_threads,
        )  # fmt: skip
        kernels.update_bias(at.bias, bias, numbers)


def scored(
    step: Step, params: Floats, w0: float, hyperparameters: Hyperparameters, members: Members, num_threads: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Fetch the rows that a step touches; give them, and the sums, residuals and scores of this member's batch."""
    batch = step.batch
    wanted = np.empty((len(step.keys), params.shape[1]), np.float32)
    kernels.gather(params, step.keys, wanted, num_threads)
    fetched = members.rows.all_to_all(wanted, step.asked, step.wanted, is_large=step.is_large)
    n = batch.n_rows
    sums = np.empty((n, params.shape[1] - 1), np.float32)
    residuals, scores = np.empty(n, np.float32), np.empty(n, np.float32)
    kernels.score(
        *batch.csr, batch.known_labels, fetched, w0, sums, residuals, scores,
        link_for(hyperparameters.predictor_type).is_classifier, num_threads,
    )  # fmt: skip
    if batch.weights is not None:
        residuals *= batch.weights
    return fetched, sums, residuals, scores
