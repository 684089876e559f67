"""Scales estimated from the first rows: of labels, of values, and of parameters.

The priors of a learner are given as standard deviations of a typical row's score: of its linear part and of its
interactions. `Units` converts them to variances of parameters. Values are divided by the typical value of their
feature, so that a column of thousands next to ones and zeros affects the score as much. A feature that the first rows
do not contain gets the most common scale.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "Units"]

Floats = NDArray[np.float32]

#: Rows in CSR: indptr, keys, values.
Rows = tuple[NDArray[np.int64], NDArray[np.int32], Floats]

#: How many occurrences what is typical of all features counts for, against a feature's own.
_COUNTS_FOR = 4.0


@dataclasses.dataclass(frozen=True)
class Units:
    """What labels and values are measured in.

    Attributes
    ----------
    mean, scale : float
        A label in these units is ``(label - mean) / scale``; 0 and 1 of a classifier.
    bias : float
        Where w0 begins.
    size : float
        Mean sum of a row's squared values.
    pairs : float
        Mean sum of (x_i x_j)^2 over a row's pairs.
    typical : ndarray of float32, shape (feature_dim,)
        What values are divided by.
    """

    mean: float
    scale: float
    bias: float
    size: float
    pairs: float
    typical: Floats

    @classmethod
    def of(
        cls, rows: Rows, labels: Floats, feature_dim: int, is_classifier: bool, use_bias: bool = True,
        weights: Floats | None = None,
    ) -> "Units":  # fmt: skip
        """Estimate the units from some rows, at least one. Weights only affect the units of labels.

        Parameters
        ----------
        rows : tuple of ndarray
            indptr, keys and values.
        labels : ndarray of float32, shape (n,)
        feature_dim : int
        is_classifier : bool
        use_bias : bool
            Without a bias, labels are not shifted.
        weights : ndarray of float32, shape (n,), optional

        Returns
        -------
        units : Units
        """
        indptr, keys, values = rows
        squares = values.astype(np.float64) ** 2
        n = np.bincount(keys, minlength=feature_dim)
        sums = np.bincount(keys, squares, minlength=feature_dim)
        own = np.sqrt(sums[n > 0] / n[n > 0])
        middle = float(np.median(own)) if len(own) else 1.0
        mixed = (sums / max(middle, 1e-30) ** 2 + _COUNTS_FOR) / (n + _COUNTS_FOR)  # of squares, in units of the middle
        typical = np.clip(middle * np.sqrt(mixed), 1e-18, 1e18).astype(np.float32)
        squares = (values / typical[keys]).astype(np.float64) ** 2
        of_rows, fourths = _sums(indptr, squares), _sums(indptr, squares**2)
        size, pairs = float(of_rows.mean()), float((of_rows**2 - fourths).mean()) / 2
        exact = labels.astype(np.float64)
        mean, scale, bias = 0.0, 1.0, 0.0
        if is_classifier:
            counted = np.ones(len(exact)) if weights is None else weights.astype(np.float64)
            share = (float(counted @ exact) + 0.5) / (float(counted.sum()) + 1)
            bias = math.log(share / (1 - share))
        else:
            if weights is None or not weights.any():
                mean = float(exact.mean()) if use_bias else 0.0
                scale = float(np.sqrt(np.mean((exact - mean) ** 2)))
            else:
                mean = float(np.average(exact, weights=weights)) if use_bias else 0.0
                scale = float(np.sqrt(np.average((exact - mean) ** 2, weights=weights)))
            if scale <= 1e-7 * abs(mean) or scale == 0:
                scale = abs(mean) or 1.0
        return cls(mean, scale, bias, size if size > 0 else 1.0, pairs if pairs > 0 else 1.0, typical)

    def labels(self, labels: Floats) -> Floats:
        """Convert labels to these units, limited so that float32 can hold their squares.

        Parameters
        ----------
        labels : ndarray of float32, shape (n,)

        Returns
        -------
        labels : ndarray of float32, shape (n,)
        """
        found: Floats = np.clip((labels.astype(np.float64) - self.mean) / self.scale, -1e15, 1e15).astype(np.float32)
        return found

    def values(self, rows: Rows) -> Rows:
        """Convert rows to these units.

        Parameters
        ----------
        rows : tuple of ndarray
            indptr, keys and values.

        Returns
        -------
        rows : tuple of ndarray
            The same with new values.
        """
        indptr, keys, values = rows
        return indptr, keys, values / self.typical[keys]

    def variances(self, linear: float, interactions: float, num_factors: int) -> tuple[float, float]:
        """Return the variances of a linear weight and of a factor for a prior.

        Parameters
        ----------
        linear, interactions : float
            The standard deviations of these parts of a typical row's score.
        num_factors : int

        Returns
        -------
        linear, factor : tuple of float
        """
        return linear**2 / self.size, interactions / math.sqrt(self.pairs * num_factors)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `of_arrays` needs."""
        return {
            "units": np.array([self.mean, self.scale, self.bias, self.size, self.pairs]),
            "typical": self.typical,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Units":
        """Restore the units from what `arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.

        Returns
        -------
        units : Units
        """
        mean, scale, bias, size, pairs = arrays["units"].tolist()
        return cls(mean, scale, bias, size, pairs, arrays["typical"])


def _sums(indptr: NDArray[np.int64], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    cumulated = np.concatenate([[0.0], np.cumsum(numbers)])
    found: NDArray[np.float64] = np.diff(cumulated[indptr])
    return found
