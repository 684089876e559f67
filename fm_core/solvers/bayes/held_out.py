"""What chains that did not learn from some rows make of these: whether a classifier's samples are too sure.

A regressor's noise is drawn from the data: where columns say nothing, all is noise. A classifier has none: any labels
of few rows can be explained by large parameters as well as by none, and the mean of the samples then says much of rows
it has not seen, and wrongly (cross entropy .85 where the share of ones has .70, of rows from which nothing could be
learned). So before the first sweep rows are put in four parts, each part is scored by a short chain that learns from
the other three, and `shrinkage.kept_share` says how much of the model these scores bear out.

This is done where it may matter, there being few rows of one of the classes for each column, and where it takes but
seconds. The chains walk the same arrays, with rows of next to no weight: what is held in memory at once grows by
nothing.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.shrinkage import constant_score, kept_share, log_odds
from fm_core.links import link_for
from fm_core.solvers.bayes.randomness import FOLDS, generator
from fm_core.solvers.bayes.rows import Rows

__all__ = ["Kept", "kept_of"]

#: Rows of the rarer class for each column, beyond which samples are not too sure.
_MANY = 10

#: Parts, sweeps of a chain and those of them that do not count, and entries walked in all: some seconds.
_PARTS, _SWEEPS, _BURN_IN, _WALKED = 4, 64, 24, 200_000_000

#: Entries that take as long to walk over as a feature takes to be drawn (measured with 8 factors: 20 to 30).
_OF_A_FEATURE = 20

#: Of a row that a chain does not learn from: the kernels know no 0.
_WEIGHT = np.float32(1e-6)


class Kept(NamedTuple):
    """How much of a model is kept.

    Attributes
    ----------
    share : float
        From 0 to 1.
    constant : float
        The score, before the logistic function, towards which the rest goes.
    why : str
        A sentence for whoever follows the training; empty where all is kept.
    error : float
        Standard deviation of the constant: how little is known of it.
    """

    share: float = 1.0
    constant: float = 0.0
    why: str = ""
    error: float = 0.0


class Chain(Protocol):
    """What is asked of a chain: see `sampler.Sampler`."""

    @property
    def is_settled(self) -> bool:
        """Whether further sweeps change nothing."""

    def sweep(self, is_counted: bool) -> None:
        """Make a sweep."""

    def mean_scores(self) -> NDArray[np.float32]:
        """Each row's probability."""


def _error(constant: float, n: float) -> float:
    """How far the logarithm of the odds of a share may be off, so that the share itself has its standard deviation.

    That of a Beta distribution; of few rows a rare share is e^z rather than linear in z, as a log-normal number is.
    """
    p = float(link_for("binary_classifier").score(np.array([constant]))[0])
    relative = 1 / math.sqrt((n + 2) * p * (1 - p))
    return math.sqrt(math.log((1 + math.sqrt(1 + 4 * relative**2)) / 2))


def kept_of(rows: Rows, make: Callable[[Rows, int], Chain], seed: int) -> Kept:
    """Determine how much of a classifier to keep.

    Parameters
    ----------
    rows : Rows
    make : callable
        ``make(rows, seed)`` begins a chain.
    seed : int

    Returns
    -------
    kept : Kept
    """
    labels = rows.labels.astype(np.float64)
    weights = np.ones(rows.n_rows) if rows.weights is None else rows.weights.astype(np.float64)
    n, ones = float(weights.sum()), float(np.sum(weights * labels))
    constant = constant_score(ones, n, is_classifier=True)
    error = _error(constant, n)
    n_ones = int(np.count_nonzero(labels))
    rarer = min(n_ones, rows.n_rows - n_ones)
    if not rarer:
        why = f"All labels are {labels[0]:g}: the model gives every row the same probability."
        return Kept(0.0, constant, why, error)
    walked = len(rows.rows) + _OF_A_FEATURE * len(rows.features)
    n_parts = min(_PARTS, rows.n_rows, _WALKED // (_SWEEPS * max(1, walked)))
    if rarer >= _MANY * len(rows.features) or not n_parts:
        return Kept()
    part = np.empty(rows.n_rows, np.int64)  # of each class as many in every part
    part[np.lexsort([generator(seed, FOLDS).random(rows.n_rows), labels])] = np.arange(rows.n_rows) % _PARTS
    scores, constants = np.zeros((2, rows.n_rows))
    for i in range(n_parts):
        is_out = part == i
        chain = make(dataclasses.replace(rows, weights=np.where(is_out, _WEIGHT, weights).astype(np.float32)), i)
        for sweep in range(_SWEEPS):
            chain.sweep(sweep >= _BURN_IN)
            if chain.is_settled:
                break
        scores[is_out] = log_odds(chain.mean_scores()[is_out])
        learned = weights * ~is_out
        constants[is_out] = constant_score(float(np.sum(learned * labels)), float(learned.sum()), is_classifier=True)
    out = part < n_parts
    share = kept_share(scores[out], labels[out], constants[out], is_classifier=True, weights=weights[out])
    if share == 1:
        return Kept()
    what = f"{share:.0%} of what the model says" if share else "nothing of what the model would say"
    return Kept(
        share,
        constant,
        f"Chains that left rows out were too sure of these: {what} beside the share of ones is kept.",
        error,
    )
