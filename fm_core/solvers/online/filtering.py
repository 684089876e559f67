"""One learner: a mean and a variance of each parameter, moved by each row in turn (kernels/_online.pxi)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_core.kernels import load
from fm_core.solvers.online.units import Rows, Units

__all__ = ["Filter", "Prior", "padded"]

Floats = NDArray[np.float32]

#: What the kernels want of the prior's arrays.
_PADDING = 16

#: The bias' first variance, and a regressor's noise: labels have variance 1, or the bias' logit is known roughly.
_OF_BIAS, _NOISE = 0.1, 1.0

#: Standard deviation of first factors, as a share of the prior's: enough for factors to become different.
_SPREAD = 0.25

#: A precision with which nothing moves.
_FIXED = 1e30


class Prior(NamedTuple):
    """Standard deviations of a typical row's score.

    Attributes
    ----------
    linear, interactions : float
    """

    linear: float
    interactions: float

    def __str__(self) -> str:
        return f"linear {self.linear:g}, interactions {self.interactions:g}"


class Filter:
    """A learner of some features.

    Parameters
    ----------
    prior : Prior
    units : Units
    params : ndarray of float32, shape (n, num_factors + 1)
        Means, rows ``[v | w]``. Changed in place.
    information : ndarray of float32, as `params`
        Changed in place.
    state : ndarray of float64, shape (4,)
        See `online_interface.OnlineKernels`. Changed in place.
    is_classifier, use_linear : bool
    """

    def __init__(
        self, prior: Prior, units: Units, params: Floats, information: Floats, state: NDArray[np.float64],
        is_classifier: bool, use_linear: bool = True,
    ) -> None:  # fmt: skip
        self.prior = prior
        self.params = params
        self.information = information
        self.state = state
        self._is_classifier = is_classifier
        self._kernels: Any = load("online")
        k = params.shape[1] - 1
        linear, factors = units.variances(*prior, max(1, k))
        self.precision = padded(np.full(k + 1, 1 / factors, np.float32))
        self.precision[k] = 1 / linear if use_linear else _FIXED
        self._is_factor = np.zeros(len(self.precision), np.float32)
        self._is_factor[:k] = 1

    def learn(self, rows: Rows, labels: Floats, weights: Floats | None = None) -> Floats:
        """Score each row, and then learn from it.

        Parameters
        ----------
        rows : tuple of ndarray
            indptr, keys and values.
        labels : ndarray of float32, shape (n,)
        weights : ndarray of float32, shape (n,), optional

        Returns
        -------
        scores : ndarray of float32, shape (n,)
            Before the logistic function, and before the row was learned.
        """
        scores = np.empty(len(labels), np.float32)
        self._kernels.filter_rows(
            *rows, labels, self.params, self.information, self.precision, self._is_factor, self.state, scores,
            self._is_classifier, weights,
        )  # fmt: skip
        return scores

    @staticmethod
    def first_state(units: Units, use_bias: bool) -> NDArray[np.float64]:
        """Return the state before the first row.

        Parameters
        ----------
        units : Units
        use_bias : bool

        Returns
        -------
        state : ndarray of float64, shape (4,)
        """
        if not use_bias:
            return np.array([0.0, _FIXED, _NOISE, 0.0])
        return np.array([units.bias, 1 / _OF_BIAS, _NOISE, 0.0])

    @staticmethod
    def sigma(prior: Prior, units: Units, num_factors: int) -> float:
        """Return the standard deviation of the initial factors.

        Parameters
        ----------
        prior : Prior
        units : Units
        num_factors : int

        Returns
        -------
        sigma : float
        """
        return float(_SPREAD * np.sqrt(units.variances(*prior, max(1, num_factors))[1]))


def padded(numbers: Floats) -> Floats:
    """Pad numbers with ones to the length that the kernels need.

    Parameters
    ----------
    numbers : ndarray of float32, shape (n,)

    Returns
    -------
    padded : ndarray of float32
    """
    found = np.ones(-(-len(numbers) // _PADDING) * _PADDING, np.float32)
    found[: len(numbers)] = numbers
    return found
