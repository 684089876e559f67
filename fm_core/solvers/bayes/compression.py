"""The mean of all samples as one factorization machine of bounded rank, kept while they are drawn.

The mean over samples of the interaction <v_i, v_j> is exactly the interaction of one model of rank S k,
``V = [V_1 .. V_S] / sqrt(S)``. Of that, `RunningMean` keeps the best dimensions: new samples stand beside what is kept,
and when there are enough of them an eigen-decomposition of the few columns' Gram matrix brings all back to the same
rank. Rows are weighted by how often their feature occurs: what counts is the error of scores.

Features that never meet have no interaction, and a feature does not meet itself: where the data has fields (each row
has about one feature of each), what V V' is within a field is free. `RunningMean.model` uses that: it starts from the
best dimensions of all, and fits the features of one field after the other to those of the others, by least squares.
On a9a that halves the error of 16 dimensions and is worth a third of those of 8.

Bounded memory: ``rank + 16 + 2 num_factors`` columns of float32 a feature. The same bits for any number of threads:
products of tall matrices are kernels of ours, those of small ones keep away from the BLAS, whose threads decide bits.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.kernels._eigen import eigen
from fm_core.solvers.bayes.sampler import aligned

__all__ = ["RunningMean"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Samples that stand beside what is kept before all are brought together: a compromise of memory and time.
_POOLED = 2

#: Dimensions kept beyond those that the model will have: `fields` need them, and 8 more gain little.
_SPARE = 16

#: Rounds over the fields, and the share of the present solution that is kept in directions that the others lack.
_ROUNDS, _RIDGE = 4, 1e-5


class RunningMean:
    """The mean of the samples so far.

    Parameters
    ----------
    weights : ndarray of float32, shape (n_rows,)
        How often each feature occurs, in the order in which samples will be given.
    num_factors : int
        Of a sample.
    rank : int
        Of the model that will be asked for.
    fields : ndarray of int64, shape (n_fields + 1,), or empty
        Rows ``fields[f]`` to ``fields[f + 1]`` are features that never meet; rows behind the last are of none.
    kernels : module
        A build of the Bayesian kernels.
    num_threads : int

    Attributes
    ----------
    n_samples : int
    """

    def __init__(
        self, weights: Floats, num_factors: int, rank: int, fields: NDArray[np.int64], kernels: Any, num_threads: int
    ) -> None:
        self._k = num_factors
        self._rank = rank + _SPARE
        self._weights = (weights / max(1.0, float(weights.max(initial=0)))).astype(np.float32)
        self._fields = [*fields.tolist(), len(weights)] if len(fields) else []
        self._kernels = kernels
        self._num_threads = num_threads
        self._matrix = aligned(len(weights), self._rank + _POOLED * num_factors)
        self._w = np.zeros(len(weights))
        self._w0 = 0.0
        self.n_samples = 0
        self._n_pooled = 0

    def restart(self) -> None:
        """Forget all samples."""
        self._matrix[:] = 0
        self._w[:] = 0
        self._w0, self.n_samples, self._n_pooled = 0.0, 0, 0

    def add(self, w0: float, params: Floats) -> None:
        """Add a sample.

        Parameters
        ----------
        w0 : float
            The bias.
        params : ndarray of float32, shape (n_rows, k + 1)
            Rows ``[v | w]``.
        """
        if self._n_pooled == _POOLED:
            self._shrink()
        at = self._rank + self._n_pooled * self._k
        self._matrix[:, at : at + self._k] = params[:, : self._k]
        self._w += params[:, self._k]
        self._w0 += w0
        self.n_samples += 1
        self._n_pooled += 1

    def model(self, rank: int) -> tuple[float, Doubles, Floats]:
        """Return the mean of the samples so far.

        Parameters
        ----------
        rank : int
            The number of factors to return.

        Returns
        -------
        w0 : float
        w : ndarray of float64, shape (n_rows,)
        V : ndarray of float32, shape (n_rows, rank)
        """
        n = max(1, self.n_samples)
        found = min(rank, self._width)
        both = aligned(len(self._matrix), found + self._width)  # the model beside what it approximates
        both[:, found : found + self._width] = self._matrix[:, : self._width]
        self._multiply(self._matrix, self._width, self._best(found), both, found)
        if self._fields:
            self._fit_fields(both, found)
        V = np.zeros((len(both), rank), np.float32)
        V[:, :found] = both[:, :found] / np.float32(np.sqrt(n))
        return self._w0 / n, self._w / n, V

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs."""
        counts = np.array([self._w0, self.n_samples, self._n_pooled])
        return {"mean_counts": counts, "mean_w": self._w, "mean_factors": self._matrix}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.
        """
        self._w0, self.n_samples, self._n_pooled = float(arrays["mean_counts"][0]), *map(int, arrays["mean_counts"][1:])
        self._w, self._matrix = arrays["mean_w"], arrays["mean_factors"]

    @property
    def _width(self) -> int:
        return self._rank + self._n_pooled * self._k

    def _shrink(self) -> None:
        self._multiply(self._matrix, self._width, self._best(self._rank), self._matrix, self._rank)
        self._n_pooled = 0

    def _best(self, rank: int) -> Doubles:
        """What the columns are multiplied with to keep `rank` dimensions."""
        vectors: Doubles = eigen(self._kernels.gram(self._matrix, self._width, self._weights, self._num_threads))[1]
        return vectors[:, :rank]

    def _multiply(self, matrix: Floats, width: int, by: Doubles, out: Floats, out_width: int) -> None:
        padded = aligned(width, out_width)
        padded[:, :out_width] = by
        self._kernels.project(
            matrix, width, padded[np.newaxis], np.empty(0, np.int32), out, out_width, self._num_threads
        )

    def _fit_fields(self, both: Floats, rank: int) -> None:
        """Fit each field's rows of ``[V | A]`` so that V V' is A A' between fields."""
        width = rank + self._width
        parts = [slice(a, b) for a, b in itertools.pairwise(self._fields) if a < b]

        def products(part: slice) -> Doubles:
            found: Doubles = self._kernels.gram(both[part], width, self._weights[part], self._num_threads)[:rank]
            return found

        of_parts = [products(part) for part in parts]
        total = np.sum(of_parts, axis=0)
        for _ in range(_ROUNDS):
            for i, part in enumerate(parts):
                others = total - of_parts[i]
                values, vectors = eigen(others[:, :rank])
                ridge = _RIDGE * max(float(values.sum()), 1e-30)
                inverse = _times(vectors / (np.maximum(values, 0) + ridge), vectors.T)
                by = np.vstack([ridge * inverse, _times(others[:, rank:].T, inverse)])
                self._multiply(both[part], width, by, both[part], rank)
                of_parts[i] = products(part)
                total = others + of_parts[i]


def _times(a: Doubles, b: Doubles) -> Doubles:
    """The product of small matrices, without the BLAS."""
    product: Doubles = np.einsum("ij,jk->ik", a, b, optimize=False)
    return product
