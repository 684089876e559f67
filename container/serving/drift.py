"""Drift: how requests to a model differ from its training data, in column values and the distribution of scores.

Each process counts in its own rows of shared memory, so a request takes no lock, and a process that is replaced
leaves its counts to the next one. Scores are counted by period, and only recent periods are used: the
stability index covers the last day, for example, and not all days since the start.
"""

import mmap
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from container.serving.served_model import ServedModel
from fm_core.analysis.baseline import MAX_COLUMNS, stability
from fm_core.formats.tables.watch import COUNTS, ColumnCounts
from fm_core.printable import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Drift"]

#: Periods that a window is of.
_PERIODS = 24

#: Characters of a column's name as a label.
_LONGEST_NAME = 100

_SAID = {
    "values": "Values of a column that were checked; every id of a cell with several.",
    "missing": "Of these, missing ones.",
    "unseen": "Of these, texts that are not in the schema.",
    "outside": "Of these, numbers and dates beyond those of the training data.",
}


class Drift:
    """Drift counts of one model's requests.

    Made before the processes are forked. It has the columns of the model's encoder counted.

    Parameters
    ----------
    served : ServedModel
    n_slots : int
        Processes that count at the same time.
    window : float
        Seconds that the stability index looks back.
    """

    def __init__(self, served: ServedModel, n_slots: int, window: float) -> None:
        self._baseline = baseline = served.baseline
        self._period = window / _PERIODS
        self._slot = 0
        schema = None if served.encoder is None else served.encoder.schema
        names = [] if schema is None else [column.name for column in schema.columns[:MAX_COLUMNS]]
        self._names = names
        self._labels = _labels([*names, *(() if baseline is None else baseline.columns)])
        self._counts = _shared(n_slots, len(names), len(COUNTS))
        n_bins = 0 if baseline is None else len(baseline.shares)
        # The first number of a row is its period's.
        self._scores = _shared(n_slots, _PERIODS, 1 + n_bins)
        self._edges = np.array([] if baseline is None else baseline.edges, np.float64)
        self._ranges: dict[str, tuple[float, float]] = {}
        if baseline is not None:
            for name, column in baseline.columns.items():
                if column.low is not None and column.high is not None:
                    self._ranges[name] = (column.low, column.high)
        self._encoder = served.encoder
        self.place(0)

    def place(self, slot: int) -> None:
        """Say whose rows this process, or the next one that is forked, adds to."""
        self._slot = slot
        if self._encoder is not None:
            self._encoder.watched_by(ColumnCounts(self._names, self._counts[slot], self._ranges))

    def observe_scores(self, scores: "NDArray[np.float32]") -> None:
        """Count the scores of rows."""
        if self._baseline is None:
            return
        now = int(time.time() // self._period)
        row = self._scores[self._slot, now % _PERIODS]
        if row[0] != now:
            row[:] = 0
            row[0] = now
        row[1:] += np.bincount(np.searchsorted(self._edges, scores), minlength=len(self._edges) + 1)

    def recent_scores(self) -> "NDArray[np.int64]":
        """The scores of the window, by the baseline's intervals."""
        now = int(time.time() // self._period)
        recent = self._scores[..., 0] > now - _PERIODS
        found: NDArray[np.int64] = self._scores[recent][:, 1:].sum(axis=0)
        return found

    def families(self, core: Any) -> Iterator[Any]:
        """Return the counts as prometheus-client's metric families.

        Parameters
        ----------
        core : module
            prometheus_client.core.
        """
        names = [self._labels[name] for name in self._names]
        if names:
            totals = self._counts.sum(axis=0)
            for at, what in enumerate(COUNTS):
                family = core.CounterMetricFamily(f"fm_column_{what}", _SAID[what], labels=["column"])
                for name, counts in zip(names, totals.tolist(), strict=True):
                    family.add_metric([name], counts[at])
                yield family
        if self._baseline is not None:
            yield from self._against_baseline(core)

    def _against_baseline(self, core: Any) -> Iterator[Any]:
        baseline, gauge = self._baseline, core.GaugeMetricFamily
        assert baseline is not None
        counts = self.recent_scores()
        n_rows = int(counts.sum())
        said = "Population stability index of the scores of the last {:g} hours against those of the {} rows."
        hours = self._period * _PERIODS / 3600
        if n_rows:
            yield gauge("fm_score_psi", said.format(hours, baseline.source), stability(baseline.shares, counts))
        yield gauge("fm_score_psi_rows", "Rows behind fm_score_psi.", n_rows)
        labels = ["above", "up_to"]
        bounds = ["-Inf", *_bounds(baseline.edges), "+Inf"]
        then = gauge("fm_score_baseline_share", "Share of the training's scores by interval.", labels=labels)
        recent = gauge("fm_score_recent_share", "Share of the recent scores by interval.", labels=labels)
        for i, (share, count) in enumerate(zip(baseline.shares, counts.tolist(), strict=True)):
            then.add_metric(bounds[i : i + 2], share)
            recent.add_metric(bounds[i : i + 2], count / max(1, n_rows))
        yield from (then, recent)
        yield gauge("fm_baseline_rows", "Rows behind the baseline.", baseline.n_rows)
        for what, name in (("missing", "fm_baseline_missing_share"), ("unseen", "fm_baseline_unseen_share")):
            family = gauge(name, f"Share of {what} values in training.", labels=["column"])
            for column_name, column in baseline.columns.items():
                family.add_metric([self._labels[column_name]], getattr(column, what))
            yield family


def _labels(names: Iterable[str]) -> dict[str, str]:
    """Turn columns' names into labels: safe, of limited length, and unique, as Prometheus requires."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        label = printable(name, _LONGEST_NAME)
        while label in taken:
            label = f"{label[:_LONGEST_NAME]} ({len(taken)})"
        taken.add(label)
        found[name] = label
    return found


def _bounds(edges: Sequence[float]) -> list[str]:
    short = [f"{edge:.6g}" for edge in edges]
    return short if len(set(short)) == len(short) else list(map(repr, edges))


def _shared(*shape: int) -> "NDArray[np.int64]":
    size = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, max(8, 8 * size)), np.int64, size).reshape(shape)
