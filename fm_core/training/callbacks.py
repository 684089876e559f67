"""What a training reports while it runs, and what it returns."""

import dataclasses
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from fm_core.batch import Batch
from fm_core.model import Model

__all__ = [
    "BatchReport",
    "Batches",
    "Callback",
    "EpochReport",
    "FitResult",
    "History",
    "Logged",
    "ResumeReport",
    "Silent",
    "Spoken",
    "Together",
    "ValidationReport",
    "once_more",
]

_log = logging.getLogger(__name__)

#: ``batches(epoch)`` gives an epoch's batches, each of mini_batch_size rows but the last, all dense or all sparse.
Batches = Callable[[int], Iterable[Batch]]


def once_more(batches: Batches, epoch: int) -> Iterable[Batch]:
    """Read the batches of an epoch in a pass before it, by their method `once_more` if they have one.

    Parameters
    ----------
    batches : callable
        See `fit`.
    epoch : int
        From 0.

    Returns
    -------
    batches : iterable of Batch
    """
    found: Iterable[Batch] = getattr(batches, "once_more", batches)(epoch)
    return found


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """The epoch so far, reported at batch 0 and every ``batch_metrics_publish_interval`` batches."""

    epoch: int
    batch: int
    metrics: dict[str, float]
    records_per_second: float


@dataclasses.dataclass(frozen=True)
class EpochReport:
    """One finished epoch, of `epochs` at most. `started` and `ended` are seconds since 1970."""

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
    """The position at which training resumes, and what was reported before it.

    `passes` are the epochs that are done, as (n_records, n_batches, how many in a row); `metrics` those
    of the last of them, `validation` those of the model that would be kept.
    """

    epoch: int
    n_batches: int
    passes: list[tuple[int, int, int]]
    metrics: dict[str, float]
    validation: dict[str, float]


class Callback(Protocol):
    """The interface of callbacks: what a training reports while it runs. `Silent` ignores it."""

    def resumed(self, report: ResumeReport) -> None:
        """Called if training resumes from a checkpoint, before `started`.

        Parameters
        ----------
        report : ResumeReport
            What happened before.
        """

    def started(self, is_dense: bool) -> None:
        """Called when the first batch has arrived and training begins.

        Parameters
        ----------
        is_dense : bool
            Whether its rows are dense.
        """

    def batch(self, report: BatchReport) -> None:
        """Called after a batch whose metrics are to be published.

        Parameters
        ----------
        report : BatchReport
            The metrics of the epoch so far.
        """

    def remarked(self, remark: str) -> None:
        """Called if the solver has made a decision.

        Parameters
        ----------
        remark : str
            A sentence that explains it.
        """

    def epoch(self, report: EpochReport) -> None:
        """Called after each epoch.

        Parameters
        ----------
        report : EpochReport
            Its metrics, counts and times.
        """

    def validated(self, report: ValidationReport) -> None:
        """Called after the validation data was scored, which follows `epoch`.

        Parameters
        ----------
        report : ValidationReport
            Its metrics, and whether this epoch is the best so far.
        """


class Silent:
    """A callback that does nothing."""

    def _ignore(self, report: Any) -> None:
        pass

    resumed = started = batch = remarked = epoch = validated = _ignore


class Logged(Silent):
    """A callback that logs what the solver has decided."""

    def remarked(self, remark: str) -> None:
        """Log the decision; see `Callback.remarked`."""
        _log.info("%s", remark)


class History(Silent):
    """A callback that keeps the metrics of every epoch.

    Attributes
    ----------
    epochs : list of dict
        ``{"train": {...}, "validation": {...}}``.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, dict[str, float]]] = []

    def epoch(self, report: EpochReport) -> None:
        """Keep the metrics; see `Callback.epoch`."""
        self.epochs.append({"train": report.metrics})

    def validated(self, report: ValidationReport) -> None:
        """Keep the metrics; see `Callback.validated`."""
        self.epochs[-1]["validation"] = report.metrics


class Spoken(Silent):
    """A callback that prints a line for every epoch."""

    def epoch(self, report: EpochReport) -> None:
        """Print the metrics; see `Callback.epoch`."""
        shown = ", ".join(f"{name} {value:.5g}" for name, value in report.metrics.items())
        print(f"epoch {report.epoch + 1}: training {shown}", flush=True)

    def validated(self, report: ValidationReport) -> None:
        """Print the metrics; see `Callback.validated`."""
        shown = ", ".join(f"{name} {value:.5g}" for name, value in report.metrics.items())
        print(f"epoch {report.epoch + 1}: validation {shown}", flush=True)


class Together:
    """Several callbacks as one; they are called in their order."""

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks = callbacks

    def resumed(self, report: ResumeReport) -> None:
        """Call all callbacks; see `Callback.resumed`."""
        for callback in self._callbacks:
            callback.resumed(report)

    def started(self, is_dense: bool) -> None:
        """Call all callbacks; see `Callback.started`."""
        for callback in self._callbacks:
            callback.started(is_dense)

    def batch(self, report: BatchReport) -> None:
        """Call all callbacks; see `Callback.batch`."""
        for callback in self._callbacks:
            callback.batch(report)

    def epoch(self, report: EpochReport) -> None:
        """Call all callbacks; see `Callback.epoch`."""
        for callback in self._callbacks:
            callback.epoch(report)

    def remarked(self, remark: str) -> None:
        """Call all callbacks; see `Callback.remarked`."""
        for callback in self._callbacks:
            callback.remarked(remark)

    def validated(self, report: ValidationReport) -> None:
        """Call all callbacks; see `Callback.validated`."""
        for callback in self._callbacks:
            callback.validated(report)


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a training gives.

    Attributes
    ----------
    model : Model
        With ``early_stopping_patience``, that of the best epoch, else of the last batch.
    metrics : dict of float
        Training metrics of the last finished epoch; empty if none was finished.
    epochs_done : int
    stopped : bool
        Whether training was asked to stop, and did.
    """

    model: Model
    metrics: dict[str, float]
    epochs_done: int
    stopped: bool
