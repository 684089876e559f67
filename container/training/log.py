"""The log of a training job.

`Reporter` is the solver's callback: it passes the lines of container/training/log_lines.py in the
built-in's order to `logging`. On a terminal, and only there, a progress
bar replaces the batch lines.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from container.harmless_log import LONGEST_LINE, HarmlessFormatter
from container.training import log_lines as lines
from container.training.log_lines import Line, PassStatistics, RecordCounters
from fm_core.hyperparameters import Hyperparameters
from fm_core.printable import printable

if TYPE_CHECKING:
    from fm_core.training.callbacks import BatchReport, EpochReport, ResumeReport, ValidationReport

__all__ = ["Progress", "Reporter", "emit", "set_up_logging"]

_log = logging.getLogger(__name__)


class Progress:
    """A progress bar on a terminal; elsewhere nothing.

    Parameters
    ----------
    stream : text file
        Where the log goes.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._tqdm: Any = None
        self._n_records: int | None = None
        # `docker run -t` with nobody looking has a terminal without columns: a log is read, so it gets its lines.
        if stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0:
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self._tqdm = tqdm

    @property
    def is_shown(self) -> bool:
        """Whether there is a bar."""
        return self._tqdm is not None

    def watch(self, batches: Iterable[Any], epoch: int) -> Iterator[Any]:
        """Hand on an epoch's batches, and show how many records have passed."""
        if self._tqdm is None:
            yield from batches
            return
        with self._tqdm(
            desc=f"epoch {epoch}", total=self._n_records, unit=" records", unit_scale=True, leave=False,
            file=self._stream, dynamic_ncols=True,
        ) as bar:  # fmt: skip
            for batch in batches:
                yield batch
                bar.update(len(batch))
            self._n_records = bar.n

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Leave the terminal to a log line while the block runs."""
        if self._tqdm is None:
            return contextlib.nullcontext()
        pause: contextlib.AbstractContextManager[None] = self._tqdm.external_write_mode(file=self._stream)
        return pause


class _Formatter(HarmlessFormatter):
    """The built-in's prefix; errors also name the place they are said at."""

    _DATE = "%m/%d/%Y %H:%M:%S"

    def __init__(self, prefix: str = "[%(asctime)s %(levelname)s %(thread)d] ") -> None:
        super().__init__(f"{prefix}%(message)s", self._DATE)

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "bare", False):
            message = record.getMessage()
            return message if getattr(record, "is_ours", False) else printable(message, LONGEST_LINE)
        return logging.Formatter.format(self, record) if getattr(record, "is_ours", False) else super().format(record)


class _Formatters(logging.Formatter):
    """Errors name their place."""

    def __init__(self) -> None:
        super().__init__()
        self._usual = _Formatter()
        self._error = _Formatter("[%(asctime)s %(levelname)s %(thread)d %(filename)s:%(lineno)d] ")

    def format(self, record: logging.LogRecord) -> str:
        return (
            self._error if record.levelno >= logging.ERROR and not getattr(record, "bare", False) else self._usual
        ).format(record)


class _Handler(logging.StreamHandler[IO[str]]):
    def __init__(self, stream: IO[str], progress: Progress) -> None:
        super().__init__(stream)
        self.setFormatter(_Formatters())
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        with self._progress.paused():
            super().emit(record)


def set_up_logging(stream: IO[str], progress: Progress) -> None:
    """Send every log line of the process to one stream."""
    root = logging.getLogger()
    root.handlers[:] = [_Handler(stream, progress)]
    root.setLevel(logging.INFO)


def emit(said: Iterable[Line]) -> None:
    """Log lines in order."""
    for line in said:
        # What is bare has no level to be filtered by: metrics are printed in any case, as in the built-in.
        _log.log(
            logging.CRITICAL if line.bare else line.level,
            "%s",
            line.text,
            extra={"bare": line.bare, "is_ours": line.is_ours},
        )


class Reporter:
    """The solver's callback, and the log lines before and after training.

    Parameters
    ----------
    host : str
        Named in every metric.
    hyperparameters : fm_core.Hyperparameters
    train_folder : Path
        Named in the lines about passes over the data.
    n_bytes : callable
        Bytes read in the current epoch.
    should_stop : callable
        Once it is true, passes end early, and their scores are not those of the channel.
    progress : Progress
    n_gpus : callable
        Given whether the data is dense, how many GPUs learn from it.
    store : str
        The built-in's name for the way hosts work together.

    Attributes
    ----------
    has_started : bool
        Whether a first batch came, so that there is something learned to save.
    """

    def __init__(
        self,
        *,
        host: str,
        hyperparameters: Hyperparameters,
        train_folder: Path,
        n_bytes: Callable[[], int],
        should_stop: Callable[[], bool],
        progress: Progress,
        n_gpus: Callable[[bool], int] = lambda is_dense: 0,
        store: str = "local",
    ) -> None:
        self.has_started = False
        self._host = host
        # a solver that keeps all rows learns nothing from a batch
        self._mini_batch_size = hyperparameters.mini_batch_size if hyperparameters.solver == "minibatch" else 0
        self._keeps_best = hyperparameters.early_stopping_patience is not None
        self._train_folder = train_folder
        self._n_bytes = n_bytes
        self._should_stop = should_stop
        self._progress = progress
        self._n_gpus = n_gpus
        self._store = store
        self._created = time.time()
        self._set_up = self._created
        self._is_dense = False
        self._counters = RecordCounters()
        self._train_metrics: Mapping[str, float] = {}
        self._validation_metrics: Mapping[str, float] = {}
        self._is_final_said = False

    # --- the solver's callback ---

    def resumed(self, report: "ResumeReport") -> None:
        """Training resumes from a checkpoint: restore the counts and metrics until then."""
        for n_records, n_batches, n_epochs in report.passes:
            for _ in range(n_epochs):
                self._counters.add(n_records, n_batches)
        self._train_metrics = report.metrics
        self._validation_metrics = report.validation

    def started(self, is_dense: bool) -> None:
        """The first batch is there, training begins."""
        self.has_started = True
        self._is_dense = is_dense
        self._set_up = time.time()
        emit(lines.network_lines(is_dense, self._n_gpus(is_dense), self._store))
        milliseconds = {"initialize.time": (self._set_up - self._created) * 1000}
        emit([self._metrics(self._created, milliseconds), self._data_line(self._set_up, Meta="init_train_data_iter")])

    def batch(self, report: "BatchReport") -> None:
        """The running means of an epoch, every so many batches."""
        if self._progress.is_shown:
            return
        if report.batch > 0:
            emit([lines.speed_line(report.epoch, report.batch, report.records_per_second)])
        where = f"epoch={report.epoch}, batch={report.batch} train"
        emit(lines.quality_lines(self._host, where, report.metrics))

    def remarked(self, remark: str) -> None:
        """What the solver has decided."""
        _log.info("%s", remark)

    def epoch(self, report: "EpochReport") -> None:
        """The end of an epoch."""
        seconds = report.ended - report.started
        if report.epoch == 0 and report.n_records < self._mini_batch_size:
            _log.warning(
                "mini_batch_size is %d and the train channel has only %d records: each epoch is one shorter batch.",
                self._mini_batch_size, report.n_records,
            )  # fmt: skip
        self._counters.add(report.n_records, report.n_batches)
        self._train_metrics = report.metrics
        statistics = PassStatistics(report.n_batches, self._n_bytes(), seconds)
        emit([lines.pass_line(self._train_folder, report.epoch, statistics, report.ended)])
        if self._is_dense:
            emit(lines.dense_epoch_lines(report.epoch, report.metrics, seconds))
        emit(lines.quality_lines(self._host, f"epoch={report.epoch}, train", report.metrics))
        if report.epoch == report.epochs - 1:
            self._say_final()
        times: dict[str, float] = {"epochs": report.epochs} if report.epoch == 0 else {}
        times["update.time"] = seconds * 1000
        emit(
            [
                self._metrics(report.started, times, report.ended),
                lines.progress_line(self._host, report.epoch + 1, report.epochs),
                self._data_line(report.started, epoch=report.epoch, Meta="training_data_iter"),
                lines.throughput_line(self._host, report.n_records, seconds),
            ]
        )

    def validated(self, report: "ValidationReport") -> None:
        """The validation channel's scores after an epoch."""
        if self._should_stop():
            return
        if report.is_best or not self._keeps_best:
            self._validation_metrics = report.metrics
        emit(lines.quality_lines(self._host, f"epoch={report.epoch}, validation", report.metrics))

    # --- after training ---

    def finished(self) -> None:
        """Training is over, perhaps before its last epoch; these are the scores of the model that is kept."""
        if not self._is_final_said:
            self._say_final()
        emit(lines.quality_lines(self._host, "validation", self._validation_metrics))

    def saved(self, path: Path, started: float) -> None:
        """The artifact is written."""
        emit(
            [
                self._metrics(started, {"finalize.time": (time.time() - started) * 1000}),
                Line(f'Saved checkpoint to "{path}"'),
            ]
        )

    def tested(self, folder: Path, metrics: Mapping[str, float], n_records: int, statistics: PassStatistics) -> None:
        """The test channel's scores."""
        now = time.time()
        counters = RecordCounters()
        counters.add(n_records, statistics.n_batches)
        emit(
            [
                lines.pass_line(folder, 0, statistics, now),
                self._metrics(now - statistics.seconds, counters.metrics(), now, Meta="test_data_iter"),
                *lines.test_score_lines(self._host, metrics),
            ]
        )

    def ended(self) -> None:
        """The job is done."""
        now = time.time()
        times = {"setuptime": (self._set_up - self._created) * 1000, "totaltime": (now - self._created) * 1000}
        emit([self._metrics(self._created, times, now)])

    def _say_final(self) -> None:
        emit(lines.quality_lines(self._host, "train", self._train_metrics))
        self._is_final_said = True

    def _data_line(self, started: float, **dimensions: Any) -> Line:
        return self._metrics(started, self._counters.metrics(), **dimensions)

    def _metrics(
        self, started: float, metrics: Mapping[str, float], ended: float | None = None, **dimensions: Any
    ) -> Line:
        return lines.metrics_line(self._host, started, ended or time.time(), metrics, **dimensions)
