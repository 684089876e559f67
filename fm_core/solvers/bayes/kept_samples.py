"""A few of the samples, spread over the whole chain, of which the spread of scores is made (fm_core/spread.py).

`Keeper` keeps between half of `kept` samples and all of it, evenly spaced, however long the chain becomes: when it is
full, every second one goes, and only every second one comes from then on. Its arrays are what a checkpoint has of it,
and `spread_of` makes the `Spread` of them, of a chain that runs or of a checkpoint at its end.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fm_core.solvers.bayes.convergence import Convergence
from fm_core.solvers.bayes.held_out import Kept
from fm_core.solvers.bayes.rows import Rows
from fm_core.solvers.bayes.sampler import Units
from fm_core.spread import Chain, Spread

__all__ = ["Keeper", "spread_of"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Samples kept while the chain runs: of few features more.
_KEPT, _KEPT_OF_FEW, _FEW = 16, 32, 200_000

#: Samples that a spread has at most: see fm_core/spread.py.
_ENOUGH = 16

#: What is left of numbers of which nothing is: precisions have to be finite.
_SMALLEST = np.float32(1e-6)

_GOLDEN = (math.sqrt(5) - 1) / 2


class Keeper:
    """Keeps samples of a chain whose length is not known.

    Parameters
    ----------
    rows : Rows
    units : Units
        Of the labels.
    n_groups, num_factors : int
    kept : Kept
        How much of the model is kept.
    """

    def __init__(self, rows: Rows, units: Units, n_groups: int, num_factors: int, kept: Kept) -> None:
        n_columns = len(rows.features)
        self._kept = _KEPT_OF_FEW if n_columns <= _FEW else _KEPT
        width = num_factors + 1
        self._features, self._groups = rows.features, rows.groups
        self._units = np.array([units.mean, units.scale, *rows.typical, *np.ones(n_groups - rows.n_groups)], np.float64)
        self._share = np.array([kept.share, kept.constant, kept.error])
        self._numbers = np.zeros((self._kept, 2))  # w0 and alpha
        self._params = np.zeros((self._kept, n_columns, width), np.float16)  # untouched pages take no memory
        self._priors = np.zeros((self._kept, 2, n_groups, width), np.float32)
        self._n, self._every, self._seen = 0, 1, 0

    def restart(self) -> None:
        """Forget all samples."""
        self._n, self._every, self._seen = 0, 1, 0

    def add(self, w0: float, alpha: float, params: Floats, mean: Doubles, precision: Doubles) -> None:
        """Add a sample; only some are kept, evenly spaced.

        Parameters
        ----------
        w0 : float
            The bias.
        alpha : float
            The precision of the noise.
        params : ndarray of float32, shape (n_rows, k + 1)
            Rows ``[v | w]``.
        mean : ndarray of float64, shape (n_groups, k + 1)
            The means of the priors.
        precision : ndarray of float64, shape (n_groups, k + 1)
            The precisions of the priors.
        """
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        if self._n == self._kept:
            half = self._kept // 2
            for array in (self._numbers, self._params, self._priors):
                for i in range(half):
                    array[i] = array[2 * i]
            self._n, self._every = half, 2 * self._every
            if (self._seen - 1) % self._every:
                return
        self._numbers[self._n] = w0, alpha
        self._params[self._n] = np.clip(params, -6e4, 6e4)
        self._priors[self._n] = mean, precision
        self._n += 1

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs, and `spread_of`."""
        return {
            "kept_counts": np.array([self._n, self._every, self._seen], np.float64),
            "kept_features": self._features,
            "kept_groups": self._groups,
            "kept_units": self._units,
            "kept_share": self._share,
            "kept_numbers": self._numbers[: self._n],
            "kept_params": self._params[: self._n],
            "kept_priors": self._priors[: self._n],
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `arrays` returned, for the same rows.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.
        """
        self._n, self._every, self._seen = map(int, arrays["kept_counts"])
        for name, array in (("numbers", self._numbers), ("params", self._params), ("priors", self._priors)):
            array[: self._n] = arrays[f"kept_{name}"]


def spread_of(
    arrays: Mapping[str, NDArray[Any]], feature_dim: int, *, is_classifier: bool, is_chain: bool
) -> Spread | None:
    """Make a spread of kept samples, which are copied.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What `Keeper.arrays` gave; of a chain, also what `Convergence.arrays` gave.
    feature_dim : int
    is_classifier, is_chain : bool
        Whether the samples are those of a Gibbs chain, which has figures of convergence.

    Returns
    -------
    spread : Spread or None
        None: there are fewer than two samples.
    """
    n = len(arrays["kept_numbers"])
    if n < 2:
        return None
    taken = np.unique(np.linspace(0, n - 1, min(n, _ENOUGH)).round().astype(int))
    numbers, priors, units = arrays["kept_numbers"][taken], arrays["kept_priors"][taken], arrays["kept_units"]
    share, constant, error = arrays["kept_share"].tolist()
    w0, params, mean, precision = numbers[:, 0], arrays["kept_params"][taken], priors[:, 0], priors[:, 1]
    if share < 1:
        # as `shrinkage.shrunk` moves the model; what comes in the place of the rest is not known exactly either
        sizes = np.full(params.shape[2], math.sqrt(share), np.float32)
        sizes[-1] = share
        w0 = constant + share * (w0 - constant) + (1 - share) * error * _scattered(len(w0))
        params, mean = (params * sizes).astype(np.float16), mean * sizes
        precision = precision / np.maximum(sizes, _SMALLEST) ** 2
    return Spread(
        is_classifier=is_classifier, feature_dim=feature_dim, mean=float(units[0]), scale=float(units[1]),
        features=arrays["kept_features"], groups=arrays["kept_groups"], typical=units[2:],
        alpha=numbers[:, 1], w0=w0, params=params, prior_mean=mean, prior_precision=precision,
        chain=_chain(arrays, None if is_classifier else float(numbers[-1, 1])) if is_chain else None,
    )  # fmt: skip


def _scattered(n: int) -> Doubles:
    """As many numbers, at least two, of mean 0 and variance 1, spaced as normal ones are, in no order."""
    found = ndtri((np.argsort(np.arange(n) * _GOLDEN % 1) + 0.5) / n)
    scattered: Doubles = found / found.std(ddof=1)
    return scattered


def _chain(arrays: Mapping[str, NDArray[Any]], alpha: float | None) -> Chain:
    outlook = Convergence.of(arrays).outlook(alpha)
    if math.isnan(outlook.cost):
        return Chain(outlook.n_samples, None, None, None)
    return Chain(outlook.n_samples, outlook.effective, outlook.cost, outlook.is_enough)
