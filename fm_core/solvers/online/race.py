"""Several learners with different priors, side by side on the first rows of a stream, until one remains.

Each row is scored before it is learned (progressive validation; A. Blum, A. Kalai, J. Langford, COLT 1999), so losses
are those of unseen rows. After 10,000 rows the half of the learners with the greater loss is dropped, then half of the
rest after twice as many rows, and so on (successive halving: K. Jamieson, A. Talwalkar, AISTATS 2016). Together they
process 200,000 rows more than a single learner would.

Only features that have occurred have parameters here, in the order of their first occurrence, so many learners of a
large model need little memory. Learners are distributed over threads and are independent of each other.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fm_core.solvers.online.calibration import loss
from fm_core.solvers.online.filtering import Filter, Prior
from fm_core.solvers.online.units import Rows, Units

__all__ = ["LEGS", "PRIORS", "Race"]

Floats = NDArray[np.float32]

#: The learners. What is best lies within a factor of three of the middle on every set tried.
PRIORS = tuple(Prior(linear, interactions) for interactions in (1.3, 0.33, 5.2) for linear in (1.1, 0.4, 2.8))

#: Rows after which learners are dropped, and how many are kept.
LEGS = ((10_000, 5), (20_000, 3), (40_000, 2), (80_000, 1))


class Race:
    """The learners that are left.

    Parameters
    ----------
    units : Units
    feature_dim, num_factors : int
    is_classifier : bool
    state : ndarray of float64, shape (4,)
        That of each learner before the first row.
    use_linear : bool
    num_threads : int
        Nothing depends on it.
    priors : iterable of Prior

    Attributes
    ----------
    ids : ndarray of int32, shape (n,)
        The features that have occurred, in that order.
    """

    def __init__(
        self, units: Units, feature_dim: int, num_factors: int, is_classifier: bool, state: NDArray[np.float64],
        use_linear: bool = True, num_threads: int = 1, priors: Iterable[Prior] = PRIORS,
    ) -> None:  # fmt: skip
        self._units = units
        self._k = num_factors
        self._is_classifier = is_classifier
        self._num_threads = num_threads
        self._numbers = np.full(feature_dim, -1, np.int32)
        self._ids: list[NDArray[np.int32]] = []
        self._n = self._n_rows = 0
        self._labels: list[Floats] = []
        self._weights: list[Floats] = []
        self._is_weighted = False
        width = num_factors + 1
        self._learners = [
            Filter(
                prior, units, np.zeros((1024, width), np.float32), np.zeros((1024, width), np.float32),
                state.copy(), is_classifier, use_linear,
            )
            for prior in priors
        ]  # fmt: skip
        self._scores: list[list[Floats]] = [[] for _ in self._learners]

    @property
    def is_over(self) -> bool:
        """Whether one learner is left."""
        return len(self._learners) == 1

    @property
    def ids(self) -> NDArray[np.int32]:
        """The features that have occurred, by their number here."""
        return np.concatenate([np.empty(0, np.int32), *self._ids])

    @property
    def leader(self) -> Filter:
        """The learner with the least loss since the last were dropped; before any row, the first."""
        if not self._labels:
            return self._learners[0]
        losses = self._losses()
        return self._learners[losses.index(min(losses))]

    def learn(
        self, rows: Rows, labels: Floats, first: Floats, start: Floats | None = None, weights: Floats | None = None
    ) -> tuple[Floats, str | None]:
        """Let all learn from some rows.

        Parameters
        ----------
        rows : Rows
            In units.
        labels : ndarray of float32, shape (n_rows,)
            In units.
        first : ndarray of float32, shape (feature_dim, num_factors + 1)
            Standard normal factors that each learner begins with, times a number of its own.
        start : ndarray of float32, as `first`, or None
            What is added to them.
        weights : ndarray of float32, shape (n_rows,), or None

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
            Of the learner that led when the last were dropped.
        said : str or None
            Where learners were dropped, how it went.
        """
        indptr, keys, values = rows
        self._admit(keys, first, start)
        here = (indptr, self._numbers[keys], values)
        with ThreadPoolExecutor(max(1, min(self._num_threads, len(self._learners)))) as pool:
            found = list(pool.map(lambda learner: learner.learn(here, labels, weights), self._learners))
        self._n_rows += len(labels)
        self._labels.append(labels.copy())
        self._weights.append(np.ones(len(labels), np.float32) if weights is None else weights.copy())
        self._is_weighted |= weights is not None
        for scores, new in zip(self._scores, found, strict=True):
            scores.append(new)
        return found[0], self._drop()

    def _admit(self, keys: NDArray[np.int32], first: Floats, start: Floats | None) -> None:
        """Give features that occur for the first time their numbers, and each learner's first parameters."""
        new = np.unique(keys[self._numbers[keys] < 0])
        if not len(new):
            return
        end = self._n + len(new)
        self._numbers[new] = np.arange(self._n, end, dtype=np.int32)
        self._ids.append(new)
        for learner in self._learners:
            if end > len(learner.params):
                learner.params, learner.information = _grown(learner.params, end), _grown(learner.information, end)
            sigma = np.float32(Filter.sigma(learner.prior, self._units, self._k))
            learner.params[self._n : end] = sigma * first[new]
            if start is not None:
                learner.params[self._n : end] += start[new]
        self._n = end

    def _losses(self) -> list[float]:
        labels = np.concatenate(self._labels)
        weights = np.concatenate(self._weights) if self._is_weighted else None
        return [loss(np.concatenate(scores), labels, self._is_classifier, weights) for scores in self._scores]

    def _drop(self) -> str | None:
        """Drop learners, where enough rows have been seen."""
        n_left = min((n for rows, n in LEGS if self._n_rows >= rows), default=len(self._learners))
        if n_left >= len(self._learners):
            return None
        losses = self._losses()
        order = sorted(range(len(losses)), key=losses.__getitem__)
        kept, gone = order[:n_left], order[n_left:]
        best, least, most = losses[kept[0]], losses[gone[0]], losses[gone[-1]]
        said = (
            f"after {self._n_rows} rows {n_left} of {len(losses)} priors remain; on new rows the best had loss "
            f"{best:.4g} ({self._learners[kept[0]].prior}), the dropped ones {least:.4g} to {most:.4g}"
        )
        self._learners = [self._learners[i] for i in kept]
        self._scores, self._labels, self._weights = [[] for _ in kept], [], []
        return said


def _grown(array: Floats, n: int) -> Floats:
    """The array with room for more rows, which are zeros."""
    found = np.zeros((max(n, 2 * len(array)), array.shape[1]), np.float32)
    found[: len(array)] = array
    return found
