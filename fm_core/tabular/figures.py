"""The error of a model, and that of a constant prediction: the mean or the base rate."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fm_core.analysis.ranking_metrics import areas_under_curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FIGURES", "Figure", "Scored", "figures", "figures_text"]

#: A probability counts as so far away from 0 and 1, as in fm_core.metrics.
_NEAREST = 1e-12


class Figure(NamedTuple):
    """One figure of a model, and the same of the baseline.

    Attributes
    ----------
    value, baseline : float
        NaN where it is not defined.
    """

    value: float
    baseline: float


class Scored:
    """Scores and labels of rows, as they come."""

    def __init__(self) -> None:
        self._scores: list[NDArray[np.float32]] = []
        self._labels: list[NDArray[np.float32]] = []
        self._weights: list[NDArray[np.float32] | None] = []

    def add(
        self,
        scores: "NDArray[np.float32]",
        labels: "NDArray[np.float32]",
        weights: "NDArray[np.float32] | None" = None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        scores, labels : ndarray of float32, shape (n,)
        weights : ndarray of float32, shape (n,), optional
            By default all rows have weight 1.
        """
        self._weights.append(weights)
        self._scores.append(np.array(scores))
        self._labels.append(np.array(labels))

    @property
    def n_rows(self) -> int:
        """How many rows there were."""
        return sum(map(len, self._labels))

    @property
    def scores(self) -> "NDArray[np.float64]":
        """Of all rows."""
        return _joined(self._scores)

    @property
    def labels(self) -> "NDArray[np.float64]":
        """Of all rows."""
        return _joined(self._labels)

    @property
    def weights(self) -> "NDArray[np.float32] | None":
        """Of all rows; None: each counts once."""
        if all(part is None for part in self._weights):
            return None
        ones = (np.ones(len(labels), np.float32) for labels in self._labels)
        return np.concatenate([one if part is None else part for part, one in zip(self._weights, ones, strict=True)])

    @property
    def mean_label(self) -> float:
        """The mean of the labels."""
        return _mean(self.labels, self.weights)


def _mean(numbers: "NDArray[Any]", weights: "NDArray[np.float32] | None") -> float:
    if weights is None:
        return float(np.mean(numbers))
    total = float(weights.sum(dtype=np.float64))
    return float(numbers.astype(np.float64) @ weights) / total if total else math.nan


def _joined(parts: "Iterable[NDArray[np.float32]]") -> "NDArray[np.float64]":
    parts = list(parts)
    return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)


def figures(scored: Scored, *, is_classifier: bool, mean: float) -> dict[str, Figure]:
    """Compute the figures of rows.

    Parameters
    ----------
    scored : Scored
    is_classifier : bool
    mean : float
        Of the labels that were learned from: what the baseline says of every row.

    Returns
    -------
    figures : dict of Figure
        By name: ``cross_entropy``, ``accuracy``, ``auc`` and ``pr_auc``, or ``rmse``, ``mae`` and ``r2``.
    """
    scores, labels, weights = scored.scores, scored.labels, scored.weights
    of_baseline = np.full(len(labels), mean)
    of_scores = _of_classes if is_classifier else _of_numbers
    both = [of_scores(x, labels, weights) for x in (scores, of_baseline)]
    return {name: Figure(both[0][name], both[1][name]) for name in both[0]}


def _of_classes(
    scores: "NDArray[np.float64]", labels: "NDArray[np.float64]", weights: "NDArray[np.float32] | None"
) -> dict[str, float]:
    if not len(labels):
        return dict.fromkeys(("cross_entropy", "accuracy", "auc", "pr_auc"), math.nan)
    p = np.clip(scores, _NEAREST, 1 - _NEAREST)
    auc, pr_auc = areas_under_curves(scores, labels, weights)
    return {
        "cross_entropy": -_mean(np.where(labels > 0.5, np.log(p), np.log1p(-p)), weights),
        "accuracy": _mean((scores >= 0.5) == (labels > 0.5), weights),
        "auc": auc,
        "pr_auc": pr_auc,
    }


def _of_numbers(
    scores: "NDArray[np.float64]", labels: "NDArray[np.float64]", weights: "NDArray[np.float32] | None"
) -> dict[str, float]:
    if not len(labels):
        return dict.fromkeys(("rmse", "mae", "r2"), math.nan)
    errors = scores - labels
    spread = _mean((labels - _mean(labels, weights)) ** 2, weights)
    mse = _mean(errors**2, weights)
    return {
        "rmse": math.sqrt(mse),
        "mae": _mean(np.abs(errors), weights),
        "r2": 1 - mse / spread if spread > 0 else math.nan,
    }


#: In words, and whether a smaller value is better.
FIGURES: dict[str, tuple[str, bool]] = {
    "cross_entropy": ("cross entropy", True),
    "accuracy": ("accuracy", False),
    "auc": ("AUC", False),
    "pr_auc": ("PR AUC", False),
    "rmse": ("rmse", True),
    "mae": ("mean absolute error", True),
    "r2": ("R2", False),
}


def figures_text(found: dict[str, Figure], *, is_classifier: bool) -> list[str]:
    """Return figures as lines of a table, with a header.

    Parameters
    ----------
    found : dict of str to Figure
        By the name of the metric.
    is_classifier : bool

    Returns
    -------
    lines : list of str
    """
    baseline = "base rate" if is_classifier else "mean"
    lines = [f"  {'':<20} {'model':>12} {baseline:>12}"]
    for name, figure in found.items():
        lines.append(f"  {FIGURES[name][0]:<20} {_shown(figure.value):>12} {_shown(figure.baseline):>12}")
    return lines


def _shown(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.1f}"
