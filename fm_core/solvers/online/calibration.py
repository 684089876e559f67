"""One number that calibrates a classifier's probabilities: the c with which sigmoid(c z) fits rows best.

A learner's mean score is overconfident: rare features count as if their means were certain. The latest rows, scored
before they were learned, show by how much.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Recent", "fitted", "loss"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Rows that are kept.
_ROWS = 32768

#: What c is kept within.
_LEAST, _MOST = 0.05, 3.0


def fitted(z: Floats, y: Floats, weights: Floats | None = None) -> float:
    """Fit the factor c of scores so that the logistic function of ``c z`` fits the labels, by Newton's method from 1.

    Parameters
    ----------
    z : ndarray of float32, shape (n_rows,)
        Scores before the logistic function.
    y : ndarray of float32, shape (n_rows,)
        Labels, 0 or 1.
    weights : ndarray of float32, shape (n_rows,), optional

    Returns
    -------
    c : float
        Close to 1 if there are few rows: it is fitted as if one more row had confirmed 1.
    """
    counted: Floats | float = 1.0 if weights is None else weights
    scores, c = z.astype(np.float64), 1.0
    for _ in range(50):
        p = _sigmoid(c * scores)
        # as if one more row had confirmed that c is 1
        slope = float(np.sum(counted * ((y - p) * scores))) + (1 - c)
        step = slope / (float(np.sum(counted * (p * (1 - p) * scores**2))) + 1)
        c = float(np.clip(c + np.clip(step, -c / 2, c), _LEAST, _MOST))
        if abs(step) < 1e-6:
            break
    return c


def loss(z: Floats, y: Floats, is_classifier: bool, weights: Floats | None = None) -> float:
    """Return the mean loss of scores: cross entropy with c fitted, or squared error.

    Parameters
    ----------
    z, y, weights
        As for `fitted`; of a regressor, scores and labels.
    is_classifier : bool

    Returns
    -------
    loss : float
    """
    if not is_classifier:
        return float(_mean((z.astype(np.float64) - y) ** 2, weights))
    p = np.clip(_sigmoid(fitted(z, y, weights) * z.astype(np.float64)), 1e-12, 1 - 1e-12)
    return -_mean(np.where(y > 0.5, np.log(p), np.log1p(-p)), weights)


def _mean(numbers: Doubles, weights: Floats | None) -> float:
    return float(numbers.mean() if weights is None else numbers @ weights / max(1e-30, float(weights.sum())))


def _sigmoid(z: Doubles) -> Doubles:
    found: Doubles = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
    return found


class Recent:
    """The scores, before they were learned from, labels and, once there were some, weights of the latest rows."""

    def __init__(self) -> None:
        self._rows = np.zeros((2, _ROWS), np.float32)
        self._n = 0

    def add(self, z: Floats, y: Floats, weights: Floats | None = None) -> None:
        """Add rows; the oldest ones are dropped.

        Parameters
        ----------
        z : ndarray of float32, shape (n,)
            Scores before the logistic function.
        y : ndarray of float32, shape (n,)
            Labels, 0 or 1.
        weights : ndarray of float32, shape (n,), optional
        """
        if weights is not None and len(self._rows) == 2:
            self._rows = np.concatenate([self._rows, np.ones((1, _ROWS), np.float32)])
        at = (self._n + np.arange(len(z))[-_ROWS:]) % _ROWS
        self._rows[0, at], self._rows[1, at] = z[-_ROWS:], y[-_ROWS:]
        if len(self._rows) > 2:
            self._rows[2, at] = 1 if weights is None else weights[-_ROWS:]
        self._n += len(z)

    def fitted(self) -> float:
        """See `fitted`."""
        n = min(self._n, _ROWS)
        return fitted(self._rows[0, :n], self._rows[1, :n], self._rows[2, :n] if len(self._rows) > 2 else None)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs."""
        return {"recent": self._rows, "n_recent": np.array([self._n], np.float64)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.
        """
        self._rows, self._n = arrays["recent"], int(arrays["n_recent"][0])
