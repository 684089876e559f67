"""Mini-batches with scaled columns and labels: what solver auto does with dense data.

One pass over the data finds the shifts and scales of columns and labels (scaling.py). Training then uses scaled rows.
The model, scores and metrics that callers get are those of the original rows. A checkpoint has the model of the scaled
rows, and the scaling.

Training starts with the constant score: the labels' mean, or the log odds of the classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers.base import Algorithm, ArraySpec, Moment, SafePoint, Solver, SolverState
from fm_core.solvers.minibatch import Device, MiniBatch
from fm_core.solvers.scaling import SCALING_ARRAYS, Scaling

__all__ = ["StandardizedMiniBatch", "StandardizedSolver"]

Floats = NDArray[np.float32]


class _Prepared(NamedTuple):
    rows: Batch
    inner: Any


class StandardizedSolver(Solver):
    """A solver of scaled rows, and what its model is of the rows as they are.

    Parameters
    ----------
    inner : Solver
    scaling : Scaling
    num_threads : int
    """

    def __init__(self, inner: Solver, scaling: Scaling, num_threads: int) -> None:
        self._inner = inner
        self._scaling = scaling
        self._num_threads = num_threads
        self._made: tuple[int, Model] | None = None

    @property
    def n_steps(self) -> int:
        """Updates so far."""
        return self._inner.n_steps

    @property
    def remedy(self) -> str:
        """See `Learner.remedy`."""
        return self._inner.remedy

    @property
    def model(self) -> Model:
        """The model of the unscaled rows; recomputed after a step."""
        if self._made is None or self._made[0] != self.n_steps:
            self._made = self.n_steps, self._scaling.model(self._inner.model)
        return self._made[1]

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Those of the scaled model, and the scaling."""
        return {**self._inner.arrays(), **self._scaling.arrays()}

    def check(self) -> None:
        """See `Learner.check`."""
        self._inner.check()

    def predict(self, batch: Batch) -> Floats:
        """Score a batch with the current model; see `Solver.predict`."""
        return self.model.predict(batch, self._num_threads)

    def epoch(self, data: Iterable[tuple[Batch, _Prepared]], at: Moment) -> Iterator[SafePoint]:
        """Make a step from each batch; see `Learner.epoch`."""
        given: list[Batch] = []

        def scaled() -> Iterator[tuple[Batch, Any]]:
            for batch, prepared in data:
                given.append(batch)
                yield prepared.rows, prepared.inner

        for point in self._inner.epoch(scaled(), at):
            batch = given.pop(0)
            scores = None if point.scores is None else self._scaling.scores(point.scores)
            yield point._replace(scores=scores, labels=batch.labels, batch=batch)


class StandardizedMiniBatch(Algorithm):
    """Mini-batch gradient descent on scaled rows.

    Parameters
    ----------
    num_threads : int
    device : callable, optional
        See `minibatch.MiniBatch`.
    """

    name = "standardized"
    needs: Literal["stream", "resident"] = "stream"

    def __init__(self, num_threads: int = 1, device: Callable[[], Device | None] | None = None) -> None:
        self._inner = MiniBatch(num_threads, device)
        self._num_threads = num_threads
        self._scaling: Scaling | None = None
        self.looks_first = True

    def look(self, hyperparameters: Hyperparameters, batches: Iterable[Batch]) -> None:
        """Compute the scaling; see `Algorithm.look`."""
        self._scaling = Scaling.of(batches, hyperparameters.feature_dim, hyperparameters.predictor_type)

    def layout(self, hyperparameters: Hyperparameters) -> dict[str, ArraySpec]:
        """The arrays of mini-batches, and the scaling; see `Algorithm.layout`."""
        columns, labels = SCALING_ARRAYS
        return {
            **self._inner.layout(hyperparameters),
            columns: ArraySpec((SCALING_ARRAYS[columns], hyperparameters.feature_dim), "float64"),
            labels: ArraySpec((SCALING_ARRAYS[labels],), "float64"),
        }

    def memory_needed(self, hyperparameters: Hyperparameters) -> int:
        """The memory of mini-batches, of the scaling, and of the model of unscaled rows.

        See `Algorithm.memory_needed`.
        """
        hp = hyperparameters
        return self._inner.memory_needed(hp) + hp.feature_dim * (
            8 * SCALING_ARRAYS["column_scaling"] + 12 * (hp.num_factors + 1)
        )

    def batch_memory(self, hyperparameters: Hyperparameters, batch: Batch) -> tuple[int, int]:
        """The memory of mini-batches, and of a copy of the rows; see `Algorithm.batch_memory`."""
        ahead, within = self._inner.batch_memory(hyperparameters, batch)
        return ahead + batch.nbytes, within

    def check(self, hyperparameters: Hyperparameters) -> None:
        """Refuse a model without a bias or linear weights, because shifting columns needs both.

        See `Algorithm.check`.
        """
        for name in ("use_bias", "use_linear"):
            if not getattr(hyperparameters, name):
                raise ConfigError(
                    f"{name} is false, but standardize needs that part of the model: leave one of them out"
                )

    def model_of(self, hyperparameters: Hyperparameters, arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Create the model of unscaled rows; see `Algorithm.model_of`."""
        return Scaling.of_arrays(arrays).model(self._inner.model_of(hyperparameters, arrays))

    def prepare(self, batch: Batch) -> _Prepared:
        """Scale a batch, and prepare it like a mini-batch; see `Algorithm.prepare`."""
        assert self._scaling is not None
        rows = self._scaling.rows(batch)
        return _Prepared(rows, self._inner.prepare(rows))

    def make(
        self,
        hyperparameters: Hyperparameters,
        *,
        is_dense: bool = False,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> Solver:
        """Create the solver; if there are no rows, it only has a model to start from; see `Algorithm.make`."""
        if state is not None:
            self._scaling, self.looks_first = Scaling.of_arrays(state.arrays), False
        scaling = self._scaling
        if scaling is None:
            return self._inner.make(hyperparameters, is_dense=is_dense, model=model)
        if state is None:
            model = self._beginning(hyperparameters, scaling) if model is None else scaling.model_there(model)
        inner = self._inner.make(hyperparameters, is_dense=is_dense, model=model, state=state)
        return StandardizedSolver(inner, scaling, self._num_threads)

    def _beginning(self, hyperparameters: Hyperparameters, scaling: Scaling) -> Model:
        drawn = Model.initialise(hyperparameters, self._num_threads)
        return Model(hyperparameters.predictor_type, scaling.bias, drawn.w, drawn.V)
