"""One context against many candidates: exact scores, the context's share computed once.

A pair's row is the context's features and the candidate's added up. With s_f = sum_i v_if x_i
over a side's features, its score is the context's own score, plus the candidate's own pairs
and linear terms, plus sum_f s_f(context) s_f(candidate); that last sum also pairs a feature
that stands on both sides with itself, which is taken back. A candidate thus costs what its
own non-zeros cost, and the result is that of scoring every pair in full.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.kernels._ranking import candidate_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.model import Model

__all__ = ["Ranked", "rank"]


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
    return Ranked(order, model.link.score(z[order]).astype(np.float32))


def _pair_scores(model: "Model", context: Batch, candidates: Batch) -> "NDArray[np.float64]":
    assert context.indices is not None
    assert candidates.indices is not None
    x = context.values.astype(np.float64)
    V = model.V[context.indices].astype(np.float64)
    sums = x @ V
    own = model.w0 + x @ model.w[context.indices] + 0.5 * ((sums @ sums) - (x * x) @ (V * V).sum(axis=1))

    z = np.empty(candidates.n_rows)
    candidate_scores(
        candidates.indptr,
        candidates.indices,
        candidates.values,
        model.w,
        model.V,
        sums.astype(np.float32),
        np.empty(model.num_factors, np.float32),
        z,
    )
    z += own
    _take_back_shared(z, x, V, context.indices, candidates)
    return z


def _take_back_shared(
    z: "NDArray[np.float64]",
    x: "NDArray[np.float64]",
    V: "NDArray[np.float64]",
    keys: "NDArray[np.int32]",
    candidates: Batch,
) -> None:
    """Take the products of a feature with itself back, where it stands on both sides."""
    assert candidates.indptr is not None
    assert candidates.indices is not None
    if not len(keys) or not len(candidates.indices):
        return
    place = np.minimum(np.searchsorted(keys, candidates.indices), len(keys) - 1)
    entries = np.flatnonzero(keys[place] == candidates.indices)
    place = place[entries]
    products = x[place] * candidates.values[entries] * (V[place] * V[place]).sum(axis=1)
    rows = np.searchsorted(candidates.indptr, entries, side="right") - 1
    np.subtract.at(z, rows, products)


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
