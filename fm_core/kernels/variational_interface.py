"""What every build of the variational kernels offers: fm_core/kernels/_variational.pxi, which has the equations.

Arguments are C-contiguous and checked; nothing is checked again. `reference_variational` has the same in plain NumPy.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["VariationalKernels"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]


class VariationalKernels(Protocol):
    """The functions of one build.

    Attributes
    ----------
    records : ndarray of float32, shape (n_rows, stride)
        ``[q_1 .. q_k, 1, z, om, kappa, score, probability, rest | s_1 .. s_k | t_1 .. t_k]``, each of the three parts
        filled up to a multiple of 16 that k + 7 numbers need; begins at a cache line. z is the score without w0.
    params, variances : ndarray of float32, shape (n_features, k + 1)
        Means ``[v_j | w_j]`` and their variances. Changed in place.
    num_threads : int
        At least 1; no result depends on it.
    """

    def sweep(
        self,
        starts: NDArray[np.int64],
        rows: Ints,
        values: Floats,
        order: Ints,
        edges: NDArray[np.int64],
        records: Floats,
        params: Floats,
        variances: Floats,
        groups: Ints,
        precision: Doubles,
        shift: Doubles,
        alpha: float,
        w0: float,
        only_moves: bool,
        num_threads: int,
    ) -> None:
        """Bring each feature's means and variances to their best, and let the records follow.

        Parameters
        ----------
        starts, rows, values
            The data by feature; `values` is empty where all are 1.
        order : ndarray of int32, shape (n_features,)
        edges : ndarray of int64
            Features of ``order[edges[i]:edges[i + 1]]`` share no row; with one thread they may.
        groups : ndarray of int32, shape (n_features,)
        precision, shift : ndarray of float64, shape (n_groups, k + 1)
            Of each group's prior: precisions, and these times the means.
        only_moves : bool
            Nothing is learned: records whose q, z, rest, s and t are zero get those of the parameters.
        """

    def turn_rows(
        self,
        records: Floats,
        k: int,
        w0: float,
        w0_variance: float,
        is_classifier: bool,
        num_threads: int,
        weights: Floats | None = None,
    ) -> Doubles:
        """Between two sweeps, note each row's score; of a classifier, give it its om and its expected probability.

        Parameters
        ----------
        weights : ndarray of float32, shape (n_rows,), or None
            Above 0. They are in kappa, and in a regressor's om, already; a classifier's om is multiplied with them.

        Returns
        -------
        sums : ndarray of float64, shape (4,)
            Of om, of kappa - om score, of the latter's square (divided by the weight) and the score's variance (times
            the weight), and of om times the square of how far the score has moved.
        """
