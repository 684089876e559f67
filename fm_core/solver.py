"""fit: epochs of mini-batch updates, from batches to a model.

Plan of an epoch: a reading thread pulls batches (files are read and records decoded inside
that iterator) and groups each by feature, a few batches ahead; this thread takes one after
the other, scores it with the parameters as they are, updates them (kernels), and adds the
scores to the epoch's metrics. What is learned never depends on threads or timing.

The solver knows data only as ``batches(epoch) -> iterable of Batch``; files and pipes are the
caller's. `should_stop` is polled while waiting and between batches.
"""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core.ahead import read_ahead
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import OPTIMIZERS, PADDING, TILE, Step, group, in_use
from fm_core.metrics import metrics_for
from fm_core.model import Model
from fm_core.shuffle import shuffled

__all__ = [
    "BatchReport",
    "Callback",
    "EpochReport",
    "FitResult",
    "Solver",
    "ValidationReport",
    "evaluate",
    "fit",
]

Batches = Callable[[int], Iterable[Batch]]
Groups = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]

#: Batches that the reading thread prepares ahead of the solver: two would do, were reading as even as solving.
_AHEAD = 4


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """The epoch so far, told at batch 0 and every ``batch_metrics_publish_interval`` batches."""

    epoch: int
    batch: int
    metrics: dict[str, float]
    records_per_second: float


@dataclasses.dataclass(frozen=True)
class EpochReport:
    """One finished epoch. `started` and `ended` are seconds since 1970."""

    epoch: int
    epochs: int
    metrics: dict[str, float]
    n_records: int
    n_batches: int
    started: float
    ended: float


@dataclasses.dataclass(frozen=True)
class ValidationReport:
    """The validation data scored after an epoch."""

    epoch: int
    metrics: dict[str, float]
    n_records: int
    is_best: bool


class Callback(Protocol):
    """What `fit` tells while it runs; `Silent` does nothing with it."""

    def started(self, is_dense: bool) -> None:
        """The first batch is there, training begins."""

    def batch(self, report: BatchReport) -> None:
        """A batch whose metrics are to be published is done."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""

    def validated(self, report: ValidationReport) -> None:
        """The validation data was scored after an epoch."""


class Silent:
    """The callback of who wants to hear nothing."""

    def _ignore(self, report: Any) -> None:
        pass

    started = batch = epoch = validated = _ignore


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What `fit` gives.

    Attributes
    ----------
    model : Model
        With ``early_stopping_patience``, that of the best epoch, else of the last batch.
    metrics : dict of float
        Training metrics of the last finished epoch; empty if none was finished.
    epochs_done : int
    stopped : bool
        Whether `should_stop` ended training.
    """

    model: Model
    metrics: dict[str, float]
    epochs_done: int
    stopped: bool


class Solver:
    """The parameters, the optimizer's state, and the update from one batch.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    num_threads : int
    model : Model, optional
        Starting point; features beyond its own, and everything without it, is initialised
        as the hyperparameters say.

    Attributes
    ----------
    params : ndarray of float32, shape (feature_dim, num_factors + 1)
        Rows ``[v_i | w_i]``.
    state : ndarray of float32, shape (feature_dim, n_states * (num_factors + 1))
        The optimizer's; pages of features never seen are never touched.
    bias : ndarray of float32, shape (3,)
        w0 and its state.
    n_steps : int
        Updates so far: the t of Adam's bias correction.
    """

    def __init__(self, hyperparameters: Hyperparameters, num_threads: int = 1, model: Model | None = None) -> None:
        hp = hyperparameters
        self.hyperparameters = hp
        self.num_threads = num_threads
        self._kernels = in_use()[1]
        self._optimizer, n_states = OPTIMIZERS[hp._optimizer]
        initial = Model.initialise(hp, num_threads)
        assert initial.V.base is not None
        self.params: NDArray[np.float32] = initial.V.base
        self.bias = np.array([initial.w0, 0, 0], np.float32)
        if model is not None:
            self._start_from(model)
        # zeros come as untouched pages from the system
        self.state = np.zeros((hp.feature_dim, n_states * (hp.num_factors + 1)), np.float32)
        self.n_steps = 0
        self._scratch_rows = 0
        self._dense_scratch: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]] | None = None

    def _start_from(self, model: Model) -> None:
        hp = self.hyperparameters
        found = (model.predictor_type, model.num_factors)
        if found != (hp.predictor_type, hp.num_factors):
            raise ConfigError(
                f"the model to start from is a {found[0]} with num_factors={found[1]}, expected "
                f"{hp.predictor_type} with num_factors={hp.num_factors} as the hyperparameters say"
            )
        if model.feature_dim > hp.feature_dim:
            raise ConfigError(
                f"the model to start from has feature_dim={model.feature_dim}, more than the "
                f"hyperparameter's {hp.feature_dim}; a model can grow but not shrink"
            )
        self.params[: model.feature_dim, :-1] = model.V
        if hp.use_linear:
            self.params[: model.feature_dim, -1] = model.w
        if hp.use_bias:
            self.bias[0] = model.w0

    @property
    def model(self) -> Model:
        """The parameters as they are now, not a copy."""
        return Model.of_params(self.hyperparameters.predictor_type, float(self.bias[0]), self.params)

    def step(self, batch: Batch, groups: Groups | None = None) -> NDArray[np.float32]:
        """Score a batch, then update the parameters from it.

        Parameters
        ----------
        batch : Batch
            With labels and the hyperparameters' feature_dim.
        groups : optional
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
        hp = self.hyperparameters
        labels = batch.known_labels
        if batch.feature_dim != hp.feature_dim:
            raise DataError(f"a batch has feature_dim={batch.feature_dim}, expected {hp.feature_dim}")
        n = batch.n_rows
        self._make_scratch(n)
        self.n_steps += 1
        sums, residuals, scores = self._sums[:n], self._residuals[:n], self._scores[:n]
        classify = hp.predictor_type == "binary_classifier"
        if batch.indptr is None or batch.indices is None:
            w, squares, gradients = self._scratch_for_dense()
            self._kernels.train_dense(
                batch.values, labels, self.params, self.state, self.bias, sums, residuals, scores,
                w, squares, gradients, classify, self._step(), self.num_threads,
            )  # fmt: skip
        else:
            features, starts, rows, row_values = groups or group(
                batch.indptr, batch.indices, batch.values, hp.feature_dim
            )
            self._kernels.train_sparse(
                batch.indptr, batch.indices, batch.values, labels, features, starts, rows, row_values,
                self.params, self.state, self.bias, sums, residuals, scores,
                classify, hp.lazy_update, self._step(), self.num_threads,
            )  # fmt: skip
        if not np.isfinite(residuals).all():
            raise DivergenceError(
                f"scores are no longer finite at update {self.n_steps}, with bias_lr={hp.bias_lr:g}, "
                f"linear_lr={hp.linear_lr:g} and factors_lr={hp.factors_lr:g}: lower the learning rates, "
                "or set clip_gradient"
            )
        return scores

    def _make_scratch(self, n_rows: int) -> None:
        if n_rows > self._scratch_rows:
            self._sums = np.empty((n_rows, math.ceil(self.hyperparameters.num_factors / PADDING) * PADDING), np.float32)
            self._residuals = np.empty(n_rows, np.float32)
            self._scores = np.empty(n_rows, np.float32)
            self._scratch_rows = n_rows

    def _scratch_for_dense(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        if self._dense_scratch is None:
            d = self.hyperparameters.feature_dim
            self._dense_scratch = (
                np.empty(d, np.float32),
                np.empty(d, np.float32),
                np.empty((math.ceil(d / TILE), TILE * self._sums.shape[1]), np.float32),
            )
        return self._dense_scratch

    def _step(self) -> Step:
        hp = self.hyperparameters
        lr = hp._learning_rate
        if hp._optimizer == "adam":
            # in float64, as MXNet does, and rounded once
            lr *= math.sqrt(1 - 0.999**self.n_steps) / (1 - 0.9**self.n_steps)
        return Step(
            optimizer=self._optimizer,
            rescale_grad=1 / hp.mini_batch_size if hp.rescale_grad is None else hp.rescale_grad,
            clip_gradient=hp.clip_gradient or 0.0,
            eps=1e-8 if hp.eps is None else hp.eps,
            bias_lr=lr * hp.bias_lr,
            bias_wd=hp._wd * hp.bias_wd,
            linear_lr=lr * hp.linear_lr,
            linear_wd=hp._wd * hp.linear_wd,
            factors_lr=lr * hp.factors_lr,
            factors_wd=hp._wd * hp.factors_wd,
            use_bias=hp.use_bias,
            use_linear=hp.use_linear,
        )


def fit(
    batches: Batches,
    hyperparameters: Hyperparameters,
    *,
    num_threads: int = 1,
    model: Model | None = None,
    validation: Batches | None = None,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train a model.

    Parameters
    ----------
    batches : callable
        ``batches(epoch)`` gives the epoch's batches, each of mini_batch_size rows but the
        last, all dense or all sparse. Called once an epoch, from another thread.
    hyperparameters : Hyperparameters
    num_threads : int
        Threads of the kernels; the model does not depend on it, bit for bit.
    model : Model, optional
        Starting point (see `Solver`).
    validation : callable, optional
        As `batches`; scored after every epoch.
    callback : Callback, optional
    should_stop : callable
        Polled; once true, `fit` returns with the model as it is.

    Returns
    -------
    result : FitResult

    Raises
    ------
    ConfigError
        early_stopping_patience without validation data.
    DataError
        The training data is empty, or a batch is not as declared.
    DivergenceError
        Parameters are no longer finite; the message names the epoch and batch.
    """
    hp = hyperparameters
    callback = callback or Silent()
    if hp.early_stopping_patience is not None and validation is None:
        raise ConfigError(
            f"early_stopping_patience is {hp.early_stopping_patience}, which needs validation data, and there is none"
        )
    solver: Solver | None = None
    keeper = _BestKeeper(hp)
    metrics: dict[str, float] = {}
    epochs_done = 0
    for epoch in range(hp.epochs):
        totals = metrics_for(hp.predictor_type)
        started = time.time()
        batch_number = 0
        with read_ahead(functools.partial(_prepared, batches, hp, epoch), _AHEAD, should_stop) as ready:
            for batch, groups in ready:
                if solver is None:
                    callback.started(batch.is_dense)
                    solver = Solver(hp, num_threads, model)
                    started = time.time()
                try:
                    scores = solver.step(batch, groups)
                except DivergenceError as error:
                    raise DivergenceError(f"epoch {epoch}, batch {batch_number}: {error}") from None
                totals.update(scores, batch.known_labels)
                if batch_number % hp.batch_metrics_publish_interval == 0:
                    seconds = max(time.time() - started, 1e-9)
                    callback.batch(BatchReport(epoch, batch_number, totals.values(), totals.n / seconds))
                batch_number += 1
                if should_stop():
                    break
        stopped = should_stop()
        if solver is None:
            if stopped:
                solver = Solver(hp, num_threads, model)
                return FitResult(solver.model, metrics, epochs_done, True)
            raise DataError("the training data has no records, expected at least one")
        if stopped:
            break
        metrics = totals.values()
        epochs_done += 1
        callback.epoch(EpochReport(epoch, hp.epochs, metrics, totals.n, batch_number, started, time.time()))
        if validation is not None:
            values, n = evaluate(
                solver.model, itertools.takewhile(lambda _: not should_stop(), validation(epoch)), num_threads
            )
            if should_stop():  # the pass was cut short: its values mean nothing
                break
            is_best = keeper.is_best(values, solver, epoch)
            callback.validated(ValidationReport(epoch, values, n, is_best))
            if keeper.is_out_of_patience(epoch):
                break
    assert solver is not None
    result = keeper.best or solver.model
    _check_finite(result)
    return FitResult(result, metrics, epochs_done, should_stop())


def evaluate(model: Model, batches: Iterable[Batch], num_threads: int = 1) -> tuple[dict[str, float], int]:
    """Score batches with labels.

    Returns
    -------
    metrics : dict of float
        As `fit` reports them.
    n_records : int
    """
    totals = metrics_for(model.predictor_type)
    for batch in batches:
        totals.update(model.predict(batch, num_threads), batch.known_labels)
    return totals.values(), totals.n


def _prepared(batches: Batches, hp: Hyperparameters, epoch: int) -> Iterable[tuple[Batch, Groups | None]]:
    stream = batches(epoch)
    if hp.shuffle:
        stream = shuffled(stream, hp.shuffle_buffer_size, hp.mini_batch_size, (hp.seed, epoch))
    for batch in stream:
        if batch.indptr is None or batch.indices is None:
            yield batch, None
        else:
            yield batch, group(batch.indptr, batch.indices, batch.values, batch.feature_dim)


class _BestKeeper:
    """Keeps the best epoch's model, if early stopping was asked for."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._patience = hyperparameters.early_stopping_patience
        self._best_value = math.inf
        self._best_epoch = 0
        self.best: Model | None = None

    def is_best(self, metrics: dict[str, float], solver: Solver, epoch: int) -> bool:
        value = metrics.get("binary_classification_cross_entropy", metrics.get("mse", math.inf))
        if not value < self._best_value:
            return False
        self._best_value, self._best_epoch = value, epoch
        if self._patience is not None:
            if self.best is None:
                self._params = np.empty_like(solver.params)
            np.copyto(self._params, solver.params)
            self.best = Model.of_params(solver.hyperparameters.predictor_type, float(solver.bias[0]), self._params)
        return True

    def is_out_of_patience(self, epoch: int) -> bool:
        return self._patience is not None and epoch - self._best_epoch >= self._patience


def _check_finite(model: Model) -> None:
    """Look at every parameter once, in pieces: a score may be finite where a parameter it did not use is not."""
    for start in range(0, model.feature_dim, 65536):
        stop = start + 65536
        if not (np.isfinite(model.V[start:stop]).all() and np.isfinite(model.w[start:stop]).all()):
            raise DivergenceError(
                f"parameters of features from {start} on are no longer finite after training: lower the learning rates"
            )
