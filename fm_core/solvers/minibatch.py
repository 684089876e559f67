"""Mini-batch gradient descent on the CPU: the kernels make one update of the parameters per batch.

parameters.py has the parameters, their optimizer's state and the numbers of one update.
The result depends neither on the number of threads nor on what was prepared ahead.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import OPTIMIZERS, TILE, Kernels, group, in_use, padded, ungrouped
from fm_core.kernels.bounds import check_fits
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.solvers.base import Algorithm, ArraySpec, Moment, SafePoint, Solver, SolverState
from fm_core.solvers.parameters import Floats, Parameters, ParametersLearner, check_finite, labels_of, rates

__all__ = ["GROUPED_AN_ENTRY", "Device", "Groups", "MiniBatch", "MiniBatchSolver"]

#: Bytes of the groups of a batch, an entry: its feature, where that starts, its row and its value; as much scratch.
GROUPED_AN_ENTRY = 4 + 8 + 4 + 4

Groups = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], Floats]


#: Labels whose mean, or deviation, is so far from 1 are slow to learn by gradients.
_FAR = 100.0


def far_from_1(batch: Batch, hyperparameters: Hyperparameters) -> str | None:
    """Return a sentence if the scale of the labels makes training fail; None: this batch shows no problem."""
    if link_for(hyperparameters.predictor_type).is_classifier or batch.labels is None or not len(batch.labels):
        return None
    labels = batch.labels.astype(np.float64)
    mean, deviation = float(labels.mean()), float(labels.std())
    if not max(abs(mean), deviation) > _FAR:
        return None
    return (
        f"Labels are far from 1 (mean {mean:.4g}, standard deviation {deviation:.4g} in the first batch), which solver "
        "minibatch learns slowly: scale them, or use solver bayes or auto"
    )


class MiniBatchSolver(ParametersLearner, Solver):
    """The update from one batch, by the kernels.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    num_threads : int
    model : Model, optional
        See `Parameters.begin`.
    state : SolverState, optional
        To go on from; its arrays become the solver's.
    kernels : Kernels, optional
        By default the build in use.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        state: SolverState | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__(hyperparameters, Parameters.make(hyperparameters, num_threads, model, state))
        self.num_threads = num_threads
        self._kernels = kernels or in_use()[1]
        self._touched: NDArray[np.int32] | None = None
        self._scratch_rows = 0
        self._dense_scratch: tuple[Floats, Floats, Floats] | None = None

    def predict(self, batch: Batch) -> Floats:
        """Score a batch with the current parameters; see `Solver.predict`."""
        return self.model.predict(batch, self.num_threads)

    def epoch(self, data: Iterable[tuple[Batch, Any]], at: Moment) -> Iterator[SafePoint]:
        """Make a step from each batch; the first one has a remark if the labels have an unsuitable scale.

        See `Learner.epoch`.
        """
        for batch, prepared in data:
            remark = far_from_1(batch, self.hyperparameters) if self.n_steps == 0 else None
            scores = self.step(batch, prepared)
            yield SafePoint(scores, batch.labels, batch, self._touched, remark=remark, weights=batch.weights)

    def step(self, batch: Batch, prepared: Groups | None = None) -> Floats:
        """Score a batch, then update the parameters from it.

        Parameters
        ----------
        batch : Batch
            With labels and the hyperparameters' feature_dim.
        prepared : optional
            What `kernels.group` gave for this batch, if it has been called already.

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
            Predictions before the update; valid until the next step.

        Raises
        ------
        DataError
            The batch has no labels, or another feature_dim.
        DivergenceError
            A score is not finite, so parameters no longer are.
        """
        hp, at = self.hyperparameters, self.parameters
        labels = labels_of(batch, hp)
        at.n_steps += 1
        scores, residuals = self._update(batch, labels, prepared)
        check_finite(residuals, at.n_steps, hp)
        self.check_bias()
        return scores

    def learn_with(self, hyperparameters: Hyperparameters, num_threads: int) -> bool:
        """Continue with other hyperparameters; the parameters and the optimizer's state stay.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        num_threads : int

        Returns
        -------
        goes_on : bool
            False, and nothing is changed, where they ask for another model or another optimizer.
        """
        arrays_for = ("predictor_type", "feature_dim", "num_factors", "_optimizer")
        if any(getattr(hyperparameters, name) != getattr(self.hyperparameters, name) for name in arrays_for):
            return False
        self.hyperparameters, self.num_threads = hyperparameters, num_threads
        self._dense_scratch = None  # it is as large as there are threads
        return True

    def _update(self, batch: Batch, labels: Floats, prepared: Groups | None) -> tuple[Floats, Floats]:
        """Give the scores, and what is finite only if all of them are."""
        hp, at = self.hyperparameters, self.parameters
        n = batch.n_rows
        self._make_scratch(n)
        sums, residuals, scores = self._sums[:n], self._residuals[:n], self._scores[:n]
        classify = link_for(hp.predictor_type).is_classifier
        step = rates(hp, at.n_steps)
        if batch.indptr is None or batch.indices is None:
            w, squares, gradients = self._scratch_for_dense()
            self._kernels.train_dense(
                batch.values, labels, at.params, at.state, at.bias, sums, residuals, scores,
                w, squares, gradients, classify, step, self.num_threads, batch.weights,
            )  # fmt: skip
            self._touched = None
        else:
            if at.n_steps == 1 and n < hp.mini_batch_size and hp.lazy_update:
                # a short batch is the last one: these features are all that are ever touched
                _take_small_pages(at.state, batch.indices.size)
            groups = prepared or ungrouped(batch.indices.size)
            features, starts, rows, row_values = groups
            n_features = self._kernels.train_sparse(
                batch.indptr, batch.indices, batch.values, labels,
                features, starts, rows, row_values, prepared is not None,
                at.params, at.state, at.bias, sums, residuals, scores,
                classify, hp.lazy_update, step, self.num_threads, batch.weights,
            )  # fmt: skip
            self._touched = features[:n_features] if hp.lazy_update else None
        return scores, residuals

    def _make_scratch(self, n_rows: int) -> None:
        if n_rows > self._scratch_rows:
            self._sums = np.empty((n_rows, padded(self.hyperparameters.num_factors)), np.float32)
            self._residuals = np.empty(n_rows, np.float32)
            self._scores = np.empty(n_rows, np.float32)
            self._scratch_rows = n_rows

    def _scratch_for_dense(self) -> tuple[Floats, Floats, Floats]:
        if self._dense_scratch is None:
            d = self.hyperparameters.feature_dim
            self._dense_scratch = (
                np.empty(d, np.float32),
                np.empty(d, np.float32),
                np.empty((self.num_threads, TILE * self._sums.shape[1]), np.float32),
            )
        return self._dense_scratch


def _take_small_pages(array: Floats, n_places: int) -> None:
    """Let an untouched array be mapped in small pages, if its use will be spread over few of them.

    NumPy asks for pages of 2 MB, and the system clears each as it is first touched: a hundred records of
    a million features touch all of them, 520 MB at k 64.
    """
    if n_places * mmap.PAGESIZE < array.nbytes // 2 and hasattr(mmap, "MADV_NOHUGEPAGE"):
        start = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
        length = array.ctypes.data + array.nbytes - start
        ctypes.CDLL(None).madvise(  # advice: whether it was taken does not matter
            ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(mmap.MADV_NOHUGEPAGE)
        )


class Device(Protocol):
    """Where dense batches are learned from, if not by the kernels: `minibatch_torch.DenseDevice` is one."""

    def stage(self, batch: Batch) -> Any:
        """Start to copy a batch to the device. Called ahead, in another thread; the result is passed to the solver.

        Parameters
        ----------
        batch : Batch
            Dense.

        Returns
        -------
        staged : any
        """

    def solver(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> Solver:
        """Create the solver of this device; see `Algorithm.make`."""


class MiniBatch(Algorithm):
    """Mini-batch gradient descent with one of the optimizers.

    Parameters
    ----------
    num_threads : int
        Threads of the kernels; the model does not depend on it, bit for bit.
    device : callable, optional
        Called once, and only if the data is dense, perhaps from another thread: gives where dense batches are learned
        from, or None if that is here.
    """

    name = "minibatch"
    needs: Literal["stream", "resident"] = "stream"

    def __init__(self, num_threads: int = 1, device: Callable[[], Device | None] | None = None) -> None:
        self.num_threads = num_threads
        self._open = device or _no_device
        self._device: Device | None = None
        self._is_open = False

    def layout(self, hyperparameters: Hyperparameters) -> dict[str, ArraySpec]:
        """The bias, the parameters, and the optimizer's state of features that have occurred.

        See `Algorithm.layout`.
        """
        d, width = hyperparameters.feature_dim, hyperparameters.num_factors + 1
        n_states = OPTIMIZERS[hyperparameters._optimizer].n_states
        return {
            "bias": ArraySpec((3,)),
            "params": ArraySpec((d, width), by_feature=True),
            "state": ArraySpec((d, n_states * width), of_model=False, by_feature=True, is_lazy=True),
        }

    def memory_needed(self, hyperparameters: Hyperparameters) -> int:
        """The memory of the parameters and the optimizer's state; see `Algorithm.memory_needed`."""
        hp = hyperparameters
        return 4 * (1 + OPTIMIZERS[hp._optimizer].n_states) * hp.feature_dim * (hp.num_factors + 1)

    def batch_memory(self, hyperparameters: Hyperparameters, batch: Batch) -> tuple[int, int]:
        """The memory of a sparse batch's groups and of the rows' sums of factors; see `Algorithm.batch_memory`."""
        of_rows = 4 * batch.n_rows * (padded(hyperparameters.num_factors) + 3)
        if batch.indices is None:
            return 0, of_rows
        groups = GROUPED_AN_ENTRY * batch.indices.size
        return (0, of_rows + 2 * groups) if self.num_threads > 1 else (groups, of_rows)

    def model_of(self, hyperparameters: Hyperparameters, arrays: Mapping[str, Floats]) -> Model:
        """Create the model, which shares the arrays; see `Algorithm.model_of`."""
        return Model.of_params(hyperparameters.predictor_type, float(arrays["bias"][0]), arrays["params"])

    def prepare(self, batch: Batch) -> Any:
        """Group a sparse batch by feature, or start to copy a dense one to the device; see `Algorithm.prepare`."""
        if batch.indptr is not None and batch.indices is not None:
            if self.num_threads > 1:  # one of them does it while the others score, so that all have the same work
                return None
            check_fits(batch, batch.feature_dim)
            return group(batch.indptr, batch.indices, batch.values, batch.feature_dim)
        device = self._opened()
        return None if device is None else device.stage(batch)

    def make(
        self,
        hyperparameters: Hyperparameters,
        *,
        is_dense: bool = False,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> Solver:
        """Create the solver, on the device if the data is dense and there is one; see `Algorithm.make`."""
        device = self._opened() if is_dense else None
        make = MiniBatchSolver if device is None else device.solver
        return make(hyperparameters, self.num_threads, model, state)

    def _opened(self) -> Device | None:
        if not self._is_open:  # the reading thread's first batch comes before `make`
            self._device, self._is_open = self._open(), True
        return self._device


def _no_device() -> None:
    return None
