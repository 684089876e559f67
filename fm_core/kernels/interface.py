"""What every build of the kernels offers, and the one step of each optimizer.

The equations (z a row's score before the logistic function, y its label, e its residual)::

    z    = w0 + sum_i w_i x_i + 1/2 sum_f (s_f^2 - sum_i v_if^2 x_i^2),   s_f = sum_i v_if x_i     [1]_
    e    = z - y                  regressor
    e    = sigmoid(z) - y         classifier
    G_w0 = sum e,    G_wi = sum e x_i,    G_vif = sum e (x_i s_f - x_i^2 v_if)     over the rows of a batch

A row of fewer than two values other than zero has no pairs. The terms of G_vif cancel there, and are left out: their
rounding, another in each build, would be a gradient like any other to Adam, which moves as far by a small one.

With g = rescale_grad * G + wd * theta, then limited to [-clip_gradient, clip_gradient] if that is
positive (weight decay inside the limit, as MXNet's Adam has it), a parameter theta moves by

=======  =====================================================================================
adam     m <- .9 m + .1 g;  u <- .999 u + .001 g^2;  theta <- theta - lr m / (sqrt(u) + eps)   [2]_
         with lr already times sqrt(1 - .999^t) / (1 - .9^t), t the number of batches so far: the schedule
sgd      theta <- theta - lr g
adagrad  h <- h + g^2;  theta <- theta - lr g / (sqrt(h) + eps)                                [3]_
ftrl     n' = n + g^2;  z <- z + g - (sqrt(n') - sqrt(n)) / lr theta;  n <- n'
         theta <- -z / ((1 + sqrt(n)) / lr + wd)                                               [4]_
         where g is without wd (it is the L2 term of the last line), there is no L1 term, and
         z starts where theta keeps its initial value: z = -(1 / lr + wd) theta at n = 0
=======  =====================================================================================

References
----------
.. [1] S. Rendle, "Factorization Machines", ICDM 2010, lemma 3.1.
.. [2] D. Kingma, J. Ba, "Adam: a Method for Stochastic Optimization", ICLR 2015, end of section 2
       (eps outside the bias correction, as in MXNet 1.9.1, python/mxnet/optimizer.py).
.. [3] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods", JMLR 12, 2011.
.. [4] H. B. McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["OPTIMIZERS", "PADDING", "TILE", "Kernels", "Optimizer", "Step", "padded"]

Floats = NDArray[np.float32]

#: Rows of `sums` are padded to a multiple of this many floats, the widest block of any build.
PADDING = 16

#: Features of dense rows that one task updates.
TILE = 16


def padded(num_factors: int) -> int:
    """Floats of a row of `sums`."""
    return -(-num_factors // PADDING) * PADDING


def _constant(t: int) -> float:
    return 1.0


def _adam_bias_correction(t: int) -> float:
    # in float64, as MXNet has it, and rounded once, as part of a Step
    return math.sqrt(1 - 0.999**t) / (1 - 0.9**t)


class Optimizer(NamedTuple):
    """What a solver knows of an optimizer; its formula is the kernels'.

    Attributes
    ----------
    number : int
        That of `Step` and of _optimizers.pxi.
    n_states : int
        How many numbers of state each parameter has.
    schedule : callable
        Gives what learning rates are multiplied with at update t = 1, 2, ...
    """

    number: int
    n_states: int
    schedule: Callable[[int], float] = _constant


OPTIMIZERS = {
    "adam": Optimizer(0, 2, _adam_bias_correction),
    "sgd": Optimizer(1, 0),
    "adagrad": Optimizer(2, 1),
    "ftrl": Optimizer(3, 2),
}


class Step(NamedTuple):
    """The rates of one update, all but `optimizer` and the two switches in float32.

    ``clip_gradient`` of 0 means none. Learning rates are final: base rate, multiplier
    and the optimizer's schedule multiplied.
    """

    optimizer: int
    rescale_grad: float
    clip_gradient: float
    eps: float
    bias_lr: float
    bias_wd: float
    linear_lr: float
    linear_wd: float
    factors_lr: float
    factors_wd: float
    use_bias: bool
    use_linear: bool


class Kernels(Protocol):
    """The functions of one build. Arguments are C-contiguous and checked; nothing is checked again.

    Attributes
    ----------
    params : ndarray of float32, shape (feature_dim, num_factors + 1)
        Row i is ``[v_i | w_i]``. Changed in place.
    state : ndarray of float32, shape (feature_dim, n_states * (num_factors + 1))
        Row i is the first state of ``[v_i | w_i]``, then the second. Changed in place.
    bias : ndarray of float32, shape (3,)
        w0 and its states. Changed in place.
    weights : ndarray of float32, shape (n_rows,), or None
        What each row's e is multiplied with; None: nothing.
    sums, residuals, scores : ndarray of float32
        Outputs: s_f of each row, shape (n_rows, num_factors rounded up to PADDING); e of
        each row, times its weight; the prediction of each row before the update.
    num_threads : int
        At least 1; the result does not depend on it.
    """

    def train_sparse(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: Floats,
        labels: Floats,
        features: NDArray[np.int32],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        row_values: Floats,
        is_grouped: bool,
        params: Floats,
        state: Floats,
        bias: Floats,
        sums: Floats,
        residuals: Floats,
        scores: Floats,
        classify: bool,
        lazy: bool,
        step: Step,
        num_threads: int,
        weights: Floats | None = None,
    ) -> int:
        """One update from CSR rows; gives the number of distinct features.

        `features`, `starts`, `rows` and `row_values` are what `group` gives of the same rows; without
        `is_grouped` they are what `ungrouped` gives, and get that content now.
        """

    def train_ranked(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: Floats,
        n_contexts: int,
        loss: int,
        n_items: float,
        features: NDArray[np.int32],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        row_values: Floats,
        is_grouped: bool,
        params: Floats,
        state: Floats,
        sums: Floats,
        residuals: Floats,
        losses: Floats,
        orders: Floats,
        lazy: bool,
        step: Step,
        num_threads: int,
    ) -> int:
        """One update from contexts and the items that are compared in them; gives the number of distinct features.

        The rows are those of _ranked.pxi: `n_contexts` contexts, then as many items of each as of any other, the
        positive first; no feature is on both sides. `loss` is a number of that text, `n_items` how many items there
        are. Of each context: `losses`, its loss, and `orders`, the share of negatives below the positive. The rest is
        as for `train_sparse`; `sums` and `residuals` are scratch.
        """

    def score_rows(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: Floats,
        labels: Floats,
        params: Floats,
        w0: float,
        sums: Floats,
        residuals: Floats,
        pair_residuals: Floats,
        scores: Floats,
        classify: bool,
        num_threads: int,
        weights: Floats | None = None,
    ) -> bool:
        """Score CSR rows to learn from them: of several hosts, by copies of parameters.

        `pair_residuals` are the residuals, but zero where a row has no pairs; gives whether there is such a row.
        """

    def gradients(
        self,
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        row_values: Floats,
        params: Floats,
        sums: Floats,
        residuals: Floats,
        pair_residuals: Floats,
        has_pairless: bool,
        out: Floats,
        num_threads: int,
    ) -> None:
        """Write G of each row of `params` to `out`; row j occurs in the entries ``starts[j]:starts[j + 1]``."""

    def update(
        self,
        touched: NDArray[np.int32],
        starts: NDArray[np.int64],
        at: NDArray[np.int64],
        received: Floats,
        totals: Floats,
        params: Floats,
        state: Floats,
        step: Step,
        lazy: bool,
        num_threads: int,
    ) -> None:
        """Add the gradients of each row in `touched`, in their order, and update it; not `lazy`: every row.

        Row ``touched[j]`` has the gradients ``received[at[starts[j]:starts[j + 1]]]``, one at least; `totals` is
        scratch of as many rows as `touched` has, and one more.
        """

    def score_parts(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: Floats,
        params: Floats,
        parts: Floats,
        num_threads: int,
    ) -> None:
        """Compute, from this host's entries of CSR rows, the s_f of each row and its score without w0."""

    def add_parts(
        self,
        parts: Floats,
        w0: float,
        labels: Floats,
        told: Floats,
        scores: Floats,
        classify: bool,
        weights: Floats | None = None,
    ) -> None:
        """Add up the parts of rows, of shape (n_hosts, n_rows, k + 1), in their order.

        Outputs: `scores`; `told`, s_f of each row and its residual, shape (n_rows, k + 1).
        """

    def learn_parts(
        self,
        features: NDArray[np.int32],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        row_values: Floats,
        told: Floats,
        has_pairs: NDArray[np.uint8],
        params: Floats,
        state: Floats,
        lazy: bool,
        step: Step,
        num_threads: int,
    ) -> None:
        """Update this host's features from the rows of all.

        `features` to `row_values` are what `group` gives of the entries; `told` is flat, with what `add_parts` told of
        all rows, and PADDING floats behind it that nothing depends on; `has_pairs` says of each row, all its entries
        counted, whether it has pairs.
        """

    def train_dense(
        self,
        X: Floats,
        labels: Floats,
        params: Floats,
        state: Floats,
        bias: Floats,
        sums: Floats,
        residuals: Floats,
        scores: Floats,
        w: Floats,
        squares: Floats,
        gradients: Floats,
        classify: bool,
        step: Step,
        num_threads: int,
        weights: Floats | None = None,
    ) -> None:
        """One update from dense rows.

        Scratch: `w` and `squares` of shape (feature_dim,), `gradients` of shape
        (num_threads, TILE * sums.shape[1]).
        """

    def predict_sparse(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: Floats,
        w0: float,
        w: Floats,
        V: Floats,
        scores: Floats,
        classify: bool,
        num_threads: int,
    ) -> None:
        """Score CSR rows into `scores`; `w` may be strided, `V` has contiguous rows."""

    def predict_dense(
        self, X: Floats, w0: float, w: Floats, V: Floats, scores: Floats, classify: bool, num_threads: int
    ) -> None:
        """Score dense rows into `scores`."""
