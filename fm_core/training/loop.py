"""The loop of every training: epochs, and within them a sequence of safe points.

A `Loop` consists of replaceable parts: hosts (one_host.py, or cluster/ for several), which provide the data, create the
solver and decide together; the solver, whose safe points it consumes; checkpoints; early stopping; and a callback. It
contains no mathematics: it adds up metrics, and does not use parameters.

All state between two safe points is in a checkpoint's `Position`.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from fm_core.arrays import first_not_finite
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.checkpoints.writer import Checkpoints
from fm_core.errors import DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.metrics import Metrics, metrics_for
from fm_core.model import Model
from fm_core.solvers.base import Learner, Moment, SafePoint, SolverState
from fm_core.training.callbacks import BatchReport, Callback, EpochReport, FitResult, ResumeReport, ValidationReport
from fm_core.training.early_stopping import BestEpoch
from fm_core.training.resume import labels_crc

__all__ = ["Feed", "Hosts", "Loop"]

Data = TypeVar("Data", contravariant=True)


class Feed(NamedTuple):
    """What a solver learns an epoch from.

    Attributes
    ----------
    is_dense : bool or None
        What kind of rows they are; None: there is no row, on any host.
    data : object
        As `Learner.epoch` takes it.
    labels_crc : int or None
        The checksum of all rows' labels, where they are in memory; None: the loop makes it of each batch in turn.
    """

    is_dense: bool | None
    data: Any
    labels_crc: int | None = None


class Hosts(Protocol[Data]):
    """What one host does alone, or several decide together.

    Attributes
    ----------
    where : str
        Where records are missing, if there are none: the end of a sentence.
    """

    where: str

    def should_stop(self) -> bool:
        """Whether training ends at this safe point, as it was asked to; of several hosts, the same on all."""

    def feed(self, data: Data, at: Moment, labels_crc: int) -> contextlib.AbstractContextManager[Feed]:
        """Provide the rows of an epoch that are not done yet.

        Parameters
        ----------
        data : any
            The training data, as the hosts take it.
        at : Moment
            The epoch, and the number of batches that are done.
        labels_crc : int
            The checksum of the labels of the batches that are done.

        Returns
        -------
        feed : context manager of Feed
        """

    def make_solver(self, is_dense: bool | None, model: Model | None, state: SolverState | None) -> Learner:
        """Create the solver.

        Parameters
        ----------
        is_dense : bool or None
            Whether rows are dense; None if there are none.
        model : Model or None
            The model to start from.
        state : SolverState or None
            The state of a checkpoint.

        Returns
        -------
        solver : Learner
        """

    def total(self, metrics: Metrics) -> Metrics:
        """Sum the metrics of an epoch over all hosts.

        Parameters
        ----------
        metrics : Metrics
            Those of this host.

        Returns
        -------
        metrics : Metrics
        """

    def total_so_far(self, metrics: Metrics) -> Metrics:
        """Return the metrics within an epoch, for progress lines.

        Parameters
        ----------
        metrics : Metrics
            Those of this host.

        Returns
        -------
        metrics : Metrics
        """

    def n_batches(self, n: int) -> int:
        """Return the number of batches of an epoch over all hosts.

        Parameters
        ----------
        n : int
            Those of this host.

        Returns
        -------
        n : int
        """

    def evaluate(self, data: Data, epoch: int) -> tuple[dict[str, float], int] | None:
        """Score validation data with the current solver, over all hosts.

        Parameters
        ----------
        data : any
            The validation data, as the hosts take it.
        epoch : int
            From 0.

        Returns
        -------
        metrics, n_records : tuple or None
            None if training has to stop.
        """


class Loop(Generic[Data]):
    """One training.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    hosts : Hosts
    callback : Callback
    model : Model, optional
        Starting point. It is given up once the solver is made: it may be large.
    checkpoints : Checkpoints, optional
    kept : callable, optional
        Given the model of the best epoch so far, gives the one to keep.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        hosts: Hosts[Data],
        callback: Callback,
        model: Model | None = None,
        checkpoints: Checkpoints | None = None,
        kept: Callable[[Model], Model] = lambda model: model,
    ) -> None:
        self._hp = hyperparameters
        self._hosts = hosts
        self._callback = callback
        self._model = model
        self._checkpoints = checkpoints
        self._kept = kept
        self._solver: Learner | None = None
        self._best = BestEpoch(hyperparameters)
        self._totals = self._own_totals = metrics_for(hyperparameters.predictor_type, hyperparameters.loss)
        self._is_dense = False
        self._is_resumable = True
        self._epoch = self._epochs_done = 0
        self._n_batches = 0
        self._labels_crc = 0
        self._feed_crc: int | None = None
        self._passes: list[tuple[int, int, int]] = []
        self._metrics: dict[str, float] = {}
        self._validation: dict[str, float] = {}

    def run(self, data: Data, validation: Data | None = None, resume: Checkpoint | None = None) -> FitResult:
        """Train to the end.

        Parameters
        ----------
        data, validation : as the hosts take it
        resume : Checkpoint, optional
            Where to go on.

        Returns
        -------
        result : FitResult

        Raises
        ------
        DataError
            The training data is empty, or a batch is not as declared.
        DivergenceError
            Parameters are no longer finite; the message names the epoch and batch.
        """
        if resume is not None:
            self._go_on_from(resume)
        while not self._is_over:
            if not (self._learn(data) and self._validate(validation)):
                return self._result(stopped=True)
            self._begin_next_epoch()
        return self._result(stopped=self._hosts.should_stop())

    @property
    def moment(self) -> str:
        """Where training is, in words."""
        return f"epoch {self._epoch}, batch {self._n_batches}"

    @property
    def _most_epochs(self) -> int:
        """How many epochs there will be at most, as far as is known."""
        assert self._solver is not None
        if self._solver.is_done:
            return self._epochs_done
        return max(self._hp.n_epochs or self._solver.most_epochs or 1, self._epochs_done)

    @property
    def _is_over(self) -> bool:
        most = self._hp.n_epochs
        if (most is not None and self._epoch >= most) or self._best.is_out_of_patience(self._epoch - 1):
            return True
        return self._solver is not None and self._n_batches == 0 and self._solver.is_done

    # --- from one run to the next ---

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        at = checkpoint.position
        self._epoch, self._n_batches, self._labels_crc = at.epoch, at.n_batches, at.labels_crc
        self._epochs_done = at.epoch
        self._totals.go_on_from(at.sums)
        self._passes = [(n_records, n_batches, n_epochs) for n_records, n_batches, n_epochs in at.passes]
        self._metrics, self._validation = at.metrics, at.validation
        self._callback.resumed(ResumeReport(at.epoch, at.n_batches, self._passes, at.metrics, at.validation))
        self._start(at.is_dense, checkpoint)
        self._best.go_on_from(checkpoint)

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
            best_value=self._best.value,
            best_epoch=self._best.epoch,
            best_bias=self._best.w0,
        )

    def _start(self, is_dense: bool, checkpoint: Checkpoint | None = None) -> None:
        self._is_dense = is_dense
        self._callback.started(is_dense)
        self._solver = self._hosts.make_solver(is_dense, self._model, checkpoint.state if checkpoint else None)
        self._model = None
        if self._hosts.should_stop():
            self._checkpoints = None  # nothing will be learned that is not in a checkpoint already
        if self._checkpoints is not None:
            self._checkpoints.start(self._solver, checkpoint)

    # --- an epoch ---

    def _learn(self, data: Data) -> bool:
        """Learn from what of the epoch is not done; False: training has to stop."""
        started, n_before = time.time(), self._totals.n
        at = Moment(self._epoch, self._n_batches)
        with self._hosts.feed(data, at, self._labels_crc) as feed:
            if self._solver is None and feed.is_dense is not None:
                self._start(feed.is_dense)
                started = time.time()
            # drawing the initial parameters of a large model takes seconds
            if self._solver is not None and not self._hosts.should_stop():
                self._feed_crc = feed.labels_crc
                if feed.labels_crc is not None:
                    self._labels_crc = feed.labels_crc
                for point in self._points(self._solver.epoch(feed.data, at)):
                    self._account(point)
                    if point.remark is not None:
                        self._callback.remarked(point.remark)
                    self._publish(started, n_before)
                    self._n_batches += 1
                    self._keep(point, self._solver)
                    if self._hosts.should_stop():
                        break
        if self._hosts.should_stop():
            return False
        if self._solver is None:
            raise DataError(f"the training data has no records{self._hosts.where}, expected at least one")
        self._end_epoch(started)
        return True

    def _points(self, points: Iterator[SafePoint]) -> Iterator[SafePoint]:
        """Yield the safe points; if the solver diverges, add the position to the error."""
        while True:
            try:
                point = next(points)
            except StopIteration:
                return
            except DivergenceError as error:
                raise self._diverged(f"{self.moment}: {error}") from None
            yield point

    def _account(self, point: SafePoint) -> None:
        self._is_resumable = point.is_resumable
        if point.scores is not None and point.labels is not None:
            self._totals.update(point.scores, point.labels, point.weights)
        if self._checkpoints is not None:
            if point.batch is not None and self._feed_crc is None:
                self._labels_crc = labels_crc(point.batch, self._labels_crc)
            self._checkpoints.mark(point.changed)

    def _publish(self, started: float, n_before: int) -> None:
        """Tell the metrics, if they are due; `n_before` rows were in them when the epoch `started`."""
        if self._n_batches % self._hp.batch_metrics_publish_interval == 0:
            rate = (self._totals.n - n_before) / max(time.time() - started, 1e-9)
            metrics = self._hosts.total_so_far(self._totals).values()
            self._callback.batch(BatchReport(self._epoch, self._n_batches, metrics, rate))

    def _keep(self, point: SafePoint, solver: Learner) -> None:
        """Offer a checkpoint, or write it where all hosts do."""
        if self._checkpoints is not None and point.is_resumable and point.checkpoint is not False:
            with self._divergence_told(solver):
                if point.checkpoint:
                    self._checkpoints.write(self._position(), solver, self._best.params)
                else:
                    self._checkpoints.offer(self._position, solver, self._best.params, epoch_end=False)

    def _end_epoch(self, started: float) -> None:
        """Tell the metrics of an epoch that is done."""
        self._own_totals, self._totals = self._totals, self._hosts.total(self._totals)
        self._n_batches = self._hosts.n_batches(self._n_batches)
        self._metrics = self._totals.values()
        self._epochs_done = self._epoch + 1
        n, now = self._totals.n, time.time()
        most = self._most_epochs
        self._callback.epoch(EpochReport(self._epoch, most, self._metrics, n, self._n_batches, started, now))

    def _validate(self, validation: Data | None) -> bool:
        """Score the validation data, if there is some; False: training has to stop, and it was not scored."""
        if validation is None:
            return True
        assert self._solver is not None
        found = self._hosts.evaluate(validation, self._epoch)
        if found is None:
            self._totals = self._own_totals  # where training goes on from
            return False
        metrics, n = found
        if self._checkpoints is not None and self._best.params is not None:
            self._checkpoints.settle()  # a checkpoint may be being written from the best parameters so far
        is_best = self._best.is_best(metrics, self._epoch)
        if is_best and self._best.is_kept:
            self._best.keep(self._kept(self._solver.model))
        if is_best or not self._best.is_kept:
            self._validation = metrics
        self._callback.validated(ValidationReport(self._epoch, metrics, n, is_best))
        return True

    def _begin_next_epoch(self) -> None:
        """Leave an epoch that is done."""
        done = (self._totals.n, self._n_batches)
        alike = self._passes.pop()[2] if self._passes and self._passes[-1][:2] == done else 0
        self._passes.append((*done, alike + 1))
        self._epoch += 1
        self._n_batches = 0
        self._labels_crc = self._feed_crc or 0
        self._totals = metrics_for(self._hp.predictor_type, self._hp.loss)
        if self._checkpoints is not None and self._solver is not None and not self._is_over:  # else `_result` follows
            with self._divergence_told(self._solver):
                self._checkpoints.offer(self._position, self._solver, self._best.params, epoch_end=True)

    # --- the end ---

    def _result(self, stopped: bool) -> FitResult:
        """End training where it is."""
        if self._solver is None:
            return FitResult(self._hosts.make_solver(None, self._model, None).model, {}, 0, stopped)
        kept = self._best.model or self._solver.model
        kept.score_range = self._solver.model.score_range
        try:
            _check_finite(kept)
            self._solver.check()
        except DivergenceError as error:
            where = f"epoch {self._epoch}, after {self._n_batches} batches"
            raise self._diverged(f"{where}: {error}{self._solver.remedy}") from None
        if self._checkpoints is not None and self._is_resumable:
            self._checkpoints.final(self._position(), self._solver, self._best.params)
        kept.spread = self._solver.spread
        return FitResult(kept, self._metrics, self._epochs_done, stopped)

    @contextlib.contextmanager
    def _divergence_told(self, solver: Learner) -> Iterator[None]:
        try:
            yield
        except DivergenceError as error:
            raise self._diverged(f"{error}{solver.remedy}") from None

    def _diverged(self, sentence: str) -> DivergenceError:
        if self._checkpoints is None:
            return DivergenceError(sentence)
        self._checkpoints.settle()
        return DivergenceError(sentence + self._checkpoints.kept())


def _check_finite(model: Model) -> None:
    """Look at every parameter once, in pieces: a score may be finite where a parameter it did not use is not."""
    if not math.isfinite(model.w0):
        raise DivergenceError("the bias w0 is no longer finite")
    for array in model.arrays:
        row = first_not_finite(array)
        if row is not None:
            raise DivergenceError(f"parameters of features from {row} on are no longer finite")
