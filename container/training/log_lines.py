"""Numbers -> log lines, in the format of the built-in.

Tuning jobs, metric definitions, the console and scripts parse these lines with regular
expressions, so they equal the built-in's to the character. The functions below only format;
container/training/log.py calls them in order and logs the lines.

A line gets the prefix ``[MM/DD/YYYY HH:MM:SS LEVEL thread] `` unless it is bare. Floats
are printed as Python prints them, with every digit. `docs/reference/contract.md` lists the lines of the
built-in that are left out, because they would not be true here.
"""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Line",
    "PassStatistics",
    "RecordCounters",
    "configuration_lines",
    "dense_epoch_lines",
    "metrics_line",
    "network_lines",
    "no_test_line",
    "pass_line",
    "pipe_line",
    "progress_line",
    "quality_lines",
    "speed_line",
    "start_line",
    "test_score_lines",
    "throughput_line",
    "worker_lines",
]

ALGORITHM = "factorization-machines"

#: How the built-in calls each metric.
KINDS = {
    "rmse": "loss",
    "mse": "loss",
    "absolute_loss": "loss",
    "binary_classification_accuracy": "score",
    "binary_classification_cross_entropy": "loss",
    "binary_f_1.000": "score",
    "roc_auc": "score",
    "pr_auc": "score",
    "ranking_loss": "loss",
    "ranking_accuracy": "score",
}

#: Those of rankings, whose names end in a number: ``ndcg_at_10``.
KINDS_AT = dict.fromkeys(("ndcg", "precision", "recall", "map", "mrr", "coverage"), "score")


class Line(NamedTuple):
    """One line of the log.

    Attributes
    ----------
    text : str
    level : int
    bare : bool
        Without the prefix.
    is_ours : bool
        Made of numbers and of words of our own, as metrics are: any other line is made harmless before it is written.
    """

    text: str
    level: int = logging.INFO
    bare: bool = False
    is_ours: bool = False


def start_line() -> Line:
    """The line that the process starts with."""
    return Line("Docker entrypoint called with argument(s): train", bare=True)


def configuration_lines(
    defaults: Mapping[str, str], provided: Mapping[str, Any], final: Mapping[str, str], source: str, path: Path
) -> list[Line]:
    """The hyperparameters, in three lines.

    Parameters
    ----------
    defaults, provided, final : mapping of str to str
        The defaults, what the job provides, and both together.
    source : str
        The file that has the defaults.
    path : Path
        The file that has what the job provides.

    Returns
    -------
    lines : list of Line
    """
    return [
        Line(f"Reading default configuration from {source}: {dict(defaults)}"),
        Line(f"Merging with provided configuration from {path}: {dict(provided)}"),
        Line(f"Final configuration: {dict(final)}"),
    ]


def worker_lines(process_id: int, checkpoints: Path | None = None) -> list[Line]:
    """What the process is in the job, and where its checkpoints are."""
    enabled = f"Checkpoint loading and saving are enabled, in {checkpoints}."
    return [
        Line(f"Process {process_id} is a worker.", bare=True),
        Line("Using default worker."),
        Line(enabled if checkpoints else "Checkpoint loading and saving are disabled."),
    ]


def pipe_line(channel: str, folder: Path) -> Line:
    """The line for each channel in Pipe mode."""
    return Line(f"The channel '{channel}' is in pipe input mode under {folder}.")


def network_lines(is_dense: bool, n_gpus: int = 0, store: str = "local") -> list[Line]:
    """The kind of input, and what computes.

    Parameters
    ----------
    is_dense : bool
        Whether the first record is dense.
    n_gpus : int
    store : str
        What the built-in calls a store of parameters: ``local``, or that of several hosts.

    Returns
    -------
    lines : list of Line
    """
    network = (
        "[Fully symbolic network] Building a fully symbolic network."
        if is_dense
        else "[Sparse network] Building a sparse network."
    )
    return [Line(f"Number of GPUs being used: {n_gpus}"), Line(network), Line(f"Create Store: {store}")]


def quality_lines(host: str, where: str, metrics: Mapping[str, float]) -> list[Line]:
    """One line for each metric.

    Parameters
    ----------
    host : str
    where : str
        What precedes the metric's name: ``epoch=0, batch=0 train`` (no second comma, as in the
        built-in), ``epoch=0, train``, ``train`` or ``test``.
    metrics : mapping of str to float
    """
    return [
        Line(f"#quality_metric: host={host}, {where} {name} <{_kind(name)}>={float(value)!r}", is_ours=True)
        for name, value in metrics.items()
    ]


def _kind(name: str) -> str:
    return KINDS.get(name) or KINDS_AT[name.partition("_at_")[0]]


def speed_line(epoch: int, batch: int, records_per_second: float) -> Line:
    """The line before the metrics of every reported batch, except the first of an epoch.

    Parameters
    ----------
    epoch, batch : int
        Counted from 0.
    records_per_second : float

    Returns
    -------
    line : Line
    """
    return Line(f"Iter[{epoch}] Batch [{batch}]\tSpeed: {records_per_second:.2f} samples/sec", is_ours=True)


def dense_epoch_lines(epoch: int, metrics: Mapping[str, float], seconds: float) -> list[Line]:
    """The lines at the end of an epoch, of dense data only.

    Parameters
    ----------
    epoch : int
        Counted from 0.
    metrics : mapping of str to float
        Of the epoch's records.
    seconds : float
        The epoch's duration.

    Returns
    -------
    lines : list of Line
    """
    return [
        *(Line(f"Epoch[{epoch}] Train-{name}={value:f}", is_ours=True) for name, value in metrics.items()),
        Line(f"Epoch[{epoch}] Time cost={seconds:.3f}"),
    ]


def test_score_lines(host: str, metrics: Mapping[str, float]) -> list[Line]:
    """The scores of the test channel, in both of the built-in's forms."""
    return [
        *(Line(f"#test_score ({host}) : {(name, float(value))!r}", is_ours=True) for name, value in metrics.items()),
        *quality_lines(host, "test", metrics),
    ]


def no_test_line() -> Line:
    """The line if there is no test channel."""
    return Line("Test data is not provided.")


def metrics_line(host: str, started: float, ended: float, metrics: Mapping[str, float], **dimensions: Any) -> Line:
    """A ``#metrics`` line: JSON, times in seconds since 1970, each metric seen once.

    Parameters
    ----------
    host : str
    started, ended : float
    metrics : mapping of str to float
        Counts are int, durations float in milliseconds.
    **dimensions
        ``epoch`` and ``Meta`` where the built-in has them, in that order.
    """
    content = {
        "StartTime": started,
        "EndTime": ended,
        "Dimensions": {"Algorithm": ALGORITHM, "Host": host, "Operation": "training", **dimensions},
        "Metrics": {
            name: {"sum": float(value), "count": 1, "min": value, "max": value} for name, value in metrics.items()
        },
    }
    return Line(f"#metrics {json.dumps(content)}", bare=True, is_ours=True)


def progress_line(host: str, epochs_done: int, epochs: int) -> Line:
    """How far the job is.

    Parameters
    ----------
    host : str
    epochs_done, epochs : int

    Returns
    -------
    line : Line
        With a percentage.
    """
    return Line(f"#progress_metric: host={host}, completed {100.0 * epochs_done / epochs!r} % of epochs", is_ours=True)


def throughput_line(host: str, n_records: int, seconds: float) -> Line:
    """How fast the epoch was.

    Parameters
    ----------
    host : str
    n_records : int
    seconds : float

    Returns
    -------
    line : Line
        With records per second.
    """
    # Two clock readings may be equal in a job of a few records.
    rate = n_records / max(seconds, 1e-6)
    return Line(f"#throughput_metric: host={host}, train throughput={rate!r} records/second", is_ours=True)


class PassStatistics(NamedTuple):
    """One pass over a channel."""

    n_batches: int
    n_bytes: int
    seconds: float


def pass_line(folder: Path, epoch: int, statistics: PassStatistics, ended: float) -> Line:
    """The line in which the built-in's reader reports a pass over a channel; its ``num_examples`` are batches.

    Parameters
    ----------
    folder : Path
        Of the channel.
    epoch : int
        Counted from 0.
    statistics : PassStatistics
    ended : float
        In seconds since 1970.

    Returns
    -------
    line : Line
        Bare; its duration is in milliseconds.
    """
    content = {
        "data_pipeline": str(folder),
        "epoch": epoch,
        "duration": int(statistics.seconds * 1000),
        "num_examples": statistics.n_batches,
        "num_bytes": statistics.n_bytes,
    }
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ended)) + f".{int(ended % 1 * 1000):03d}"
    return Line(f"[{moment}] [tensorio] [info] epoch_stats={json.dumps(content)}", bare=True)


class RecordCounters:
    """The counters the built-in keeps of a channel, as one ``#metrics`` line shows them."""

    def __init__(self) -> None:
        self._passes: list[tuple[int, int]] = []

    def add(self, n_records: int, n_batches: int) -> None:
        """Count a whole pass."""
        self._passes.append((n_records, n_batches))

    def metrics(self) -> dict[str, float]:
        """The counters by the built-in's names."""
        records = [n_records for n_records, _ in self._passes] or [0]
        batches = [n_batches for _, n_batches in self._passes] or [0]
        return {
            "Total Records Seen": sum(records),
            "Total Batches Seen": sum(batches),
            "Max Records Seen Between Resets": max(records),
            "Max Batches Seen Between Resets": max(batches),
            "Reset Count": len(self._passes),
            "Number of Records Since Last Reset": records[-1],
            "Number of Batches Since Last Reset": batches[-1],
        }
