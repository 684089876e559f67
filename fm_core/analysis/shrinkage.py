"""How much of a model to keep, compared with a constant: the share that held-out rows support.

A model of few rows may score new rows worse than a constant, such as the mean of the labels or the share of ones. A
factorization machine can be shrunk towards a constant b without a change of form::

    b + s (score - b)   is that of   w0 <- b + s (w0 - b),   w <- s w,   V <- sqrt(s) V

Held-out rows choose s. Their gain over the constant has a mean and, because they are few, a standard error. If the gain
is significantly above 0 and no other s is significantly better, the model is kept unchanged. Otherwise s is the value
with the greatest mean gain minus its error, or 0 if no s gains.

For a classifier, half a row of each class is added, spread over all rows: a class that does not occur in the held-out
rows may still exist.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fm_core.links import Link
from fm_core.model import Model

__all__ = ["constant_score", "kept_share", "log_odds", "moved", "shrunk"]

Doubles = NDArray[np.float64]

#: The shares that are tried.
_SHARES = np.linspace(0, 1, 41)

#: Standard errors that make sure: these rows have also chosen the epoch, out of many.
_ERRORS = 1.5

#: Fewer rows say nothing.
_LEAST = 3


def constant_score(total: float, n: float, *, is_classifier: bool) -> float:
    """The best score of rows of which nothing is known: the labels' mean, or the logarithm of the odds of a one.

    Parameters
    ----------
    total, n : float
        The sum of the labels, and how many there are.
    is_classifier : bool
        Half a row of each class is added.

    Returns
    -------
    score : float
        The mean label of a regressor; the log odds of label 1 of a classifier.
    """
    if not is_classifier:
        return total / n if n else 0.0
    share = (total + 0.5) / (n + 1)
    return math.log(share / (1 - share))


def log_odds(probabilities: NDArray[np.floating]) -> Doubles:
    """Return the log odds of probabilities, clipped so that they are finite.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n,)
        From 0 to 1.

    Returns
    -------
    scores : ndarray of float64, shape (n,)
    """
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    found: Doubles = np.log(p / (1 - p))
    return found


def kept_share(
    scores: Doubles, labels: Doubles, constant: float | Doubles, *, is_classifier: bool, weights: Doubles | None = None
) -> float:
    """The share s, from 0 to 1.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        Of rows that were not learned from, before the logistic function.
    labels : ndarray of float64, shape (n,)
    constant : float or ndarray of float64, shape (n,)
        The score that knows nothing of a row.
    is_classifier : bool
    weights : ndarray of float64, shape (n,), optional

    Returns
    -------
    share : float
        From 0, the constant score, to 1, the scores as they are.
    """
    n = len(labels)
    if n < _LEAST:
        return 0.0
    counts = np.ones(n) if weights is None else weights
    counts = counts / counts.sum()
    about = scores - constant
    if not np.isfinite(about).all():
        return 0.0
    if is_classifier:
        labels = (labels + 0.5 / n) / (1 + 1 / n)
    size = 1.0 if is_classifier else max(float(np.abs(labels - constant).max()), float(np.abs(about).max()), 1e-300)

    def gains(share: float) -> Doubles:
        off = share * about
        if is_classifier:
            found: Doubles = np.logaddexp(0, constant) - np.logaddexp(0, constant + off) + labels * off
        else:
            found = (off / size) * (2 * (labels - constant) - off) / size
        return found

    def surely(gained: Doubles) -> float:
        # not the BLAS, whose threads decide bits
        mean = float(np.sum(counts * gained))
        return mean - _ERRORS * math.sqrt(float(np.sum((counts * (gained - mean)) ** 2)))

    whole = gains(1.0)
    lower = [surely(gains(share)) for share in _SHARES]
    best = int(np.argmax(lower))
    if surely(whole) > 0 and surely(gains(_SHARES[best]) - whole) <= 0:
        return 1.0
    return float(_SHARES[best])


def shrunk(model: Model, constant: float, share: float) -> Model:
    """Shrink a model's scores towards a constant.

    Parameters
    ----------
    model : Model
    constant : float
        A score, for a classifier before the logistic function.
    share : float
        From 0 (every score is the constant) to 1 (the model stays as it is).

    Returns
    -------
    shrunk : Model
        It gives ``constant + share (score - constant)``, before the logistic function.
    """
    if share == 1:
        return model
    params = np.empty((model.feature_dim, model.num_factors + 1), np.float32)
    np.multiply(model.V, np.float32(math.sqrt(share)), out=params[:, :-1])
    np.multiply(model.w, np.float32(share), out=params[:, -1])
    w0 = float(np.float32(constant + share * (model.w0 - constant)))
    return Model.of_params(model.predictor_type, w0, params, model.score_range)


def moved(scores: NDArray[np.float32], constant: float, share: float, link: Link) -> NDArray[np.float32]:
    """Compute what a model's scores become by `shrunk`.

    Parameters
    ----------
    scores : ndarray of float32, shape (n_rows,)
        Of the model; for a classifier, probabilities.
    constant, share : float
        As for `shrunk`.
    link : Link
        Of the model.

    Returns
    -------
    scores : ndarray of float32, shape (n_rows,)
    """
    if share == 1:
        return scores
    z = log_odds(scores) if link.is_classifier else scores.astype(np.float64)
    return link.score(constant + share * (z - constant)).astype(np.float32)
