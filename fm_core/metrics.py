"""Streaming metrics: sums over scored rows, in float64, and the values they give.

Names are the built-in's, in the order of its log. Training values are running means of
scores taken before each update; a row counts once, or as often as its weight says (the built-in
pads the last batch of an epoch to a full one in its training values; ours does not).
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fm_core.kernels._metrics import classification_sums
from fm_core.links import link_for

__all__ = ["ClassifierMetrics", "Metrics", "RankedMetrics", "RegressorMetrics", "metrics_for"]


class _Sums:
    """The base of all metrics: their sums, which can be saved and restored."""

    def sums(self) -> dict[str, float]:
        """The exact sums over all rows so far."""
        return dict(vars(self))

    def go_on_from(self, sums: Mapping[str, float]) -> None:
        """Take over what `sums` of the same kind gave."""
        vars(self).update(sums)


def _counted(labels: NDArray[np.float32], weights: NDArray[np.float32] | None) -> float:
    """How many rows these count as."""
    return len(labels) if weights is None else float(weights.sum(dtype=np.float64))


class RegressorMetrics(_Sums):
    """Root mean squared, mean squared and mean absolute error.

    Attributes
    ----------
    n : int
        Rows so far, whatever their weights.
    """

    #: Name: whether a smaller value is better.
    names: ClassVar = {"rmse": True, "mse": True, "absolute_loss": True}

    def __init__(self) -> None:
        self.n = 0
        self._squares = 0.0
        self._absolutes = 0.0
        self._more = 0.0  # what rows count as beyond their number

    def update(
        self, scores: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> None:
        """Add rows.

        Parameters
        ----------
        scores, labels : ndarray of float32, shape (n,)
        weights : ndarray of float32, shape (n,), optional
            By default all rows have weight 1.
        """
        error = np.subtract(scores, labels, dtype=np.float64)
        self.n += len(error)
        if weights is None:
            self._squares += float(error @ error)
            self._absolutes += float(np.abs(error).sum())
        else:
            self._squares += float((weights * error) @ error)
            self._absolutes += float(weights @ np.abs(error))
            self._more += _counted(labels, weights) - len(error)

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far; NaN of none."""
        n = self.n + self._more or math.nan
        mse = self._squares / n
        return {"rmse": math.sqrt(mse), "mse": mse, "absolute_loss": self._absolutes / n}


class ClassifierMetrics(_Sums):
    """Accuracy and F1 at a score of .5, and the mean cross entropy (natural logarithm).

    A score that float32 has rounded to 0 or 1 counts as 1e-12 away from it, so that the cross
    entropy of a wrong certainty is 27.6 and not infinite.
    """

    names: ClassVar = {
        "binary_classification_accuracy": False,
        "binary_classification_cross_entropy": True,
        "binary_f_1.000": False,
    }

    def __init__(self) -> None:
        self.n = 0
        self._right = 0.0
        self._entropy = 0.0
        self._true_positives = 0.0
        self._positives = 0.0  # predicted + actual
        self._more = 0.0  # what rows count as beyond their number

    def update(
        self, scores: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> None:
        """Add rows.

        Parameters
        ----------
        scores : ndarray of float32, shape (n,)
            Probabilities, from 0 to 1.
        labels : ndarray of float32, shape (n,)
            0 or 1.
        weights : ndarray of float32, shape (n,), optional
            By default all rows have weight 1.

        Raises
        ------
        DataError
            A label is neither 0 nor 1; the message names its row.
        """
        if weights is not None:
            self._update(scores, labels, weights)
            return
        try:
            right, both, predicted, actual, entropy = classification_sums(scores, labels)
        except ValueError:
            link_for("binary_classifier").check_labels(labels)  # says which
            raise
        self.n += len(labels)
        self._right += right
        self._true_positives += both
        self._positives += predicted + actual
        self._entropy += entropy

    def _update(self, scores: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        link_for("binary_classifier").check_labels(labels)
        exact = weights.astype(np.float64)
        predicted, actual = scores >= 0.5, labels > 0.5
        p = np.where(actual, scores, 1 - scores.astype(np.float64))
        self.n += len(labels)
        self._more += _counted(labels, weights) - len(labels)
        self._right += float(exact @ (predicted == actual))
        self._true_positives += float(exact @ (predicted & actual))
        self._positives += float(exact @ predicted) + float(exact @ actual)
        self._entropy -= float(exact @ np.log(np.where(p < 1e-12, 1e-12, p)))  # NaN stays NaN

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far; NaN of none, F1 0 where nothing is or was said to be positive."""
        n = self.n + self._more or math.nan
        return {
            "binary_classification_accuracy": self._right / n,
            "binary_classification_cross_entropy": self._entropy / n,
            "binary_f_1.000": 2 * self._true_positives / self._positives if self._positives else 0.0,
        }


class RankedMetrics(_Sums):
    """Metrics of positives and sampled negatives: the mean loss, and the share of negatives that scored lower.

    A row is a positive; what `update` takes of each is its loss and its share.
    """

    names: ClassVar = {"ranking_loss": True, "ranking_accuracy": False}

    def __init__(self) -> None:
        self.n = 0
        self._losses = 0.0
        self._orders = 0.0

    def update(
        self, scores: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> None:
        """Add groups of compared items (solvers/ranked.py).

        Parameters
        ----------
        scores : ndarray of float32, shape (n,)
            Their losses.
        labels : ndarray of float32, shape (n,)
            Their shares of correctly ordered pairs, from 0 to 1.
        weights : None
            Ranking losses do not support weights.
        """
        self.n += len(scores)
        self._losses += float(scores.sum(dtype=np.float64))
        self._orders += float(labels.sum(dtype=np.float64))

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far; NaN of none."""
        n = self.n or math.nan
        return {"ranking_loss": self._losses / n, "ranking_accuracy": self._orders / n}


Metrics = RegressorMetrics | ClassifierMetrics | RankedMetrics


def metrics_for(predictor_type: str, loss: str = "pointwise") -> Metrics:
    """Create empty metrics.

    Parameters
    ----------
    predictor_type : str
        ``binary_classifier`` or ``regressor``.
    loss : str
        ``pointwise`` or a ranking loss.

    Returns
    -------
    metrics : Metrics
    """
    if loss != "pointwise":
        return RankedMetrics()
    return ClassifierMetrics() if link_for(predictor_type).is_classifier else RegressorMetrics()
