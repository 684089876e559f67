"""The parameters of a user or item that was not in training, from a few known labels.

With everything else fixed, the score of a row that also has the new feature u, with value 1, is linear in u's
parameters: ``own + w_u + <v_u, s>``, where `own` is the score of the row without u, and s its factor sums. Given labels
of some rows, w_u and v_u are the most probable ones under a normal prior. The prior has the mean and covariance of the
population: the features of the same kind as u. For a regressor this is a ridge regression with num_factors + 1
unknowns; for a classifier a logistic regression, solved by Newton's method.

The model does not contain the variance of a regressor's labels around their scores. It is chosen from a list of values,
as the one under which the given labels are most probable (D. MacKay, "Bayesian interpolation", Neural Computation 4,
1992). Its log-normal prior has its centre at `USUAL` times the variance that the population explains; with few labels,
the prior decides. Both constants were chosen on held-out users of MovieLens 100K (docs/tutorials/recommender.md).
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from fm_core.analysis.inspection import blocks
from fm_core.errors import DataError
from fm_core.given import refuse_masked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.analysis.ranking import Contexts
    from fm_core.model import Model

__all__ = ["RIDGE", "SPREAD", "TRIED", "USUAL", "Folded", "Population", "fold_in"]

#: The labels' variance about their scores, as a multiple of what the population explains: where it is expected, how far
#: from there it may be (the standard deviation of its logarithm), and the values that are tried.
USUAL, SPREAD = 4.0, 0.5
TRIED = np.exp(np.linspace(-2.5, 2.5, 21))
_PRIOR = -0.5 * (np.log(TRIED) / SPREAD) ** 2

#: Of the mean variance, added to each: a population smaller than num_factors has directions in which it does not vary.
RIDGE = 1e-3

_NEWTON_STEPS = 20

_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, slots=True)
class Folded:
    """The parameters of a feature that the model does not have.

    Attributes
    ----------
    w : float
    v : ndarray of float64, shape (num_factors,)
    """

    w: float
    v: "NDArray[np.float64]"


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """How the parameters ``[w | v]`` of some features are distributed.

    Attributes
    ----------
    mean : ndarray of float64, shape (num_factors + 1,)
    root : ndarray of float64, shape (num_factors + 1, num_factors + 1)
        A matrix L with ``L L'`` the covariance.
    """

    mean: "NDArray[np.float64]"
    root: "NDArray[np.float64]"

    @classmethod
    def of(cls, model: "Model", features: range) -> "Population":
        """Look at the features once.

        Parameters
        ----------
        model : Model
        features : range
            Of step 1, not empty: those of one column, mostly.

        Returns
        -------
        population : Population
            The mean and the covariance of the parameters of these features.
        """
        k = model.num_factors
        total, squares, n = np.zeros(k + 1), np.zeros((k + 1, k + 1)), len(features)
        centre = np.append(model.w[features.start], model.V[features.start]).astype(np.float64)
        for rows in blocks(model):
            start, stop = max(rows.start, features.start), min(rows.stop, features.stop)
            if start < stop:
                part = np.column_stack([model.w[start:stop], model.V[start:stop]]).astype(np.float64) - centre
                total += part.sum(axis=0)
                squares += part.T @ part
        mean = total / n
        covariance = squares / n - np.outer(mean, mean)
        covariance[np.diag_indices(k + 1)] += max(RIDGE * float(np.trace(covariance)) / (k + 1), 1e-12)
        values, vectors = np.linalg.eigh(covariance)
        return cls(centre + mean, vectors * np.sqrt(np.maximum(values, 0)))


def fold_in(
    population: Population, contexts: "Contexts", labels: "NDArray[np.float64]", *, is_classifier: bool
) -> Folded:
    """Find the parameters of a new feature.

    Parameters
    ----------
    population : Population
    contexts : Contexts
        The rows without the new feature.
    labels : ndarray of float64, shape (n_rows,)
    is_classifier : bool

    Returns
    -------
    folded : Folded
        Without rows, the population's mean.

    Raises
    ------
    DataError
        A label is no finite float32, or a classifier's is neither 0 nor 1; or values are too large to solve for.
    """
    refuse_masked("the labels", labels)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf" or labels.shape != (len(contexts),):
        raise DataError(
            f"labels are {labels.dtype} of shape {labels.shape}, expected numbers, one for each of {len(contexts)} rows"
        )
    wrong = ~(np.abs(labels) <= _LARGEST) if not is_classifier else (labels != 0) & (labels != 1)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"label {at} is {labels[at]:g}, expected {'0 or 1' if is_classifier else 'a finite number of float32'}"
        )
    parameters = population.mean
    if len(contexts):
        rows = np.column_stack([np.ones(len(contexts)), contexts.sums])
        offset = contexts.own + rows @ population.mean
        solve = _logistic if is_classifier else _ridge
        with np.errstate(over="ignore", invalid="ignore"):
            parameters = population.mean + population.root @ solve(rows @ population.root, offset, labels)
        if not np.isfinite(parameters).all():
            raise DataError("the rows' values are too large to fit the parameters of a new feature")
    return Folded(float(parameters[0]), parameters[1:])


def _ridge(
    rows: "NDArray[np.float64]", offset: "NDArray[np.float64]", labels: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """Most probable a of ``labels ~ N(offset + rows a, s)``, a ~ N(0, 1), for the most probable s that is tried."""
    signal, directions = np.linalg.eigh(rows.T @ rows)
    signal = np.maximum(signal, 0)
    error = labels - offset
    along = directions.T @ (rows.T @ error)
    explained = max(float(signal.sum()) / len(rows), 1e-12)
    noise = explained * USUAL * TRIED[:, np.newaxis]
    variance = signal + noise
    # Of the n labels' covariance, rows rows' + s, by the matrix inversion and determinant lemmas.
    squares = (error @ error - (along * along / variance).sum(axis=1)) / noise[:, 0]
    determinant = np.log(variance).sum(axis=1) + (len(rows) - len(signal)) * np.log(noise[:, 0])
    best = int(np.argmax(_PRIOR - 0.5 * (squares + determinant)))
    solution: NDArray[np.float64] = directions @ (along / variance[best])
    return solution


def _logistic(
    rows: "NDArray[np.float64]", offset: "NDArray[np.float64]", labels: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """Most probable a of ``labels ~ Bernoulli(sigmoid(offset + rows a))``, a ~ N(0, 1)."""
    a = np.zeros(rows.shape[1])
    before = _logistic_loss(a, rows, offset, labels)
    for _ in range(_NEWTON_STEPS):
        p = 0.5 + 0.5 * np.tanh(0.5 * (offset + rows @ a))
        gradient = rows.T @ (p - labels) + a
        curvature = (rows.T * (p * (1 - p))) @ rows
        curvature[np.diag_indices(len(a))] += 1
        step = np.linalg.solve(curvature, gradient)
        decrease = float(gradient @ step)
        if decrease < 1e-12:
            break
        scale = 1.0
        while scale > 1e-6:  # halved where a whole step overshoots
            after = _logistic_loss(a - scale * step, rows, offset, labels)
            if after <= before:
                break
            scale /= 2
        a, before = a - scale * step, after
    return a


def _logistic_loss(
    a: "NDArray[np.float64]", rows: "NDArray[np.float64]", offset: "NDArray[np.float64]", labels: "NDArray[np.float64]"
) -> float:
    z = offset + rows @ a
    return float(np.logaddexp(0, z).sum() - labels @ z + 0.5 * (a @ a))
