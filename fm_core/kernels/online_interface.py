"""What every build of the online kernels offers: fm_core/kernels/_online.pxi, which has the equations.

Arguments are C-contiguous and checked; nothing is checked again. `reference_online` has the same in plain NumPy.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["OnlineKernels"]

Floats = NDArray[np.float32]


class OnlineKernels(Protocol):
    """The functions of one build."""

    def filter_rows(
        self,
        indptr: NDArray[np.int64],
        keys: NDArray[np.int32],
        values: Floats,
        labels: Floats,
        params: Floats,
        information: Floats,
        precision: Floats,
        is_factor: Floats,
        state: NDArray[np.float64],
        scores: Floats,
        is_classifier: bool,
        weights: Floats | None = None,
    ) -> None:
        """Score each row, before the logistic function, and learn from it before the next.

        Parameters
        ----------
        indptr, keys, values, labels
            Rows in CSR.
        params : ndarray of float32, shape (n, k + 1)
            Means, rows ``[v | w]``. Changed in place.
        information : ndarray of float32, as `params`
            Precisions less the prior's. Changed in place.
        precision, is_factor : ndarray of float32, of a multiple of 16 numbers, at least k + 1
            Of the prior, and 1 behind it; 1 for factors, else 0.
        state : ndarray of float64, shape (4,)
            w0, its precision, the variance of a regressor's noise, rows (their weights) so far. Changed in place.
        scores : ndarray of float32, shape (n_rows,)
        is_classifier : bool
        weights : ndarray of float32, shape (n_rows,), or None
            How often each row's likelihood counts; None: once.
        """
