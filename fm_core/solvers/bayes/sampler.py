"""Sweeps: every unknown drawn in turn, given all the others (Gibbs sampling).

One sweep draws the noise's precision (regressor) or each row's Polya-Gamma weight (classifier), what groups have in
common (priors.py), w0, and then every feature's vector ``[v_j | w_j]`` (kernels/_bayes.pxi). All random numbers are
functions of the seed, the sweep's number and the place of what is drawn: nothing of a generator has to be kept, and
threads do not matter.

Everything is in standard units: a regressor's labels have mean 0 and variance 1, values are divided by what is typical
of their group. `Units` leads back.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fm_core.errors import DivergenceError
from fm_core.kernels import draw, in_use, load
from fm_core.kernels._polya_gamma import turn_rows as turn_rows_of_classifier
from fm_core.solvers.bayes.priors import Priors
from fm_core.solvers.bayes.randomness import INITIAL, OF_ROWS, VECTORS, WEIGHTS, generator, key
from fm_core.solvers.bayes.rows import Rows

if TYPE_CHECKING:
    from fm_core.solvers.bayes.randomness import Generator

__all__ = [
    "MOST_PRECISE", "NOISE", "OF_BIAS", "Sampler", "Units", "aligned", "initial", "polya_gamma_of", "records_of",
    "scores_of", "variance_of",
]  # fmt: skip

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Standard deviation of a typical row's interactions before the first sweep.
_INITIAL = 0.25

#: Shape and rate of the prior of the noise's precision, and a limit of it: labels have variance 1.
NOISE, MOST_PRECISE = (0.5, 5e-5), 1e8

#: Precision of the bias' prior, of mean 0: as good as none.
OF_BIAS = 1e-3

#: Sweeps after which records are made anew, so that rounding errors do not add up.
_RENEWED = 32

#: Between the seeds of chains: held_out.py takes the next few of a seed.
APART = 1009

#: What is in a row's record behind q and the 1: see _bayes.pxi.
_Z, _OM, _KAPPA, _SUM_Z, _SUM_P, _RECORD = 1, 2, 3, 4, 5, 6


@dataclasses.dataclass(frozen=True)
class Units:
    """What a regressor's labels were moved and divided by: ``label = mean + scale * z``. A classifier has 0 and 1."""

    mean: float
    scale: float

    @classmethod
    def of_labels(cls, labels: Floats, weights: Floats | None = None) -> "Units":
        """Compute the mean and standard deviation of labels; the residual of constant labels is exactly 0.

        Parameters
        ----------
        labels : ndarray of float32, shape (n,)
        weights : ndarray of float32, shape (n,), optional

        Returns
        -------
        units : Units
        """
        exact = labels.astype(np.float64)
        mean = float(exact.mean() if weights is None else np.average(exact, weights=weights))
        squares = (exact - mean) ** 2
        scale = float(np.sqrt(np.mean(squares) if weights is None else np.average(squares, weights=weights)))
        return cls(mean, scale if scale > 1e-7 * abs(mean) else max(1e-7 * abs(mean), 1e-30))


class Sampler:
    """The state of a chain.

    Parameters
    ----------
    rows : Rows
    num_factors : int
        Of a sample.
    is_classifier : bool
    seed : int
    num_threads : int
        What is drawn does not depend on it, bit for bit.
    start : callable, optional
        Given the units, and w0 and vectors ``[v | w]`` of all columns as they were drawn, gives those to begin with.

    Attributes
    ----------
    params : ndarray of float32, shape (n_columns, num_factors + 1)
    w0 : float
    alpha : float
        Precision of a regressor's noise; 1 for a classifier.
    priors : Priors
    units : Units
    n_sweeps : int
    n_counted : int
        Samples in the rows' mean scores.
    averages : bool
        Whether samples are to be averaged.
    is_settled : bool
        Whether further sweeps change nothing: never.
    """

    averages = True
    is_settled = False

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
        self._kernels = load("bayes")
        self._n = np.bincount(rows.groups, minlength=max(1, rows.n_groups)).astype(np.float64)
        self.units = Units(0.0, 1.0) if is_classifier else Units.of_labels(rows.labels, rows.weights)
        self.alpha = 1.0
        self.n_sweeps = self.n_counted = 0
        self.w0, self.params = initial(rows, num_factors, is_classifier, seed, num_threads)
        if start is not None:
            self.w0, self.params = start(self.units, self.w0, self.params)
        self.priors = Priors.begin(max(1, rows.n_groups), num_factors, variance_of(rows, self.params))
        self._noise = np.empty_like(self.params)
        self._records = records_of(rows, num_factors, self.units, is_classifier, num_factors + _RECORD)
        self._renew()
        self._sums = self._turn(1)

    def begin_anew(self, chain: int) -> None:
        """Start a new chain from newly drawn parameters; the mean scores of the rows are kept.

        Parameters
        ----------
        chain : int
            Its number, from 1: the first one after the initial chain.
        """
        self.w0, self.params = initial(
            self._rows, self._k, self._is_classifier, self._seed + chain * APART, self._num_threads
        )
        self.alpha = 1.0
        self.priors = Priors.begin(len(self._n), self._k, variance_of(self._rows, self.params))
        self._renew()
        self._sums = self._turn(0)

    def sweep(self, is_counted: bool, *, is_passed: bool = False) -> None:
        """Draw everything once.

        Parameters
        ----------
        is_counted : bool
            Whether the sample is added to the rows' mean scores; otherwise they are those of this sample.
        is_passed : bool
            Whether they stay as they are instead.

        Raises
        ------
        DivergenceError
            A number is not finite.
        """
        self.n_sweeps += 1
        rng = generator(self._seed, self.n_sweeps)
        om, residual, squares = self._sums
        if not self._is_classifier:
            self.alpha = float(min(rng.gamma(NOISE[0] + om / 2) / (NOISE[1] + squares / 2), MOST_PRECISE))
        if len(self.params):
            sums = self._kernels.group_sums(self.params, self._rows.groups, len(self._n), self._num_threads)
            self.priors.draw(self._n, sums[:, 0], sums[:, 1], rng)
        precision = self.alpha * om + OF_BIAS
        self.w0 += (self.alpha * residual - OF_BIAS * self.w0) / precision
        self.w0 += float(rng.standard_normal()) / math.sqrt(precision)
        if len(self.params):
            draw(
                self._noise, key(self._seed, VECTORS), ("normal", 1.0), ("normal", 1.0),
                stream=self.n_sweeps, num_threads=self._num_threads,
            )  # fmt: skip
            self._sweep(*self.priors.systems(), self._noise, only_moves=False)
            if self.n_sweeps % _RENEWED == 0:
                self._renew()
        if not is_passed:
            self.n_counted = self.n_counted + 1 if is_counted else 1
        self._sums = self._turn(0 if is_passed else self.n_counted)
        if not np.isfinite(self._sums).all():
            raise DivergenceError(
                f"scores are no longer finite at sweep {self.n_sweeps}: solver bayes cannot handle large, strongly "
                "correlated dense columns; subtract their means, or use solver minibatch"
            )
        if not is_counted and not is_passed:
            self.n_counted = 0

    def mean_scores(self) -> Floats:
        """Each row's mean score over the samples that count, in the labels' units; a probability for a classifier."""
        n = max(1, self.n_counted)
        if self._is_classifier:
            return self._records[:, self._k + _SUM_P] / np.float32(n)
        mean = self._records[:, self._k + _SUM_Z] * np.float32(self.units.scale / n)
        return mean + np.float32(self.units.mean)

    def mean_latent(self) -> Floats:
        """Each row's mean score in standard units, before the logistic function."""
        return self._records[:, self._k + _SUM_Z] / np.float32(max(1, self.n_counted))

    def latent_of(self, indptr: NDArray[np.int64], keys: NDArray[np.int32], values: Floats) -> Floats:
        """Score other rows, which have this chain's columns, with the current sample.

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

    def sample(self) -> tuple[float, Floats]:
        """w0 and vectors, as drawn last."""
        return self.w0, self.params

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs."""
        return {
            "chain": np.array([self.w0, self.alpha, self.n_sweeps, self.n_counted, *self._sums]),
            "chain_params": self.params,
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
        self.w0, self.alpha, n_sweeps, n_counted = arrays["chain"][:4].tolist()
        self.n_sweeps, self.n_counted = int(n_sweeps), int(n_counted)
        self._sums = arrays["chain"][4:]
        self.params[:] = arrays["chain_params"]
        self._records[:] = arrays["chain_records"]
        self.priors.mean, self.priors.precision = arrays["chain_priors"]

    # --- the parts of a sweep ---

    def _renew(self) -> None:
        """Recompute z and q of every row from the parameters."""
        self._records[:, : self._k] = 0
        self._records[:, self._k + _Z] = 0
        if len(self.params):
            width, n_groups = self._k + 1, len(self._n)
            nothing = np.zeros((n_groups, width, width)), np.zeros((n_groups, width))
            self._sweep(*nothing, np.empty((0, 0), np.float32), only_moves=True)

    def _sweep(self, precision: Doubles, shift: Doubles, noise: Floats, only_moves: bool) -> None:
        rows = self._rows
        self._kernels.sweep(
            rows.starts, rows.rows, rows.values, rows.schedule, self._records, self.params, rows.groups,
            precision, shift, noise, self.alpha, self.w0, self._is_classifier or rows.weights is not None, only_moves,
            self._num_threads,
        )  # fmt: skip

    def _turn(self, counts: int) -> Doubles:
        """Count the rows' scores, unless `counts` is 0; give sums of om, of the residual, and of its square."""
        if not counts:
            of_scores = self._records[:, self._k + _SUM_Z : self._k + _RECORD]
            before = of_scores.copy()
            sums = self._turn(1)
            of_scores[:] = before
            return sums
        if self._is_classifier:
            of_weights = key(self._seed, WEIGHTS)
            sums = turn_rows_of_classifier(
                self._records, self._k, self.w0, of_weights, self.n_sweeps + 1, counts, self._num_threads
            )
            if self._rows.weights is not None:
                sums = self._weighted(self._rows.weights)
            return np.array([sums[0], sums[1], 0.0])
        is_weighted = self._rows.weights is not None
        sums = self._kernels.turn_rows(self._records, self._k, self.w0, counts, self._num_threads, is_weighted)
        return np.array([self._rows.n_counted, sums[0], sums[1]])

    def _weighted(self, weights: Floats) -> Doubles:
        """Give a classifier's rows the om of their weights, and give its sum and that of the residual."""
        z = self._records[:, self._k + _Z].astype(np.float64) + self.w0
        rng = generator(self._seed, OF_ROWS + self.n_sweeps + 1)
        om = polya_gamma_of(weights, z, self._records[:, self._k + _OM], rng)
        self._records[:, self._k + _OM] = om
        return np.array([om.sum(), (self._records[:, self._k + _KAPPA] - om * z).sum()])


def initial(rows: Rows, num_factors: int, is_classifier: bool, seed: int, num_threads: int) -> tuple[float, Floats]:
    """Draw the first w0 and the first vectors of all columns.

    Parameters
    ----------
    rows : Rows
    num_factors : int
    is_classifier : bool
    seed, num_threads : int

    Returns
    -------
    w0 : float
        The log odds of the labels for a classifier, else 0.
    params : ndarray of float32, shape (n_features, num_factors + 1)
        ``[V | w]``; w is 0.
    """
    params = np.zeros((len(rows.features), num_factors + 1), np.float32)
    interactions = rows.probes.interactions
    # rows without pairs have a rounding error of interactions
    sigma = min(1.0, (_INITIAL**2 / (interactions * num_factors)) ** 0.25) if interactions > 0 else _INITIAL
    draw(params, key(seed, INITIAL), ("normal", sigma), ("constant", 0.0), num_threads=num_threads)
    if not is_classifier:
        return 0.0, params
    if rows.weights is None:
        share = (float(rows.labels.mean(dtype=np.float64)) * rows.n_rows + 0.5) / (rows.n_rows + 1)
    else:
        share = (float(rows.labels.astype(np.float64) @ rows.weights) + 0.5) / (rows.n_counted + 1)
    return math.log(share / (1 - share)), params


def variance_of(rows: Rows, params: Floats) -> float:
    """The variance of the initial factors of one-hot columns; 0 if there are none, or rows have values other than 1.

    Raw columns far from 0 need large steps at first: with priors of small factors their chain stayed at the mean.

    Parameters
    ----------
    rows : Rows
    params : ndarray of float32, shape (n_features, k + 1)
        The initial parameters.

    Returns
    -------
    variance : float
    """
    return float(params[:, :-1].var(dtype=np.float64)) if len(params) and not len(rows.values) else 0.0


def records_of(rows: Rows, num_factors: int, units: Units, is_classifier: bool, width: int) -> Floats:
    """Make the records of all rows, before any score: kernels/_bayes.pxi has their layout.

    Parameters
    ----------
    rows : Rows
    num_factors : int
    units : Units
        Those of the labels.
    is_classifier : bool
    width : int
        Numbers per record.

    Returns
    -------
    records : ndarray of float32, shape (n_rows, width), or wider
        Each is made of whole cache lines, for kernels/_variational.pxi too.
    """
    records = aligned(rows.n_rows, width)
    records[:, num_factors] = 1
    records[:, num_factors + _OM] = 1 if rows.weights is None else rows.weights
    records[:, num_factors + _KAPPA] = targets(rows, units, is_classifier)
    return records


def scores_of(
    w0: float, params: Floats, indptr: NDArray[np.int64], keys: NDArray[np.int32], values: Floats, num_threads: int
) -> Floats:
    """Score rows with one sample of a chain.

    Parameters
    ----------
    w0 : float
    params : ndarray of float32, shape (n_features, num_factors + 1)
        ``[V | w]`` of the chain's features.
    indptr : ndarray of int64, shape (n_rows + 1,)
    keys : ndarray of int32
        Positions among the chain's features.
    values : ndarray of float32
    num_threads : int

    Returns
    -------
    scores : ndarray of float32, shape (n_rows,)
        In the chain's units, before the logistic function.
    """
    scores = np.empty(len(indptr) - 1, np.float32)
    if len(params) and len(keys):
        in_use()[1].predict_sparse(
            indptr, keys, values, w0, params[:, -1], params[:, :-1], scores, False, num_threads
        )  # fmt: skip
    else:
        scores[:] = w0
    return scores


def targets(rows: Rows, units: Units, is_classifier: bool) -> Doubles:
    """What rows' kappa is: see kernels/_bayes.pxi."""
    exact = rows.labels.astype(np.float64)
    wanted: Doubles = exact - 0.5 if is_classifier else (exact - units.mean) / units.scale
    return wanted if rows.weights is None else rows.weights * wanted


def polya_gamma_of(weights: Floats, z: Doubles, one: Floats, rng: "Generator") -> Doubles:
    """Draw from PG(weight, z), given draws from PG(1, z).

    What is beyond 1 (all of it where that is less) is a Gamma number of the same mean and variance: of the sum of Gamma
    numbers that PG(b, z) is, the first alone is nine tenths.

    Parameters
    ----------
    weights : ndarray of float32, shape (n,)
        Above 0; those of 1 keep the draw they have.
    z : ndarray of float64, shape (n,)
    one : ndarray of float32, shape (n,)
    rng : Generator

    Returns
    -------
    draws : ndarray of float64, shape (n,)
    """
    c = np.maximum(np.abs(z), 1e-6)
    mean = np.tanh(c / 2) / (2 * c)
    spread = np.where(
        c < 0.03,
        1 / 24 - c**2 / 120,
        (2 * np.tanh(c / 2) - c / np.cosh(np.minimum(c / 2, 300)) ** 2) / (4 * np.maximum(c, 0.03) ** 3),
    )
    is_less = weights < 1
    rest = np.where(is_less, weights, weights - 1).astype(np.float64)
    drawn: Doubles = rng.standard_gamma(rest * mean**2 / spread) * (spread / mean)
    return np.maximum(np.where(is_less, drawn, one + drawn), 1e-30)


def aligned(n_rows: int, width: int) -> Floats:
    """Return zeros whose rows start at cache lines and fill them.

    Parameters
    ----------
    n_rows, width : int

    Returns
    -------
    array : ndarray of float32, shape (n_rows, a multiple of 16)
    """
    stride = -(-width // 16) * 16
    block = np.zeros(n_rows * stride + 16, np.float32)
    start = -(block.ctypes.data // 4) % 16
    return block[start : start + n_rows * stride].reshape(n_rows, stride)
