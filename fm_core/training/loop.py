"""fit: epochs of mini-batch updates, from batches to a model.

Plan of an epoch: a reading thread pulls batches (files are read and records decoded inside
that iterator) and groups each by feature, or begins to move it to a device, a few batches ahead;
this thread takes one after the other, scores it with the parameters as they are, updates them
(kernels), and adds the scores to the epoch's metrics. What is learned never depends on threads
or timing.

The solver knows data only as ``batches(epoch) -> iterable of Batch``; files and pipes are the
caller's. `should_stop` is polled while waiting and between batches.
"""

import ctypes
import dataclasses
import functools
import itertools
import logging
import math
import mmap
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.checkpoints.file import Checkpoint, Position
from fm_core.checkpoints.reshard import UNKNOWN_LABELS
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import ConfigError, DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import OPTIMIZERS, PADDING, TILE, Step, group, in_use, ungrouped
from fm_core.kernels.bounds import check_fits
from fm_core.links import link_for
from fm_core.metrics import metrics_for
from fm_core.model import Model
from fm_core.training.prefetch import read_ahead
from fm_core.training.shuffle import shuffled

__all__ = [
    "BatchReport",
    "Callback",
    "Device",
    "EpochReport",
    "FitResult",
    "ResumeReport",
    "Solver",
    "ValidationReport",
    "evaluate",
    "fit",
    "memory_needed",
    "threads_of",
]

Batches = Callable[[int], Iterable[Batch]]
Groups = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]

#: Batches that the reading thread prepares ahead of the solver: two would do, were reading as even as solving.
_AHEAD = 4

_log = logging.getLogger(__name__)


def threads_of(n_cores: int) -> int:
    """Give the threads that `fit` learns fastest with from batches that are decoded beside it.

    One core is the reading thread's, if there are several (docs/performance.md). From batches in memory `fit` learns
    fastest with every core.
    """
    return max(1, n_cores - 1)


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


@dataclasses.dataclass(frozen=True)
class ResumeReport:
    """Where training goes on, of what `Callback` would have been told until there.

    `passes` are the epochs that are done, as (n_records, n_batches, how many in a row); `metrics` those
    of the last of them, `validation` those of the model that would be kept.
    """

    epoch: int
    n_batches: int
    passes: list[tuple[int, int, int]]
    metrics: dict[str, float]
    validation: dict[str, float]


class Callback(Protocol):
    """What `fit` tells while it runs; `Silent` does nothing with it."""

    def resumed(self, report: ResumeReport) -> None:
        """Training goes on from a checkpoint; `started` follows."""

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

    resumed = started = batch = epoch = validated = _ignore


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
    checkpoint : Checkpoint, optional
        To go on from; its arrays become the solver's.

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
    touched : ndarray of int32, shape (n,)
        The distinct features of the last batch, if it was sparse.
    """

    touched: NDArray[np.int32]

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        hp = hyperparameters
        self.hyperparameters = hp
        self.num_threads = num_threads
        self._kernels = in_use()[1]
        self._optimizer = OPTIMIZERS[hp._optimizer]
        self._scratch_rows = 0
        self._dense_scratch: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]] | None = None
        self.params: NDArray[np.float32]
        if checkpoint is not None:
            self.params, self.state, self.bias = checkpoint.params, checkpoint.state, checkpoint.bias
            self.n_steps = checkpoint.position.n_steps
            return
        initial = self._initial()
        assert initial.V.base is not None
        self.params = initial.V.base
        self.bias = np.array([initial.w0, 0, 0], np.float32)
        if model is not None:
            self._start_from(model)
        # zeros come as untouched pages from the system
        self.state = np.zeros((len(self.params), self._optimizer.n_states * (hp.num_factors + 1)), np.float32)
        self.n_steps = 0

    def _initial(self) -> Model:
        return Model.initialise(self.hyperparameters, self.num_threads)

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

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch with the parameters as they are now."""
        return self.model.predict(batch, self.num_threads)

    def step(self, batch: Batch, prepared: Any = None) -> NDArray[np.float32]:
        """Score a batch, then update the parameters from it.

        Parameters
        ----------
        batch : Batch
            With labels and the hyperparameters' feature_dim.
        prepared : optional
            What `kernels.group` gave for this batch, if it has been called already; of a device,
            what its `stage` gave.

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
        check_fits(batch, hp.feature_dim)
        self.n_steps += 1
        scores, residuals = self._update(batch, labels, prepared)
        if not np.isfinite(residuals).all():
            raise DivergenceError(f"scores are no longer finite at update {self.n_steps}{_cause(hp)}")
        return scores

    def _update(
        self, batch: Batch, labels: NDArray[np.float32], prepared: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the scores, and what is finite only if all of them are."""
        hp = self.hyperparameters
        n = batch.n_rows
        self._make_scratch(n)
        sums, residuals, scores = self._sums[:n], self._residuals[:n], self._scores[:n]
        classify = link_for(hp.predictor_type).is_classifier
        if batch.indptr is None or batch.indices is None:
            w, squares, gradients = self._scratch_for_dense()
            self._kernels.train_dense(
                batch.values, labels, self.params, self.state, self.bias, sums, residuals, scores,
                w, squares, gradients, classify, self._step(), self.num_threads,
            )  # fmt: skip
        else:
            if self.n_steps == 1 and n < hp.mini_batch_size and hp.lazy_update:
                # a short batch is the last one: these features are all that are ever touched
                _take_small_pages(self.state, batch.indices.size)
            groups: Groups = prepared or ungrouped(batch.indices.size)
            features, starts, rows, row_values = groups
            n_features = self._kernels.train_sparse(
                batch.indptr, batch.indices, batch.values, labels,
                features, starts, rows, row_values, prepared is not None,
                self.params, self.state, self.bias, sums, residuals, scores,
                classify, hp.lazy_update, self._step(), self.num_threads,
            )  # fmt: skip
            self.touched = features[:n_features]
        return scores, residuals

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
                np.empty((self.num_threads, TILE * self._sums.shape[1]), np.float32),
            )
        return self._dense_scratch

    def _step(self) -> Step:
        hp = self.hyperparameters
        lr = hp._learning_rate * self._optimizer.schedule(self.n_steps)
        return Step(
            optimizer=self._optimizer.number,
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


class Device(Protocol):
    """Where dense batches are learned from, if not by the kernels: `on_device.DenseDevice` is one."""

    def stage(self, batch: Batch) -> Any:
        """Begin to move a batch there; called ahead, from another thread. `Solver.step` gets what this gives."""

    def solver(
        self, hyperparameters: Hyperparameters, num_threads: int, model: Model | None, checkpoint: Checkpoint | None
    ) -> Solver:
        """Make the solver that learns there."""


def _take_small_pages(array: NDArray[np.float32], n_places: int) -> None:
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


def memory_needed(hyperparameters: Hyperparameters) -> int:
    """The bytes that training's arrays take, once every feature has occurred."""
    hp = hyperparameters
    n_arrays = 1 + OPTIMIZERS[hp._optimizer].n_states + (hp.early_stopping_patience is not None)
    return 4 * n_arrays * hp.feature_dim * (hp.num_factors + 1)


def fit(
    batches: Batches,
    hyperparameters: Hyperparameters,
    *,
    num_threads: int = 1,
    model: Model | None = None,
    validation: Batches | None = None,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: Checkpoint | None = None,
    checkpointer: Checkpointer | None = None,
    device: Callable[[], Device | None] | None = None,
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
    resume : Checkpoint, optional
        Where to go on; the model will be, bit for bit, that of a training that was never cut off.
        Its epoch is read from the start, and batches that were done are left out.
    checkpointer : Checkpointer, optional
        Is offered the state between batches. Its `close` is the caller's to call, also after an
        exception.
    device : callable, optional
        Called once, and only if the data is dense, perhaps from another thread: gives where dense
        batches are learned from, or None if that is here.

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
    _check_validation(hyperparameters, validation)
    training = _Training(hyperparameters, num_threads, model, callback or Silent(), should_stop, checkpointer, device)
    del model  # it may be large, and is not needed once training has started
    if resume is not None:
        training.go_on_from(resume)
    while not training.is_over:
        if not (training.finish_epoch(batches) and training.validate(validation)):
            return training.result(stopped=True)
        training.begin_next_epoch()
    return training.result(stopped=should_stop())


def _check_validation(hyperparameters: Hyperparameters, validation: object) -> None:
    patience = hyperparameters.early_stopping_patience
    if patience is not None and validation is None:
        raise ConfigError(f"early_stopping_patience is {patience}, which needs validation data, and there is none")


class _Training:
    """What `fit` keeps from one batch to the next: all of it goes into a checkpoint, and comes back."""

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int,
        model: Model | None,
        callback: Callback,
        should_stop: Callable[[], bool],
        checkpointer: Checkpointer | None,
        device: Callable[[], Device | None] | None,
    ) -> None:
        self._hp = hyperparameters
        self._num_threads = num_threads
        self._model = model
        self._callback = callback
        self._should_stop = should_stop
        self._checkpointer = checkpointer
        self._device = functools.cache(device or (lambda: None))
        self._solver: Solver | None = None
        self._keeper = _BestKeeper(hyperparameters)
        self._totals = metrics_for(hyperparameters.predictor_type)
        self._is_dense = False
        self._epoch = self._epochs_done = 0
        self._n_batches = 0
        self._labels_crc = 0
        self._passes: list[tuple[int, int, int]] = []
        self._metrics: dict[str, float] = {}
        self._validation: dict[str, float] = {}

    # --- from one run to the next ---

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Take over all there is in a checkpoint."""
        at = checkpoint.position
        self._epoch, self._n_batches, self._labels_crc = at.epoch, at.n_batches, at.labels_crc
        self._epochs_done = at.epoch
        self._totals.go_on_from(at.sums)
        self._passes = [(n_records, n_batches, n_epochs) for n_records, n_batches, n_epochs in at.passes]
        self._metrics, self._validation = at.metrics, at.validation
        self._callback.resumed(ResumeReport(at.epoch, at.n_batches, self._passes, at.metrics, at.validation))
        self._start(at.is_dense, checkpoint)
        self._keeper.go_on_from(checkpoint)

    def _position(self) -> Position:
        assert self._solver is not None
        return Position(
            n_steps=self._solver.n_steps,
            epoch=self._epoch,
            n_batches=self._n_batches,
            is_dense=self._is_dense,
            sums=self._totals.sums(),
            labels_crc=self._labels_crc,
            passes=[list(counts) for counts in self._passes],
            metrics=self._metrics,
            validation=self._validation,
            best_value=self._keeper.best_value,
            best_epoch=self._keeper.best_epoch,
            best_bias=self._keeper.best.w0 if self._keeper.best else 0.0,
        )

    def _offer_checkpoint(self, epoch_end: bool = False) -> None:
        if self._checkpointer is not None and self._solver is not None:
            try:
                self._checkpointer.offer(self._position, self._solver, self._keeper.params, epoch_end)
            except DivergenceError as error:
                raise self._diverged(f"{error}{_cause(self._hp)}") from None

    # --- an epoch ---

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        return self._epoch >= self._hp.epochs or self._keeper.is_out_of_patience(self._epoch - 1)

    def finish_epoch(self, batches: Batches) -> bool:
        """Learn from those batches of the epoch that are not done; False: training has to stop."""
        started, n_before = time.time(), self._totals.n
        begin = functools.partial(
            _prepared,
            batches,
            self._hp,
            self._epoch,
            self._n_batches,
            self._labels_crc,
            self._should_stop,
            self._prepare,
        )
        with read_ahead(begin, _AHEAD, self._should_stop) as ready:
            for batch, prepared in ready:
                if self._solver is None:
                    self._start(batch.is_dense)
                    started = time.time()
                    if self._should_stop():  # drawing the initial parameters of a large model takes seconds
                        break
                self._learn(batch, prepared)
                self._end_batch(started, n_before)
                self._offer_checkpoint()
                if self._should_stop():
                    break
        if self._should_stop():
            return False
        if self._solver is None:
            raise DataError("the training data has no records, expected at least one")
        self._end_epoch(started)
        return True

    def _end_batch(self, started: float, n_before: int) -> None:
        """Publish the metrics, if they are due; `n_before` rows were in them when the epoch `started`."""
        if self._n_batches % self._hp.batch_metrics_publish_interval == 0:
            rate = (self._totals.n - n_before) / max(time.time() - started, 1e-9)
            self._callback.batch(BatchReport(self._epoch, self._n_batches, self._metrics_so_far(), rate))
        self._n_batches += 1

    def _metrics_so_far(self) -> dict[str, float]:
        return self._totals.values()

    def _end_epoch(self, started: float) -> None:
        """Tell the metrics of an epoch that is done."""
        self._metrics = self._totals.values()
        self._epochs_done = self._epoch + 1
        self._callback.epoch(
            EpochReport(
                self._epoch, self._hp.epochs, self._metrics, self._totals.n, self._n_batches, started, time.time()
            )
        )

    def validate(self, validation: Batches | None) -> bool:
        """Score the validation data, if there is some; False: training has to stop, and it was not scored."""
        if validation is None:
            return True
        assert self._solver is not None
        scored = itertools.takewhile(lambda _: not self._should_stop(), validation(self._epoch))
        values, n = _evaluate(self._hp.predictor_type, self._solver.predict, scored)
        if self._should_stop():
            return False
        self._end_validation(values, n)
        return True

    def _end_validation(self, values: dict[str, float], n: int) -> None:
        """Keep the model if it is the best one, and tell the metrics."""
        assert self._solver is not None
        if self._checkpointer is not None and self._keeper.params is not None:
            self._checkpointer.settle()  # a checkpoint may be being written from the best parameters so far
        is_best = self._keeper.is_best(values, self._solver, self._epoch)
        if is_best or self._hp.early_stopping_patience is None:
            self._validation = values
        self._callback.validated(ValidationReport(self._epoch, values, n, is_best))

    def begin_next_epoch(self) -> None:
        """Leave an epoch that is done."""
        done = (self._totals.n, self._n_batches)
        alike = self._passes.pop()[2] if self._passes and self._passes[-1][:2] == done else 0
        self._passes.append((*done, alike + 1))
        self._epoch += 1
        self._n_batches = self._labels_crc = 0
        self._totals = metrics_for(self._hp.predictor_type)
        if not self.is_over:  # else `result` follows
            self._offer_checkpoint(epoch_end=True)

    def _start(self, is_dense: bool, checkpoint: Checkpoint | None = None) -> None:
        self._is_dense = is_dense
        device = self._device() if is_dense else None
        self._callback.started(is_dense)
        make = Solver if device is None else device.solver
        self._solver = make(self._hp, self._num_threads, self._model, checkpoint)
        self._model = None
        if self._should_stop():
            self._checkpointer = None  # nothing will be learned that is not in a checkpoint already
        if self._checkpointer is not None:
            self._checkpointer.start(self._solver, checkpoint)

    def _prepare(self, batch: Batch) -> Any:
        """Do, in the reading thread, what can be done of a step before its turn."""
        if batch.indptr is not None and batch.indices is not None:
            if self._num_threads > 1:  # one of them does it while the others score, so that all have the same work
                return None
            check_fits(batch, batch.feature_dim)
            return group(batch.indptr, batch.indices, batch.values, batch.feature_dim)
        device = self._device()
        return None if device is None else device.stage(batch)

    def _learn(self, batch: Batch, prepared: Any) -> None:
        assert self._solver is not None
        try:
            scores = self._solver.step(batch, prepared)
        except DivergenceError as error:
            raise self._diverged(f"epoch {self._epoch}, batch {self._n_batches}: {error}") from None
        self._totals.update(scores, batch.known_labels)
        if self._checkpointer is not None:
            self._labels_crc = _labels_crc(batch, self._labels_crc)
            self._checkpointer.mark(None if batch.is_dense or not self._hp.lazy_update else self._solver.touched)

    # --- the end ---

    def result(self, stopped: bool) -> FitResult:
        """End training where it is."""
        if self._solver is None:
            solver = Solver(self._hp, self._num_threads, self._model)
            return FitResult(solver.model, {}, 0, stopped)
        kept = self._keeper.best or self._solver.model
        try:
            _check_finite(kept)
        except DivergenceError as error:
            where = f"epoch {self._epoch}, after {self._n_batches} batches"
            raise self._diverged(f"{where}: {error}{_cause(self._hp)}") from None
        if self._checkpointer is not None:
            self._checkpointer.final(self._position(), self._solver, self._keeper.params)
        return FitResult(kept, self._metrics, self._epochs_done, stopped)

    def _diverged(self, sentence: str) -> DivergenceError:
        if self._checkpointer is None:
            return DivergenceError(sentence)
        self._checkpointer.settle()
        return DivergenceError(sentence + self._checkpointer.kept())


def evaluate(model: Model, batches: Iterable[Batch], num_threads: int = 1) -> tuple[dict[str, float], int]:
    """Score batches with labels.

    Returns
    -------
    metrics : dict of float
        As `fit` reports them.
    n_records : int
    """
    return _evaluate(model.predictor_type, functools.partial(model.predict, num_threads=num_threads), batches)


def _evaluate(
    predictor_type: str, predict: Callable[[Batch], NDArray[np.float32]], batches: Iterable[Batch]
) -> tuple[dict[str, float], int]:
    totals = metrics_for(predictor_type)
    for batch in batches:
        totals.update(predict(batch), batch.known_labels)
    return totals.values(), totals.n


def _prepared(
    batches: Batches,
    hp: Hyperparameters,
    epoch: int,
    n_done: int,
    labels_crc: int,
    should_stop: Callable[[], bool],
    prepare: Callable[[Batch], Any],
) -> Iterable[tuple[Batch, Any]]:
    stream = iter(batches(epoch))
    if hp.shuffle:
        stream = shuffled(stream, hp.shuffle_buffer_size, hp.mini_batch_size, (hp.seed, epoch))
    _skip(stream, epoch, n_done, labels_crc, should_stop)
    for batch in stream:
        yield batch, prepare(batch)


def _skip(stream: Iterator[Batch], epoch: int, n_done: int, labels_crc: int, should_stop: Callable[[], bool]) -> None:
    """Leave out batches that were done before, and see whether they are the same."""
    n, crc = _passed_over(stream, n_done)
    if should_stop():  # the stream may have been cut short by that
        return
    if n < n_done:
        raise DataError(
            f"epoch {epoch} has {n} batches, and the checkpoint was written after {n_done} of it: the training data "
            "is not what it was; use another checkpoint folder to train from the start"
        )
    _compare_labels(crc, labels_crc, epoch)


def _passed_over(stream: Iterator[Batch], n_done: int) -> tuple[int, int]:
    """Take so many batches from a stream, if it has them; give their number and the checksum of their labels."""
    n = crc = 0
    for batch in itertools.islice(stream, n_done):
        n += 1
        crc = _labels_crc(batch, crc)
    return n, crc


def _compare_labels(crc: int, labels_crc: int, epoch: int) -> None:
    if labels_crc not in (crc, UNKNOWN_LABELS):
        _log.warning(
            "The records of epoch %d that the checkpoint has seen are others now, or in another order: the model will "
            "not be that of a training without interruption.", epoch,
        )  # fmt: skip


def _labels_crc(batch: Batch, crc: int) -> int:
    # labels only: they tell one order of the data from another, and cost microseconds
    return zlib.crc32(batch.values.size.to_bytes(8, "little"), zlib.crc32(batch.known_labels.data, crc))


class _BestKeeper:
    """Keeps the best epoch's model, if early stopping was asked for."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._predictor_type = hyperparameters.predictor_type
        self._patience = hyperparameters.early_stopping_patience
        self.best_value = math.inf
        self.best_epoch = 0
        self.params: NDArray[np.float32] | None = None
        self.best: Model | None = None

    def is_best(self, metrics: dict[str, float], solver: Solver, epoch: int) -> bool:
        value = metrics.get(link_for(self._predictor_type).loss_metric, math.inf)
        if not value < self.best_value:
            return False
        self.best_value, self.best_epoch = value, epoch
        if self._patience is not None:
            if self.params is None:
                self.params = np.empty_like(solver.params)
            np.copyto(self.params, solver.params)
            self.best = Model.of_params(self._predictor_type, float(solver.bias[0]), self.params)
        return True

    def is_out_of_patience(self, epoch: int) -> bool:
        return self._patience is not None and epoch - self.best_epoch >= self._patience

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        at = checkpoint.position
        self.best_value, self.best_epoch = at.best_value, at.best_epoch
        if checkpoint.best is not None:
            self.params = checkpoint.best
            self.best = Model.of_params(self._predictor_type, at.best_bias, self.params)


def _check_finite(model: Model) -> None:
    """Look at every parameter once, in pieces: a score may be finite where a parameter it did not use is not."""
    for start in range(0, model.feature_dim, 65536):
        stop = start + 65536
        if not (np.isfinite(model.V[start:stop]).all() and np.isfinite(model.w[start:stop]).all()):
            raise DivergenceError(f"parameters of features from {start} on are no longer finite")


def _cause(hp: Hyperparameters) -> str:
    return (
        f", with bias_lr={hp.bias_lr:g}, linear_lr={hp.linear_lr:g} and factors_lr={hp.factors_lr:g}: "
        "lower the learning rates, or set clip_gradient"
    )
