"""Mini-batch gradient descent on the order of items: positives, and negatives that are sampled for them.

Before the first epoch the data is read once more, to find the items and the items of each user (positives.py). In each
epoch the reading thread draws negatives for a batch's positives, and groups the rows of all of them by feature; the
kernels make one update from them (kernels/_ranked.pxi). A draw is a function of the seed, the epoch and the record's
number in it, so the model depends neither on threads, nor on File or Pipe mode, nor on interruptions.

The bias does not affect an order and keeps its initial value; so do the linear weights of contexts, except for decay.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.evaluation import Evaluation, FullRanking
from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import Kernels, group, in_use, padded, ungrouped
from fm_core.kernels.bounds import check_fits
from fm_core.model import Model
from fm_core.solvers.base import Moment, SafePoint, Solver, SolverState
from fm_core.solvers.minibatch import GROUPED_AN_ENTRY, Device, Groups, MiniBatch
from fm_core.solvers.parameters import Floats, Parameters, ParametersLearner, check_finite, rates
from fm_core.solvers.positives import Positives, Ranked

__all__ = ["RankedMiniBatch", "RankedSolver"]

#: The losses' numbers in kernels/_ranked.pxi.
_LOSSES = {"pairwise": 1, "softmax": 2, "warp": 3}

_MASK = 2**64 - 1


class _Prepared(NamedTuple):
    rows: Ranked
    groups: Groups | None


class RankedSolver(ParametersLearner, Solver):
    """The update from one batch of positives.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    n_items : int
        How many items there are to rank.
    num_threads : int
    model : Model, optional
        See `parameters.Parameters.begin`.
    state : SolverState, optional
    kernels : Kernels, optional
        By default the build in use.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        n_items: int,
        num_threads: int = 1,
        model: Model | None = None,
        state: SolverState | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__(hyperparameters, Parameters.make(hyperparameters, num_threads, model, state))
        self.num_threads = num_threads
        self._n_items = n_items
        self._kernels = kernels or in_use()[1]
        self._n_scratch = 0

    def predict(self, batch: Batch) -> Floats:
        """Score a batch with the current parameters; see `Solver.predict`."""
        return self.model.predict(batch, self.num_threads)

    def epoch(self, data: Iterable[tuple[Batch, Any]], at: Moment) -> Iterator[SafePoint]:
        """Make a step from the positives of each batch; metrics are those of `metrics.RankedMetrics`.

        See `Learner.epoch`.
        """
        for batch, prepared in data:
            losses, orders, touched = self._step(prepared)
            yield SafePoint(losses, orders, batch, touched)

    def _step(self, prepared: _Prepared) -> tuple[Floats, Floats, NDArray[np.int32] | None]:
        hp, at = self.hyperparameters, self.parameters
        n, indptr, indices, values = prepared.rows
        self._make_scratch(n, len(indptr) - 1)
        losses, orders = self._losses[:n], self._orders[:n]
        if n == 0:
            return losses, orders, np.empty(0, np.int32)
        at.n_steps += 1
        features, starts, of_rows, of_values = prepared.groups or ungrouped(indices.size)
        n_features = self._kernels.train_ranked(
            indptr, indices, values, n, _LOSSES[hp.loss], self._n_items,
            features, starts, of_rows, of_values, prepared.groups is not None,
            at.params, at.state, self._sums, self._residuals, losses, orders,
            hp.lazy_update, rates(hp, at.n_steps), self.num_threads,
        )  # fmt: skip
        check_finite(losses, self.n_steps, hp)
        return losses, orders, features[:n_features] if hp.lazy_update else None

    def _make_scratch(self, n_contexts: int, n_rows: int) -> None:
        if n_rows > self._n_scratch or n_rows == 0:
            self._sums = np.zeros((n_rows, padded(self.hyperparameters.num_factors)), np.float32)
            self._residuals = np.empty(n_rows, np.float32)
            self._losses = np.empty(n_contexts, np.float32)
            self._orders = np.empty(n_contexts, np.float32)
            self._n_scratch = n_rows


class RankedMiniBatch(MiniBatch):
    """Mini-batch gradient descent on the order of items; arrays and memory are those of `MiniBatch`.

    Parameters
    ----------
    num_threads : int
    device : callable, optional
        Not called: records of users and items are sparse.

    Attributes
    ----------
    positives : Positives or None
        Once the data has been looked at.
    """

    name = "ranked"
    looks_first = True

    def __init__(self, num_threads: int = 1, device: Callable[[], Device | None] | None = None) -> None:
        super().__init__(num_threads)
        self.positives: Positives | None = None
        self._hp: Hyperparameters | None = None
        self._key = self._next_row = 0

    def look(self, hyperparameters: Hyperparameters, batches: Iterable[Batch]) -> None:
        """Find the users and items; see `Algorithm.look`."""
        self._hp = hyperparameters
        self.positives = Positives(hyperparameters, _unweighted(batches, hyperparameters.loss))
        if self.positives.n_items < 2:
            raise ConfigError(
                f"loss is {hyperparameters.loss}, a ranking loss, but the number of items in the training data is "
                f"{self.positives.n_items}: expected at least 2"
            )

    def begin_epoch(self, at: Moment) -> None:
        """Draw the negatives of this epoch from now on; see `Algorithm.begin_epoch`."""
        assert self._hp is not None
        self._key = _mixed(_mixed(self._hp.seed) + at.epoch)
        self._next_row = at.n_batches * self._hp.mini_batch_size

    def prepare(self, batch: Batch) -> Any:
        """Draw negatives, and group the rows of all by feature; see `Algorithm.prepare`."""
        assert self._hp is not None
        assert self.positives is not None
        check_fits(batch, self._hp.feature_dim)
        rows = self.positives.ranked(batch, self._hp.negatives, self._key, self._next_row)
        self._next_row += batch.n_rows
        if self.num_threads > 1 or rows.n_contexts == 0:
            return _Prepared(rows, None)
        return _Prepared(rows, group(rows.indptr, rows.indices, rows.values, self._hp.feature_dim))

    def batch_memory(self, hyperparameters: Hyperparameters, batch: Batch) -> tuple[int, int]:
        """The memory of contexts and compared items, their groups, and their sums of factors.

        See `Algorithm.batch_memory`.
        """
        hp = hyperparameters
        if batch.indices is None:
            return 0, 0
        n_compared = hp.negatives + 1
        n_rows = batch.n_rows * (n_compared + 1)
        n_entries = batch.indices.size * n_compared  # as if all of a row were its item's
        of_rows, groups = 8 * n_rows + 8 * n_entries, GROUPED_AN_ENTRY * n_entries
        of_step = 4 * n_rows * (padded(hp.num_factors) + 1)
        if self.num_threads > 1:
            return of_rows, of_step + 2 * groups
        return of_rows + groups, of_step

    def evaluation(self, hyperparameters: Hyperparameters, model: Model) -> Evaluation:
        """Rank all items for the users of positives; see `Algorithm.evaluation`."""
        assert self.positives is not None
        return FullRanking(model, hyperparameters, self.positives, self.num_threads)

    def make(
        self,
        hyperparameters: Hyperparameters,
        *,
        is_dense: bool = False,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> Solver:
        """Create the solver; see `Algorithm.make`."""
        n_items = self.positives.n_items if self.positives is not None else 0
        return RankedSolver(hyperparameters, n_items, self.num_threads, model, state)


def _unweighted(batches: Iterable[Batch], loss: str) -> Iterator[Batch]:
    """Pass batches on that have no weights."""
    for batch in batches:
        if batch.weights is not None:
            raise ConfigError(
                f"the rows have weights, which loss {loss} does not support: leave them out, or use loss pointwise"
            )
        yield batch


def _mixed(number: int) -> int:
    """SplitMix64's output for a state; see kernels/_negatives.pyx."""
    z = (number + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
