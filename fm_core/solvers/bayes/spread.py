"""What the standard deviation of a score needs: a few of the samples, spread over the whole chain.

`Keeper` keeps between half of `kept` samples and all of it, evenly spaced, however long the chain becomes: when it is
full, every second one goes, and only every second one comes from then on. `Spread` scores rows with each of them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.kernels import in_use
from fm_core.solvers.bayes.groups import spread_to_unseen

__all__ = ["Keeper", "Spread"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Samples kept: of few features more, since 16 of them say a standard deviation to a sixth only.
_KEPT, _KEPT_OF_FEW, _FEW = 16, 32, 200_000

_ROWS_AT_ONCE = 65536


@dataclasses.dataclass(frozen=True)
class Spread:
    """A few samples of a model's parameters.

    Attributes
    ----------
    is_classifier : bool
    feature_dim : int
    mean, scale : float
        A score in the labels' units is ``mean + scale z``.
    features : ndarray of int32, shape (n,)
        Those that occurred in training, rising.
    groups : ndarray of int32, shape (n,)
    typical : ndarray of float64, shape (n_groups,)
        What values are divided by.
    alpha, w0 : ndarray of float64, shape (n_samples,)
    params : ndarray of float16, shape (n_samples, n, num_factors + 1)
        Rows ``[v | w]``.
    prior_mean, prior_precision : ndarray of float32, shape (n_samples, n_groups, num_factors + 1)
        What is known of features that did not occur.
    """

    is_classifier: bool
    feature_dim: int
    mean: float
    scale: float
    features: NDArray[np.int32]
    groups: NDArray[np.int32]
    typical: Doubles
    alpha: Doubles
    w0: Doubles
    params: NDArray[np.float16]
    prior_mean: Floats
    prior_precision: Floats

    def std(self, batch: Batch, num_threads: int = 1) -> Floats:
        """Standard deviation of each row's score: of a regressor's label, its noise included; of a probability.

        Parameters
        ----------
        batch : Batch
        num_threads : int

        Returns
        -------
        std : ndarray of float32, shape (n_rows,)
        """
        indptr, keys, values, is_new = self._columns(batch)
        n_samples, n_rows = len(self.w0), batch.n_rows
        z, of_new = np.empty((n_samples, n_rows), np.float32), np.zeros((n_samples, n_rows))
        for s in range(n_samples):
            vectors = np.concatenate([self.params[s].astype(np.float32), self.prior_mean[s]])
            if len(keys):
                V, w = vectors[:, :-1], vectors[:, -1]
                in_use()[1].predict_sparse(indptr, keys, values, self.w0[s], w, V, z[s], False, num_threads)
            else:
                z[s] = self.w0[s]
            if is_new.any():
                of_new[s] = self._variance_of_new(indptr, keys, values, is_new, vectors, s)
        exact = z.astype(np.float64)
        if self.is_classifier:
            # a score of variance s is sigmoid(z / sqrt(1 + pi s / 8)) on average (D. MacKay, 1992)
            p = 1 / (1 + np.exp(-np.clip(exact / np.sqrt(1 + np.pi / 8 * of_new), -500, 500)))
            variance = p.var(axis=0, ddof=1) + np.mean((p * (1 - p)) ** 2 * of_new, axis=0)
            return _narrowed(np.sqrt(variance))
        variance = exact.var(axis=0, ddof=1) + of_new.mean(axis=0) + np.mean(1 / self.alpha)
        return _narrowed(np.sqrt(variance) * self.scale)

    def _columns(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int32], Floats, NDArray[np.bool_]]:
        """Rows by the columns of the samples, those of groups behind them; and which entries are new."""
        if batch.indptr is None or batch.indices is None:
            n_rows, width = batch.values.shape
            indptr = np.arange(0, n_rows * width + 1, width, dtype=np.int64)
            keys, values = np.tile(np.arange(width, dtype=np.int32), n_rows), batch.values.ravel()
        else:
            indptr, keys, values = batch.indptr, batch.indices, batch.values
        if not len(self.features):
            return np.zeros_like(indptr), keys[:0], values[:0], np.zeros(0, bool)
        at = np.minimum(np.searchsorted(self.features, keys), len(self.features) - 1)
        is_new = self.features[at] != keys
        groups = self.groups[at]
        groups[is_new] = spread_to_unseen(self.features, self.groups, keys[is_new])
        columns = np.where(is_new, len(self.features) + groups, at).astype(np.int32)
        return indptr, columns, (values / self.typical[groups]).astype(np.float32), is_new

    def _variance_of_new(
        self, indptr: NDArray[np.int64], keys: NDArray[np.int32], values: Floats, is_new: NDArray[np.bool_],
        vectors: Floats, sample: int,
    ) -> Doubles:  # fmt: skip
        """What features that never occurred add to the variance of each row's score, given a sample of the others."""
        x = values.astype(np.float64)
        factors = vectors[keys, :-1] * x[:, np.newaxis]
        rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        sums = np.zeros((len(indptr) - 1, factors.shape[1]))
        np.add.at(sums, rows, factors)
        of = np.flatnonzero(is_new)
        precision = self.prior_precision[sample][keys[of] - len(self.features)].astype(np.float64)
        h = sums[rows[of]] - factors[of]
        variance = x[of] ** 2 * (np.sum(h**2 / precision[:, :-1], axis=1) + 1 / precision[:, -1])
        found = np.zeros(len(indptr) - 1)
        np.add.at(found, rows[of], variance)
        # two that are both new: the product of their deviations
        own = np.zeros((len(indptr) - 1, factors.shape[1], 2))
        squares = x[of, np.newaxis] ** 2 / precision[:, :-1]
        np.add.at(own[:, :, 0], rows[of], squares)
        np.add.at(own[:, :, 1], rows[of], squares**2)
        pairs: Doubles = found + (own[:, :, 0] ** 2 - own[:, :, 1]).sum(axis=1) / 2
        return pairs


def _narrowed(numbers: Doubles) -> Floats:
    found: Floats = numbers.astype(np.float32)
    return found


class Keeper:
    """Keeps samples of a chain whose length is not known.

    Parameters
    ----------
    n_columns, n_groups, num_factors : int
    """

    def __init__(self, n_columns: int, n_groups: int, num_factors: int) -> None:
        self._kept = _KEPT_OF_FEW if n_columns <= _FEW else _KEPT
        width = num_factors + 1
        self._numbers = np.zeros((self._kept, 2))  # w0 and alpha
        self._params = np.zeros((self._kept, n_columns, width), np.float16)  # untouched pages take no memory
        self._priors = np.zeros((self._kept, 2, n_groups, width), np.float32)
        self._n, self._every, self._seen = 0, 1, 0

    def restart(self) -> None:
        """Forget all samples."""
        self._n, self._every, self._seen = 0, 1, 0

    def add(self, w0: float, alpha: float, params: Floats, mean: Doubles, precision: Doubles) -> None:
        """See one more sample."""
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

    def spread(self, **facts: Any) -> Spread | None:
        """The samples with what is known of the data; None while there are fewer than two."""
        if self._n < 2:
            return None
        return Spread(
            w0=self._numbers[: self._n, 0], alpha=self._numbers[: self._n, 1], params=self._params[: self._n],
            prior_mean=self._priors[: self._n, 0], prior_precision=self._priors[: self._n, 1], **facts,
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs."""
        return {
            "kept_counts": np.array([self._n, self._every, self._seen], np.float64),
            "kept_numbers": self._numbers[: self._n],
            "kept_params": self._params[: self._n],
            "kept_priors": self._priors[: self._n],
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` gave."""
        self._n, self._every, self._seen = map(int, arrays["kept_counts"])
        for name, array in (("numbers", self._numbers), ("params", self._params), ("priors", self._priors)):
            array[: self._n] = arrays[f"kept_{name}"]
