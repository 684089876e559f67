"""What a training leaves to be looked at afterwards: the metrics of every epoch, times, and a sample of scores.

`TrainingRecord` is a callback of `fit`; `report` makes a page of it.
"""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from fm_core.atomic_file import atomic_write
from fm_core.batch import Batch
from fm_core.model import Model
from fm_core.training.callbacks import BatchReport, EpochReport, ResumeReport, ValidationReport

__all__ = ["Mapped", "Sample", "SampledModel", "TrainingRecord"]


class Mapped(NamedTuple):
    """Where a feature is on the map of embeddings."""

    name: str
    column: str
    x: float
    y: float


class TrainingRecord:
    """A callback that records what `fit` reports.

    Attributes
    ----------
    epochs : list of dict
        ``epoch``, ``train`` and perhaps ``validation`` (metrics by name), ``n_records``,
        ``seconds`` and ``validation_seconds``.
    best_epoch : int or None
        That of the best validation loss; None: not among `epochs`.
    best_validation : dict of float
        The validation metrics of the model that early stopping would keep.
    test : dict of float
        Metrics of the test data, if `tested` was told.
    sample : Sample
        Scores of the test data.
    learned_sample : Sample
        Scores of rows that were learned from, by the model that was kept; set by the caller, perhaps empty.
    learned : dict or None
        What the model tells beside its scores (analysis/learned.py), where it does; set by the caller.
    telling : list of str
        Columns that alone determine the label (analysis/leaks.py); set by the caller, as is `unseen`.
    unseen : dict of float
        Of columns of texts, by name: the share of held-out values that is rare or was not seen in training.
    about : str
        What was learned, of how many rows of which data; set by the caller, as are the following.
    importances, pairs, effects : list of (str, float)
        What columns, pairs of columns, and values of columns matter, the most important first
        (analysis/importance.py), in the unit `importance_unit`.
    embedding : list of Mapped
        Factors of the values that matter most, in a plane.
    made_by : str
        Program and model, as the report names them; set by the caller. Empty: the version alone is named.
    started_at : float
        Seconds since 1970.
    untested : str
        Why there is nothing of both, in words; empty where there was no test data.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.best_epoch: int | None = None
        self.best_validation: dict[str, float] = {}
        self.test: dict[str, float] = {}
        self.n_tested = 0
        self.sample, self.learned_sample = Sample(), Sample()
        self.learned: dict[str, Any] | None = None
        self.telling: list[str] = []
        self.unseen: dict[str, float] = {}
        self.about, self.importance_unit, self.made_by = "", "", ""
        self.importances: list[tuple[str, float]] = []
        self.pairs: list[tuple[str, float]] = []
        self.effects: list[tuple[str, float]] = []
        self.embedding: list[Mapped] = []
        self.untested = ""
        self.started_at = time.time()
        self.seconds_to_first_batch = 0.0
        self.seconds_of_test = 0.0

    def resumed(self, report: ResumeReport) -> None:
        """Keep the best metrics so far, all that is known of earlier epochs; see `Callback.resumed`."""
        self.best_validation = dict(report.validation)

    def started(self, is_dense: bool) -> None:
        """Note when the first batch arrived; see `Callback.started`."""
        self.seconds_to_first_batch = time.time() - self.started_at

    def batch(self, report: BatchReport) -> None:
        """Do nothing; see `Callback.batch`."""

    def remarked(self, remark: str) -> None:
        """Do nothing, because decisions of the solver are logged; see `Callback.remarked`."""

    def epoch(self, report: EpochReport) -> None:
        """Keep the metrics of an epoch; see `Callback.epoch`."""
        self._ended = report.ended
        self.epochs.append(
            {
                "epoch": report.epoch,
                "train": dict(report.metrics),
                "n_records": report.n_records,
                "seconds": report.ended - report.started,
            }
        )

    def validated(self, report: ValidationReport) -> None:
        """Keep the validation metrics; see `Callback.validated`."""
        self.epochs[-1]["validation"] = dict(report.metrics)
        self.epochs[-1]["validation_seconds"] = time.time() - self._ended
        if report.is_best:
            self.best_epoch, self.best_validation = report.epoch, dict(report.metrics)

    def tested(self, metrics: Mapping[str, float], n_records: int, seconds: float) -> None:
        """Keep the metrics of the test data.

        Parameters
        ----------
        metrics : mapping of str to float
        n_records : int
            Number of records of the test data.
        seconds : float
            How long scoring took.
        """
        self.test, self.n_tested, self.seconds_of_test = dict(metrics), n_records, seconds

    def not_tested(self, reason: str) -> None:
        """Discard the metrics of test data that was not read to its end.

        Parameters
        ----------
        reason : str
            A sentence that says why.
        """
        self.test, self.sample, self.untested = {}, Sample(), reason

    @property
    def records_per_second(self) -> float:
        """Of training, over all epochs."""
        seconds = sum(epoch["seconds"] for epoch in self.epochs)
        return sum(epoch["n_records"] for epoch in self.epochs) / seconds if seconds > 0 else math.nan

    def as_document(self, findings: Sequence[str] = ()) -> dict[str, Any]:
        """Give what metrics.json holds; a metric that is not finite is null there.

        Parameters
        ----------
        findings : sequence of str
            Findings: of findings.py, or what else is to be said.

        Returns
        -------
        document : dict
        """
        of_learned: dict[str, Any] = {} if self.learned is None else {"learned": self.learned}
        if self.importances:
            of_learned |= {
                "importances": dict(self.importances), "pairs": dict(self.pairs), "effects": dict(self.effects),
            }  # fmt: skip
        if self.made_by:
            of_learned["made_by"] = self.made_by
        return of_learned | {
            "epochs": [_without_nan(epoch) for epoch in self.epochs],
            "best_epoch": self.best_epoch,
            "test": _without_nan(self.test) or None,
            "findings": list(findings),
            "records_per_second": _finite(self.records_per_second),
            "seconds": {
                "to_first_batch": self.seconds_to_first_batch,
                "training": sum(epoch["seconds"] for epoch in self.epochs),
                "validation": sum(epoch.get("validation_seconds", 0) for epoch in self.epochs),
                "test": self.seconds_of_test,
            },
        }

    def save(self, path: Path, findings: Sequence[str] = ()) -> None:
        """Write metrics.json, whole or not at all.

        Parameters
        ----------
        findings : sequence of str
            See `as_document`.
        """
        with atomic_write(path) as file:
            file.write(json.dumps(self.as_document(findings), indent=1, allow_nan=False).encode() + os.linesep.encode())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nan(value) if isinstance(value, Mapping) else _finite(value) for name, value in values.items()
    }


class Sample:
    """Scores, labels and weights of rows at even distances, in bounded memory.

    Every row is kept until there are `limit`; then every second one of those is let go, and
    from there on every second row is kept, and so on.

    Parameters
    ----------
    limit : int
        Even.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._kept = np.empty((limit, 3), np.float32)
        self._n = 0
        self._stride = 1
        self._n_seen = 0

    def add(
        self, scores: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> None:
        """Add rows; only some are kept.

        Parameters
        ----------
        scores, labels : ndarray of float32, shape (n,)
        weights : ndarray of float32, shape (n,), optional
            By default all rows have weight 1.
        """
        rows = np.column_stack([scores, labels, np.ones(len(labels), np.float32) if weights is None else weights])
        start = 0
        while start < len(rows):
            first = start + -(self._n_seen + start) % self._stride
            chosen = rows[first :: self._stride][: len(self._kept) - self._n]
            self._kept[self._n : self._n + len(chosen)] = chosen
            self._n += len(chosen)
            if self._n < len(self._kept):
                break
            start = first + (len(chosen) - 1) * self._stride + 1 if len(chosen) else start
            self._kept[: self._n // 2] = self._kept[: self._n : 2].copy()
            self._n //= 2
            self._stride *= 2
        self._n_seen += len(rows)

    @property
    def scores(self) -> NDArray[np.float32]:
        """Of the rows that are kept."""
        return self._kept[: self._n, 0]

    @property
    def labels(self) -> NDArray[np.float32]:
        """Of the rows that are kept."""
        return self._kept[: self._n, 1]

    @property
    def weights(self) -> NDArray[np.float32]:
        """Of the rows that are kept; 1 each where they have none."""
        return self._kept[: self._n, 2]


class SampledModel(Model):
    """A model that adds its predictions, with the labels, to a sample."""

    def __init__(self, model: Model, sample: Sample) -> None:
        super().__init__(model.predictor_type, model.w0, model.w, model.V, model.score_range)
        self._sample = sample

    @overload
    def predict(
        self, batch: Batch, num_threads: int = 1, *, return_std: Literal[False] = False
    ) -> NDArray[np.float32]: ...

    @overload
    def predict(
        self, batch: Batch, num_threads: int = 1, *, return_std: Literal[True]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...

    def predict(
        self, batch: Batch, num_threads: int = 1, *, return_std: bool = False
    ) -> NDArray[np.float32] | tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score rows and keep a sample of the scores; see `Model.predict`."""
        scores = super().predict(batch, num_threads)
        self._sample.add(scores, batch.known_labels, batch.weights)
        return (scores, self.std(batch, num_threads)) if return_std else scores
