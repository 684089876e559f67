"""One context against many candidates: exact scores, the context's share computed once.

A pair's row is the context's features and the candidate's added up. Its score needs, for
each factor f, s_f = sum_i v_if x_i, and those sums split into the context's and the
candidate's part; so does everything else of the equation but the square of a feature that
stands in both, which gets its missing 2 x_context x_candidate back. A candidate thus costs
what its own non-zeros cost, and the result is that of scoring every pair in full.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.model import Model

__all__ = ["Ranked", "rank"]

#: Candidates whose factors are gathered at once, so that 100,000 of them take no more memory than these.
_BLOCK = 2048


@dataclasses.dataclass(frozen=True, slots=True)
class Ranked:
    """The best candidates of one context.

    Attributes
    ----------
    indices : ndarray of int64, shape (n,)
        Positions among the candidates, best first; of equal ones the first comes first.
    scores : ndarray of float32, shape (n,)
        As `Model.predict` gives them.
    """

    indices: "NDArray[np.int64]"
    scores: "NDArray[np.float32]"


def rank(model: "Model", context: Batch, candidates: Batch, top_k: int | None = None) -> Ranked:
    """Rank candidates by the score of each together with the context.

    Parameters
    ----------
    model : Model
    context : Batch
        Sparse, of one row.
    candidates : Batch
        Sparse.
    top_k : int, optional
        How many are wanted; all of them if not given.

    Returns
    -------
    ranked : Ranked

    Raises
    ------
    DataError
        Context and candidates are not sparse, or not of the model's width.
    """
    for name, batch in (("context", context), ("candidates", candidates)):
        if batch.is_dense or batch.feature_dim != model.feature_dim:
            raise DataError(
                f"the {name} have {'dense' if batch.is_dense else 'sparse'} rows of feature_dim={batch.feature_dim}, "
                f"expected sparse rows of feature_dim={model.feature_dim}"
            )
    z = _pair_scores(model, context, candidates)
    order = _best(z, len(z) if top_k is None else min(top_k, len(z)))
    scores = z[order]
    if model.is_classifier:
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-scores))
    return Ranked(order, scores.astype(np.float32))


def _pair_scores(model: "Model", context: Batch, candidates: Batch) -> "NDArray[np.float64]":
    assert context.indices is not None
    assert candidates.indptr is not None
    assert candidates.indices is not None
    x = context.values.astype(np.float64)
    V = model.V[context.indices].astype(np.float64)
    s = x @ V
    linear = model.w0 + x @ model.w[context.indices].astype(np.float64)
    squares = (x * x) @ (V * V).sum(axis=1)

    z = np.empty(candidates.n_rows)
    for start, stop in _blocks(candidates.n_rows):
        indptr = candidates.indptr[start : stop + 1]
        entries = slice(indptr[0], indptr[-1])
        keys, values = candidates.indices[entries], candidates.values[entries].astype(np.float64)
        V_x = model.V[keys] * values[:, np.newaxis]
        own_squares = (V_x * V_x).sum(axis=1)
        both = np.searchsorted(context.indices, keys)
        both[both == len(context.indices)] = 0
        shared = context.indices[both] == keys if len(context.indices) else np.zeros(len(keys), bool)
        # (a + b)^2 = a^2 + b^2 + 2 a b, for a feature that stands on both sides.
        own_squares[shared] += 2 * x[both[shared]] * values[shared] * (model.V[keys[shared]] ** 2).sum(axis=1)
        sums = s + _row_sums(V_x, indptr)
        pairs = (sums * sums).sum(axis=1) - squares - _row_sums(own_squares, indptr)
        z[start:stop] = linear + _row_sums(values * model.w[keys], indptr) + 0.5 * pairs
    return z


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, _BLOCK):
        yield start, min(start + _BLOCK, n)


def _row_sums(entries: "NDArray[np.float64]", indptr: "NDArray[np.int64]") -> "NDArray[np.float64]":
    """Add up the entries of each row; reduceat alone would give an empty row its neighbour's first."""
    sums = np.zeros((len(indptr) - 1, *entries.shape[1:]))
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(entries, indptr[filled] - indptr[0], axis=0)
    return sums


def _best(z: "NDArray[np.float64]", n: int) -> "NDArray[np.int64]":
    if n == 0:
        return np.empty(0, np.int64)
    if n < len(z):
        # All that reach the n-th best score, in their own order, so that ties do not fall by chance.
        threshold = np.partition(z, len(z) - n)[len(z) - n]
        kept = np.flatnonzero(z >= threshold)
    else:
        kept = np.arange(len(z))
    return kept[np.argsort(-z[kept], kind="stable")[:n]]
