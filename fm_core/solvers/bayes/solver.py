"""Solver `bayes`: sweeps, and the mean of their samples as an ordinary model.

An epoch is a sweep. Samples are averaged from the start, and the average begins anew after 8, 16, 32, 64 and 128 sweeps
(of a training whose number of sweeps is known, only while three quarters of them are still to come): at any moment the
model is the mean of at least the later half of all samples, and what the chain began with is forgotten.

Without a number of sweeps, it continues until more would hardly help (convergence.py), or all entries have been walked
some ten billion times. Of one-hot columns, it then starts a new chain every 240 sweeps, and the mean is that of all
chains: a chain stays near one of many explanations of the data, and the mean of several is better than a longer chain.

Of a classifier of few rows no more is kept than rows that were held out bear out (held_out.py).

A classifier's mean score is overconfident against the mean of its samples' probabilities: both are known of the probes,
and one number c that brings sigmoid(c z) nearest to the mean probability scales the model.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.shrinkage import moved, shrunk
from fm_core.batch import Batch
from fm_core.kernels import in_use, load
from fm_core.kernels._eigen import eigen
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.score_range import ScoreRange, bounded
from fm_core.solvers.bayes.compression import RunningMean
from fm_core.solvers.bayes.convergence import Convergence, Outlook, tolerated
from fm_core.solvers.bayes.held_out import Kept, kept_of
from fm_core.solvers.bayes.kept_samples import Keeper, spread_of
from fm_core.solvers.bayes.rows import Collector, Rows
from fm_core.solvers.bayes.sampler import Sampler
from fm_core.solvers.bayes.start import starting_with
from fm_core.solvers.bayes.variational import Variational
from fm_core.spread import Spread, spread_to_unseen

__all__ = ["BURN_IN", "CHAIN", "LEAST", "MOST", "WALKED", "BayesSolver", "collect", "sample_model"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Sweeps after which the average begins anew.
_RESTARTS = (8, 16, 32, 64, 128)

#: Sweeps of a chain of one-hot columns if no number is given, and those at the start of each later chain that do not
#: count. Chosen on held-out parts of the training rows of California housing, MovieLens and Adult, of chains of 64 to
#: 320 sweeps: against one chain of 700, the error of the first two is lower by .5 and .1 %, and Adult's is the same.
CHAIN, BURN_IN = 240, 80

#: Sweeps of a training that is told no number: at most, at least in any case, and entries walked in all.
MOST, LEAST, WALKED = 3 * CHAIN, 100, 2e10

#: Draws of what the variational method knows, at least, that tell of probabilities and spread.
_DRAWN = 16

#: What is asked of rows: draws, or means and variances.
_METHODS: dict[str, type[Sampler] | type[Variational]] = {"gibbs": Sampler, "variational": Variational}

#: Standard deviations of labels that compression may move scores by, on the whole: on real data it moves them by .05.
_FAR_OFF = 0.5

#: Factors of a sample. More gain nothing on any set tried, cost their square, and leave the cache line.
_FACTORS = 8


class BayesSolver:
    """A chain, and the mean of its samples.

    Parameters
    ----------
    rows : Rows
    predictor_type : {"regressor", "binary_classifier"}
    num_factors : int
        Of the model.
    n_sweeps : int or None
        How many there will be; None: as many as the data needs.
    seed : int
    num_threads : int
        The model does not depend on it, bit for bit.
    start : Model, optional
        Of the same kind, for the first features at least: what the chain begins with.
    method : {"gibbs", "variational"}

    Attributes
    ----------
    rows : Rows
    sampler : Sampler or Variational
    kept : Kept
        How much of the model is kept.
    score_range : ScoreRange or None
        The model's.
    """

    def __init__(
        self,
        rows: Rows,
        predictor_type: str,
        num_factors: int,
        n_sweeps: int | None,
        seed: int,
        num_threads: int = 1,
        start: Model | None = None,
        method: str = "gibbs",
    ) -> None:
        self.rows = rows
        self._link = link_for(predictor_type)
        self._link.check_labels(rows.labels)
        self._num_factors = num_factors
        self._n_sweeps = n_sweeps
        k = self.inner_factors(num_factors)
        begin = None if start is None else starting_with(start, rows)
        make = _METHODS[method]
        self.kept = Kept()
        if self._link.is_classifier:
            self.kept = kept_of(rows, lambda some, i: make(some, k, True, seed + i + 1, num_threads), seed)
        self.sampler: Sampler | Variational = make(rows, k, self._link.is_classifier, seed, num_threads, begin)
        # behind the features a row for each group: what is known of features that never occurred
        self._order = rows.schedule.order
        n_groups = len(self.sampler.priors.mean)
        weights = np.concatenate([rows.occurrences[self._order], np.zeros(n_groups)]).astype(np.float32)
        self._mean = RunningMean(weights, k, num_factors, rows.fields, load("bayes"), num_threads)
        self._sample = np.empty((len(weights), k + 1), np.float32)
        self._convergence = Convergence(len(rows.probes.indptr) - 1, self._link.is_classifier)
        self._keeper = Keeper(rows, self.sampler.units, n_groups, k, self.kept)
        self._made: tuple[int, Model] | None = None
        self.score_range: ScoreRange | None = None
        if not self._link.is_classifier:
            self.score_range = ScoreRange.of_labels(rows.labels, self.sampler.units.scale)

    @staticmethod
    def inner_factors(num_factors: int) -> int:
        """Return the number of factors of each sample.

        Parameters
        ----------
        num_factors : int
            The number of factors of the model.

        Returns
        -------
        k : int
        """
        return min(_FACTORS, num_factors)

    @property
    def n_steps(self) -> int:
        """Sweeps so far."""
        return self.sampler.n_sweeps

    @property
    def is_done(self) -> bool:
        """Whether there were as many sweeps as were asked for, or as the data needs."""
        if self._n_sweeps is not None:
            return self.n_steps >= self._n_sweeps
        if not self.sampler.averages:
            return self.sampler.is_settled and self._convergence.n_samples >= _DRAWN
        if self._is_burning and self.n_steps < self.most_sweeps:
            return False
        n_walked = self.n_steps * len(self.rows.rows)
        return self.n_steps >= self.most_sweeps or self.outlook.cost <= tolerated(n_walked)

    @property
    def most_sweeps(self) -> int:
        """How many sweeps there are at most, if no number was given."""
        most = int(np.clip(WALKED / max(1, len(self.rows.rows)), LEAST, MOST))
        begun = most % CHAIN
        return most - begun if self._has_chains and most > CHAIN and begun <= 2 * BURN_IN else most

    @property
    def _has_chains(self) -> bool:
        """Whether chains follow each other: large values take long to settle (see `sampler.variance_of`)."""
        return self._n_sweeps is None and self.sampler.averages and not len(self.rows.values)

    @property
    def _is_burning(self) -> bool:
        """Whether the sample that was drawn last is too near to the beginning of a later chain to count."""
        return self._has_chains and self.n_steps > CHAIN and 1 <= self.n_steps % CHAIN <= BURN_IN

    @property
    def outlook(self) -> Outlook:
        """Whether more sweeps would help."""
        return self._convergence.outlook(None if self._link.is_classifier else self.sampler.alpha)

    def sweep(self) -> None:
        """Draw one more sample, or bring what is known one step further.

        Raises
        ------
        DivergenceError
            A number is not finite.
        """
        sampler, n = self.sampler, self.n_steps
        if isinstance(sampler, Sampler) and self._has_chains and n >= CHAIN:
            if n % CHAIN == 0:
                sampler.begin_anew(n // CHAIN)
            if n % CHAIN < BURN_IN:
                sampler.sweep(True, is_passed=True)
                return
        if n in _RESTARTS and (2 * n <= CHAIN if self._has_chains else 4 * n <= (self._n_sweeps or math.inf)):
            for average in (self._mean, self._convergence, self._keeper):
                average.restart()
        sampler.sweep(self._mean.n_samples > 0)
        if not sampler.averages:
            self._mean.restart()
        n = len(self._order)
        np.take(sampler.params, self._order, axis=0, out=self._sample[:n], mode="clip")  # this mode writes at once
        self._sample[n:] = sampler.priors.mean
        self._mean.add(sampler.w0, self._sample)
        probes = self.rows.probes
        self._convergence.add(sampler.latent_of(probes.indptr, probes.keys, probes.values))
        w0, params = sampler.sample()
        self._keeper.add(w0, sampler.alpha, params, sampler.priors.mean, sampler.priors.precision)

    @property
    def model(self) -> Model:
        """The mean of the samples so far."""
        if self._made is None or self._made[0] != self.n_steps:
            self._made = self.n_steps, self._compressed()
        return self._made[1]

    def scores(self) -> Floats:
        """The mean score of each row of the data so far."""
        share, constant = self.kept.share, self.kept.constant
        with np.errstate(over="ignore"):  # labels may be as large as float32 goes
            scores = self.sampler.mean_scores()
        return bounded(moved(scores, constant, share, self._link), self.score_range)

    @property
    def spread(self) -> Spread | None:
        """What the standard deviation of a score needs; None while there are fewer than two samples."""
        return spread_of(
            self._keeper.arrays() | self._convergence.arrays(), self.rows.feature_dim,
            is_classifier=self._link.is_classifier, is_chain=self.sampler.averages,
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs in addition to the rows; large arrays are not copied."""
        return {
            **self.sampler.arrays(), **self._mean.arrays(), **self._convergence.arrays(), **self._keeper.arrays(),
        }  # fmt: skip

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `arrays` returned, for the same rows; the solver keeps the arrays.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.
        """
        for part in (self.sampler, self._mean, self._convergence, self._keeper):
            part.restore(arrays)
        self._made = None

    def _compressed(self) -> Model:
        rows, units = self.rows, self.sampler.units
        w0, w, V = self._mean.model(self._num_factors)
        n = len(rows.features)
        in_place = np.empty(n, np.int64)
        in_place[self._order] = np.arange(n)
        of_groups = slice(n, None)
        w0, w, V = self._with_what_was_lost(w0, w, V, in_place)
        c = self._scale_of_probabilities(w0, w[in_place], V[in_place]) if self._link.is_classifier else 1.0
        scale = c * units.scale
        columns = np.arange(rows.feature_dim)
        params = np.empty((rows.feature_dim, self._num_factors + 1), np.float32)
        if n:
            groups = spread_to_unseen(rows.features, rows.groups, columns)
            params[:, :-1] = math.sqrt(scale) * V[of_groups][groups] / rows.typical[groups][:, np.newaxis]
            params[:, -1] = scale * w[of_groups][groups] / rows.typical[groups]
            own = rows.typical[rows.groups]
            params[rows.features, :-1] = math.sqrt(scale) * V[in_place] / own[:, np.newaxis]
            params[rows.features, -1] = scale * w[in_place] / own
        else:
            params[:] = 0
        # float32, as the artifact has it
        w0 = float(np.float32(units.mean + scale * w0))
        whole = Model.of_params(self._link.predictor_type, w0, params, self.score_range)
        return shrunk(whole, self.kept.constant, self.kept.share)

    def _with_what_was_lost(
        self, w0: float, w: Doubles, V: Floats, in_place: NDArray[np.int64]
    ) -> tuple[float, Doubles, Floats]:
        """The model, so that it makes up for dimensions that were left out, where scores are far off without these.

        The sum of a row's factors, squared, is kept by the best dimensions, and the sum of squares, which is taken off
        it, is not: with a hundred entries that is nothing, with a hundred thousand all. Sizes of the parts, a number
        for each row and one for each entry, fitted to rows of the data, put right what can be.
        """
        probes, n = self.rows.probes, self.rows.probes.n_real
        if not len(probes.keys) or not n or not self.sampler.averages:
            return w0, w, V
        scores = np.empty(len(probes.indptr) - 1, np.float32)
        of_columns = w[in_place].astype(np.float32)
        in_use()[1].predict_sparse(
            probes.indptr, probes.keys, probes.values, w0, of_columns, V[in_place], scores, False, 1
        )
        wanted = self._convergence.mean_latent[:n]
        if float(np.mean((wanted - scores[:n]) ** 2)) < _FAR_OFF**2:
            # rows of some columns lose alike: those of a table of thirty were .13 too high
            return w0 + float(np.mean(wanted - scores[:n])), w, V
        rows = np.repeat(np.arange(n), np.diff(probes.indptr[: n + 1]))
        x = probes.values[: len(rows)].astype(np.float64)
        linear = np.bincount(rows, x * w[in_place][probes.keys[: len(rows)]], n)
        parts = np.stack([linear, scores[:n] - w0 - linear, np.bincount(rows, x, n)], axis=1)
        middle = parts.mean(axis=0)
        sizes = _least_squares(parts - middle, wanted - wanted.mean())
        if sizes[1] < 0:  # the pairs say the opposite of what they should
            sizes = np.insert(_least_squares((parts - middle)[:, ::2], wanted - wanted.mean()), 1, 0.0)
        w0 = float(wanted.mean() - middle @ sizes)
        return w0, sizes[0] * w + sizes[2], (math.sqrt(sizes[1]) * V).astype(np.float32)

    def _scale_of_probabilities(self, w0: float, w: Doubles, V: Floats) -> float:
        """The c that brings sigmoid(c z) nearest to the mean probability of probes, by Newton's method."""
        probes = self.rows.probes
        scores = np.empty(len(probes.indptr) - 1, np.float32)
        if not len(probes.keys):
            return 1.0
        in_use()[1].predict_sparse(
            probes.indptr, probes.keys, probes.values, w0, w.astype(np.float32), V, scores, False, 1
        )
        z, p, c = scores.astype(np.float64), self._convergence.mean_probability, 1.0
        for _ in range(50):
            q = 1 / (1 + np.exp(-np.clip(c * z, -500, 500)))
            curvature = float(np.mean(q * (1 - q) * z**2))
            step = float(np.mean((p - q) * z)) / curvature if curvature > 1e-12 else 0.0
            c = float(np.clip(c + np.clip(step, -c / 2, c), 0.05, 3.0))
            if abs(step) < 1e-6:
                break
        return c


def _least_squares(columns: Doubles, wanted: Doubles) -> Doubles:
    """The smallest solution, without the BLAS, whose threads decide bits."""
    norms = np.maximum(np.sqrt(np.einsum("ij,ij->j", columns, columns, optimize=False)), 1e-30)
    alike = columns / norms
    values, vectors = eigen(np.einsum("ij,ik->jk", alike, alike, optimize=False))
    inverse = np.where(values > 1e-9 * values.max(initial=0), 1 / np.maximum(values, 1e-30), 0)
    moments = np.einsum("ij,i->j", alike, wanted, optimize=False)
    found: Doubles = np.einsum("ij,j,kj,k->i", vectors, inverse, vectors, moments, optimize=False) / norms
    return found


def collect(
    batches: Iterable[Batch], feature_dim: int, feature_groups: str | list[int] = "auto", seed: int = 0
) -> Rows:
    """Keep all rows of batches, by feature.

    Parameters
    ----------
    batches : iterable of Batch
        Labelled, of `feature_dim` features.
    feature_dim : int
    feature_groups : str or list of int
        As the hyperparameter: "auto", "none", or the number of features in each group.
    seed : int
        It decides which rows are probes.

    Returns
    -------
    rows : Rows

    Raises
    ------
    DataError
        There is no row, or a batch is not as declared.
    """
    collector = Collector(feature_dim, feature_groups, seed)
    for batch in batches:
        collector.add(batch)
    return collector.rows()


def sample_model(
    rows: Rows,
    predictor_type: str,
    num_factors: int,
    n_sweeps: int | None = None,
    seed: int = 0,
    num_threads: int = 1,
    method: str = "gibbs",
) -> BayesSolver:
    """Make all sweeps.

    Parameters
    ----------
    rows : Rows
        What `collect` gave.
    predictor_type : {"regressor", "binary_classifier"}
    num_factors : int
    n_sweeps : int, optional
        By default as many as the chain needs.
    seed, num_threads : int
    method : {"gibbs", "variational"}

    Returns
    -------
    solver : BayesSolver
        With the model, its spread, and the convergence of the chain.
    """
    solver = BayesSolver(rows, predictor_type, num_factors, n_sweeps, seed, num_threads, method=method)
    while not solver.is_done:
        solver.sweep()
    return solver
