"""What every build of the Bayesian kernels offers: fm_core/kernels/_bayes.pxi, which has the equations.

Arguments are C-contiguous and checked; nothing is checked again. `reference_bayes` has the same in plain NumPy.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BayesKernels"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]


class BayesKernels(Protocol):
    """The functions of one build.

    Attributes
    ----------
    records : ndarray of float32, shape (n_rows, stride)
        ``[q_1 .. q_k, 1, z, om, kappa, sum of z, sum of sigmoid(z)]`` of each row, and filling up to a multiple of 16;
        begins at a cache line. z is the score without w0.
    params : ndarray of float32, shape (n_features, k + 1)
        Rows ``[v_j | w_j]``. Changed in place.
    groups : ndarray of int32, shape (n_features,)
    num_threads : int
        At least 1; no result depends on it.
    """

    def sweep(
        self,
        starts: NDArray[np.int64],
        rows: Ints,
        values: Floats,
        schedule: Any,
        records: Floats,
        params: Floats,
        groups: Ints,
        precision: Doubles,
        shift: Doubles,
        noise: Floats,
        alpha: float,
        w0: float,
        is_weighted: bool,
        only_moves: bool,
        num_threads: int,
    ) -> None:
        """Draw each feature's vector, and let the records follow.

        Parameters
        ----------
        starts, rows, values
            The data by feature; `values` is empty where all are 1.
        schedule : Schedule
            See solvers/bayes/schedule.py.
        precision : ndarray of float64, shape (n_groups, k + 1, k + 1)
            Of each group's prior.
        shift : ndarray of float64, shape (n_groups, k + 1)
            Precision times mean.
        noise : ndarray of float32, as `params`, or empty
            Standard normal numbers; empty: the conditional means are taken.
        alpha : float
        w0 : float
        is_weighted : bool
            Whether om is not 1 in all records.
        only_moves : bool
            Nothing is drawn: records whose q and z are zero get those of the parameters.
        """

    def turn_rows(
        self, records: Floats, k: int, w0: float, counts: int, num_threads: int, is_weighted: bool = False
    ) -> Doubles:
        """Between two sweeps of a regressor: add z + w0 to its sum, which restarts if `counts` is 1.

        Returns
        -------
        sums : ndarray of float64, shape (2,)
            Of the residuals kappa - z - w0 of all rows, and of their squares; where it `is_weighted`, of
            kappa - om (z + w0), and of the squares of these divided by om.
        """

    def group_sums(self, params: Floats, groups: Ints, n_groups: int, num_threads: int) -> Doubles:
        """Sums of the vectors of each group, and of their squares: float64 of shape (n_groups, 2, k + 1)."""

    def gram(self, matrix: Floats, width: int, weights: Floats, num_threads: int) -> Doubles:
        """``A' diag(weights) A`` of the first `width` columns A of a matrix whose rows are multiples of 16."""

    def project(
        self, matrix: Floats, width: int, into: Floats, which: Ints, out: Floats, out_width: int, num_threads: int
    ) -> None:
        """Multiply the first `width` columns of each row by the matrix that is its own.

        `into` has shape (n_matrices, width, a multiple of 16); `which` says whose is which, empty: all have the first.
        The first `out_width` numbers go to `out`, which may be `matrix`.
        """
