"""Streaming metrics: sums over scored rows, in float64, and the values they give.

Names are the built-in's, in the order of its log. Training values are running means of
scores taken before each update; a row counts once (the built-in pads the last batch of
an epoch to a full one in its training values; ours does not).
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
    """What both kinds share: their sums as numbers to be kept, and to go on from."""

    def sums(self) -> dict[str, float]:
        """All there is to know of the rows so far, exactly."""
        return dict(vars(self))

    def go_on_from(self, sums: Mapping[str, float]) -> None:
        """Take over what `sums` of the same kind gave."""
        vars(self).update(sums)


class RegressorMetrics(_Sums):
    """Root mean squared, mean squared and mean absolute error."""

    #: Name: whether a smaller value is better.
    names: ClassVar = {"rmse": True, "mse": True, "absolute_loss": True}

    def __init__(self) -> None:
        self.n = 0
        self._squares = 0.0
        self._absolutes = 0.0

    def update(self, scores: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Add rows: `scores` and `labels` of shape (n,)."""
        error = np.subtract(scores, labels, dtype=np.float64)
        self.n += len(error)
        self._squares += float(error @ error)
        self._absolutes += float(np.abs(error).sum())

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far; NaN of none."""
        mse = self._squares / self.n if self.n else math.nan
        return {
            "rmse": math.sqrt(mse),
            "mse": mse,
            "absolute_loss": self._absolutes / self.n if self.n else math.nan,
        }


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
        self._right = 0
        self._entropy = 0.0
        self._true_positives = 0
        self._positives = 0  # predicted + actual

    def update(self, scores: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Add rows: `scores` in [0, 1] and `labels` of 0 and 1, both of shape (n,)."""
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

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far; NaN of none, F1 0 where nothing is or was said to be positive."""
        n = self.n or math.nan
        return {
            "binary_classification_accuracy": self._right / n,
            "binary_classification_cross_entropy": self._entropy / n,
            "binary_f_1.000": 2 * self._true_positives / self._positives if self._positives else 0.0,
        }


class RankedMetrics(_Sums):
    """What positives beside sampled negatives were worth: the mean loss, and the share of negatives that were below.

    A row is a positive; what `update` takes of each is its loss and its share.
    """

    names: ClassVar = {"ranking_loss": True, "ranking_accuracy": False}

    def __init__(self) -> None:
        self.n = 0
        self._losses = 0.0
        self._orders = 0.0

    def update(self, scores: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Add rows: losses and shares, both of shape (n,)."""
        self.n += len(scores)
        self._losses += float(scores.sum(dtype=np.float64))
        self._orders += float(labels.sum(dtype=np.float64))

    def values(self) -> dict[str, float]:
        """The metrics of all rows so far; NaN of none."""
        n = self.n or math.nan
        return {"ranking_loss": self._losses / n, "ranking_accuracy": self._orders / n}


Metrics = RegressorMetrics | ClassifierMetrics | RankedMetrics


def metrics_for(predictor_type: str, loss: str = "pointwise") -> Metrics:
    """Empty metrics for ``binary_classifier`` or ``regressor``, or of what another loss learns from."""
    if loss != "pointwise":
        return RankedMetrics()
    return ClassifierMetrics() if link_for(predictor_type).is_classifier else RegressorMetrics()
