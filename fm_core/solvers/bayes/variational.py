"""Mean-field variational inference: the deterministic relative of the sampler, with the same model and priors.

Every unknown has a normal or Gamma distribution of its own, independent of the others, and a sweep brings one after the
other to where the evidence's lower bound is greatest (kernels/_variational.pxi; of what groups have in common, the
expectations of what the sampler draws). There is nothing to average: the means are one factorization machine. It needs
some dozens of sweeps, and ends a little behind sampling or beside it.

Everything is in the sampler's units.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.errors import DivergenceError
from fm_core.kernels import draw, load
from fm_core.solvers.bayes.priors import Priors
from fm_core.solvers.bayes.randomness import VECTORS, key
from fm_core.solvers.bayes.rows import Rows
from fm_core.solvers.bayes.sampler import (
    MOST_PRECISE,
    NOISE,
    OF_BIAS,
    Units,
    initial,
    records_of,
    scores_of,
    variance_of,
)  # fmt: skip

__all__ = ["Variational"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: First variances, as a share of the square of first factors: that of a prior they were drawn from would forget them.
_SHARE = 0.25

#: First variance of linear weights.
_LINEAR = 0.01

#: Sweeps after which records are made anew, so that rounding errors do not add up.
_RENEWED = 16

#: Nats a row that a sweep's moves are worth, below which no more are made; at least, and at most.
_SETTLED, _LEAST, _MOST = 3e-6, 10, 200

#: What a row's record has beside its factors: see _variational.pxi.
_Z, _SCORE, _PROBABILITY, _RECORD = 1, 4, 5, 7


class Variational:
    """Means and variances so far: what `sampler.Sampler` is to the solver, without chance.

    Parameters
    ----------
    rows, num_factors, is_classifier, seed, num_threads, start
        As of `sampler.Sampler`; the seed is of first factors, which have to differ, and of `sample`.

    Attributes
    ----------
    params : ndarray of float32, shape (n_columns, num_factors + 1)
        Means.
    variances : ndarray of float32, as `params`
    w0, alpha : float
        The bias' mean, and that of the noise's precision.
    priors : Priors
    units : Units
    n_sweeps : int
    is_settled : bool
        Whether the last sweep hardly moved anything.
    averages : bool
        Whether samples are to be averaged: not here.
    """

    averages = False

    def __init__(
        self,
        rows: Rows,
        num_factors: int,
        is_classifier: bool,
        seed: int,
        num_threads: int = 1,
        start: "Callable[[Units, float, Floats], tuple[float, Floats]] | None" = None,
    ) -> None:
        self._rows = rows
        self._k = num_factors
        self._is_classifier = is_classifier
        self._seed = seed
        self._num_threads = num_threads
        self._kernels = load("variational")
        self._n = np.bincount(rows.groups, minlength=max(1, rows.n_groups)).astype(np.float64)
        self.units = Units(0.0, 1.0) if is_classifier else Units.of_labels(rows.labels, rows.weights)
        self.alpha = 1.0
        self.n_sweeps = 0
        self.is_settled = False
        self.w0, self.params = initial(rows, num_factors, is_classifier, seed, num_threads)
        self.variances = np.full_like(self.params, _LINEAR)
        if len(self.params):
            spread = float(self.params[:, :-1].astype(np.float64).var()) or 1e-4
            self.variances[:, :-1] = _SHARE * spread
        if start is not None:
            self.w0, self.params = start(self.units, self.w0, self.params)
        self.priors = Priors.begin(max(1, rows.n_groups), num_factors, variance_of(rows, self.params))
        self._w0_variance = 0.0
        fields = rows.schedule.fields
        self._edges = fields if len(fields) else np.array([0, len(self.params)], np.int64)
        self._sweep_threads = num_threads if len(fields) else 1
        part = -(-(num_factors + _RECORD) // 16) * 16
        self._part = part
        self._records = records_of(rows, num_factors, self.units, is_classifier, 3 * part)
        self._renew()
        self._sums = self._turn()

    def sweep(self, is_counted: bool = True) -> None:
        """Optimise every unknown once.

        Parameters
        ----------
        is_counted : bool
            Whether the sweep counts towards the mean of scores.

        Raises
        ------
        DivergenceError
            A number is not finite.
        """
        self.n_sweeps += 1
        om, residual, squares, _ = self._sums
        if not self._is_classifier:
            self.alpha = float(min((NOISE[0] + self._rows.n_counted / 2) / (NOISE[1] + squares / 2), MOST_PRECISE))
        if len(self.params):
            exact, groups = self.params.astype(np.float64), self._rows.groups
            sums, of_squares = np.zeros_like(self.priors.mean), np.zeros_like(self.priors.mean)
            for column in range(self._k + 1):
                of = exact[:, column]
                sums[:, column] = np.bincount(groups, of, len(sums))
                of_squares[:, column] = np.bincount(groups, of**2 + self.variances[:, column], len(sums))
            self.priors.expect(self._n, sums, of_squares)
        precision = self.alpha * om + OF_BIAS
        self.w0 += (self.alpha * residual - OF_BIAS * self.w0) / precision
        self._w0_variance = 1 / precision
        if len(self.params):
            self._sweep(self.priors.precision, self.priors.precision * self.priors.mean, only_moves=False)
            if self.n_sweeps % _RENEWED == 0:
                self._renew()
        self._sums = self._turn()
        if not np.isfinite(self._sums).all():
            raise DivergenceError(f"scores are no longer finite at sweep {self.n_sweeps}")
        moved = self.alpha * self._sums[3] / 2 / self._rows.n_counted
        self.is_settled = self.n_sweeps >= _MOST or (self.n_sweeps >= _LEAST and bool(moved < _SETTLED))

    def mean_scores(self) -> Floats:
        """Each row's expected score in the labels' units; a probability for a classifier."""
        if self._is_classifier:
            return self._records[:, self._k + _PROBABILITY].copy()
        return self._records[:, self._k + _SCORE] * np.float32(self.units.scale) + np.float32(self.units.mean)

    def sample(self) -> tuple[float, Floats]:
        """w0 and vectors drawn from what is known: the same ones until the next sweep."""
        noise = np.zeros_like(self.params)
        if len(noise):
            draw(
                noise, key(self._seed, VECTORS), ("normal", 1.0), ("normal", 1.0),
                stream=self.n_sweeps, num_threads=self._num_threads,
            )  # fmt: skip
        drawn: Floats = (self.params + np.sqrt(self.variances) * noise).astype(np.float32)
        return self.w0, drawn

    def latent_of(self, indptr: NDArray[np.int64], keys: NDArray[np.int32], values: Floats) -> Floats:
        """Score other rows, which have these columns, with the current means.

        Parameters
        ----------
        indptr : ndarray of int64, shape (n_rows + 1,)
        keys : ndarray of int32
        values : ndarray of float32

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
            Before the logistic function.
        """
        return scores_of(*self.sample(), indptr, keys, values, self._num_threads)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs."""
        numbers = [self.w0, self._w0_variance, self.alpha, self.n_sweeps, self.is_settled, *self._sums]
        return {
            "chain": np.array(numbers, np.float64),
            "chain_params": self.params,
            "chain_variances": self.variances,
            "chain_records": self._records,
            "chain_priors": np.stack([self.priors.mean, self.priors.precision]),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.
        """
        self.w0, self._w0_variance, self.alpha, n_sweeps, is_settled = arrays["chain"][:5].tolist()
        self.n_sweeps, self.is_settled = int(n_sweeps), bool(is_settled)
        self._sums = arrays["chain"][5:]
        self.params[:] = arrays["chain_params"]
        self.variances[:] = arrays["chain_variances"]
        self._records[:] = arrays["chain_records"]
        self.priors.mean, self.priors.precision = arrays["chain_priors"]

    # --- the parts of a sweep ---

    def _renew(self) -> None:
        """Recompute the part of the records that depends on the parameters."""
        k, part = self._k, self._part
        self._records[:, :k] = 0
        self._records[:, [k + _Z, k + _RECORD - 1]] = 0
        self._records[:, part:] = 0
        if len(self.params):
            nothing = np.zeros((len(self._n), k + 1))
            self._sweep(nothing, nothing, only_moves=True)

    def _sweep(self, precision: Doubles, shift: Doubles, only_moves: bool) -> None:
        rows = self._rows
        self._kernels.sweep(
            rows.starts, rows.rows, rows.values, rows.schedule.order, self._edges, self._records, self.params,
            self.variances, rows.groups, precision, shift, self.alpha, self.w0, only_moves, self._sweep_threads,
        )  # fmt: skip

    def _turn(self) -> Doubles:
        found: Doubles = self._kernels.turn_rows(
            self._records, self._k, self.w0, self._w0_variance, self._is_classifier, self._num_threads,
            self._rows.weights,
        )  # fmt: skip
        if not math.isfinite(found[0]):
            raise DivergenceError(f"scores are no longer finite at sweep {self.n_sweeps}")
        return found
