"""Rank many candidates for one context: exact scores, with the context's share computed once.

The row of a pair is the sum of the context's features and the candidate's. With s_f = sum_i v_if x_i
over the features of one side, its score is the context's own score, plus the candidate's own pairs
and linear terms, plus sum_f s_f(context) s_f(candidate). So the cost of a candidate depends only on its own
non-zeros, and the result equals that of scoring every pair in full. In the last sum, a feature that is on both
sides would be paired with itself; candidates with such a feature are scored separately.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.given import check_kind
from fm_core.kernels._ranking import candidate_scores, context_sums, shared_scores
from fm_core.kernels.bounds import check_fits
from fm_core.model import Model
from fm_core.score_range import bounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Context", "Contexts", "Ranked", "contexts_of", "own_scores", "rank", "rank_in_context", "ranked_rows"]


@dataclasses.dataclass(frozen=True, slots=True)
class Ranked:
    """The best candidates of one context.

    Attributes
    ----------
    indices : ndarray of int64, shape (n,)
        Positions among the candidates, best first; of equal ones the first comes first.
    scores : ndarray of float32, shape (n,)
        As `Model.predict` gives them; not finite where values are too large.
    """

    indices: "NDArray[np.int64]"
    scores: "NDArray[np.float32]"


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """The share of a context in the scores of its candidates.

    Attributes
    ----------
    own : float
        ``w0 + <w, x>`` and its own pairs.
    sums : ndarray of float64, shape (num_factors,)
        ``sum_i v_if x_i``.
    keys : ndarray of int32, shape (n,)
        Its features, increasing.
    values : ndarray of float32, shape (n,)
    joined : ndarray of float64, shape (num_factors,)
        The part of `sums` that is of features the model does not have.
    """

    own: float
    sums: "NDArray[np.float64]"
    keys: "NDArray[np.int32]"
    values: "NDArray[np.float32]"
    joined: "NDArray[np.float64]"

    def joined_by(self, w: float, v: "NDArray[np.float64]") -> "Context":
        """Add a feature of value 1 that the model does not have, given its parameters.

        Parameters
        ----------
        w : float
            Its linear weight.
        v : ndarray of float64, shape (num_factors,)
            Its factors.

        Returns
        -------
        context : Context
            A new context.
        """
        own = self.own + w + float(v @ self.sums)
        return dataclasses.replace(self, own=own, sums=self.sums + v, joined=self.joined + v)


@dataclasses.dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts that the rows of a batch are.

    Attributes
    ----------
    own : ndarray of float64, shape (n_rows,)
    sums : ndarray of float64, shape (n_rows, num_factors)
    batch : Batch
        Sparse.
    """

    own: "NDArray[np.float64]"
    sums: "NDArray[np.float64]"
    batch: Batch

    def __len__(self) -> int:
        return len(self.own)

    def __iter__(self) -> Iterator[Context]:
        indptr, indices, values = self.batch.csr
        for row, (start, stop) in enumerate(itertools.pairwise(indptr.tolist())):
            part = slice(start, stop)
            yield Context(
                float(self.own[row]), self.sums[row], indices[part], values[part], np.zeros(self.sums.shape[1])
            )


def contexts_of(model: "Model", batch: Batch) -> Contexts:
    """Use each row of a sparse batch as a context.

    Parameters
    ----------
    model : Model
    batch : Batch
        Sparse rows of the model's feature_dim.

    Returns
    -------
    contexts : Contexts
    """
    check_fits(batch, model.feature_dim)
    sums, own = np.empty((batch.n_rows, model.num_factors)), np.empty(batch.n_rows)
    context_sums(*batch.csr, model.w, model.V, sums, own)
    return Contexts(model.w0 + own, sums, batch)


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
        The number of candidates to return; by default all.

    Returns
    -------
    ranked : Ranked

    Raises
    ------
    DataError
        Context and candidates are not sparse, or not of the model's width.

    Examples
    --------
    >>> import numpy as np
    >>> from fm_core import Batch, Model, rank
    >>> from scipy.sparse import csr_array
    >>> model = Model("regressor", 0.0, np.float32([0, 0.5, 0.25]), np.float32([[1], [0], [2]]))
    >>> context, candidates = (Batch.from_csr(csr_array(rows)) for rows in ([[1, 0, 0]], [[0, 1, 0], [0, 0, 1]]))
    >>> ranked = rank(model, context, candidates)
    >>> ranked.indices.tolist(), ranked.scores.tolist()
    ([1, 0], [2.25, 0.5])
    """
    check_kind("model", model, Model, "a Model")
    for name, batch in (("context", context), ("candidates", candidates)):
        check_kind(f"the {name}", batch, Batch, "a Batch")
        if batch.is_dense or batch.feature_dim != model.feature_dim:
            raise DataError(
                f"the {name} have {'dense' if batch.is_dense else 'sparse'} rows of feature_dim={batch.feature_dim}, "
                f"expected sparse rows of feature_dim={model.feature_dim}"
            )
    if context.n_rows != 1:
        raise DataError(f"the context has {context.n_rows} rows, expected one")
    if top_k is not None:
        check_kind("top_k", top_k, (int, np.integer), "an integer or None")
        if top_k < 1:
            raise DataError(f"top_k is {top_k}, expected at least 1")
    return rank_in_context(model, next(iter(contexts_of(model, context))), candidates, top_k)


def ranked_rows(context: Batch, candidates: Batch, indices: "NDArray[np.int64]") -> Batch:
    """Return the whole rows of some candidates: the context's features and their own, added up.

    Parameters
    ----------
    context : Batch
        Sparse, of one row.
    candidates : Batch
    indices : ndarray of int64, shape (n,)
        Positions among the candidates.

    Returns
    -------
    rows : Batch, sparse
        One row for each of these candidates.
    """
    contexts = context.take(np.zeros(len(indices), np.int64))
    return Batch.from_csr(contexts.to_matrix() + candidates.take(indices).to_matrix())


def rank_in_context(model: "Model", context: Context, candidates: Batch, top_k: int | None = None) -> Ranked:
    """Rank candidates for a context that is made already; nothing is checked.

    Parameters
    ----------
    model : Model
    context : Context
    candidates : Batch
        Sparse, of the model's width.
    top_k : int, optional
        The number of candidates to return; by default all.

    Returns
    -------
    ranked : Ranked
        As of `rank`.
    """
    z = _without_own(model, context, candidates)
    # What overflowed comes first, so that it is seen and not left out in silence.
    order = _best(np.where(np.isnan(z), np.inf, z), len(z) if top_k is None else min(top_k, len(z)))
    scores = z[order] + context.own  # added last, so that rounding makes no ties
    with np.errstate(over="ignore"):
        return Ranked(order, bounded(model.link.score(scores).astype(np.float32), model.score_range))


def own_scores(model: "Model", candidates: Batch) -> "NDArray[np.float64]":
    """Return what each candidate's score has without a context: its linear terms and its own pairs.

    Parameters
    ----------
    model : Model
    candidates : Batch
        Sparse rows of the model's feature_dim.

    Returns
    -------
    scores : ndarray of float64, shape (n_rows,)
    """
    check_fits(candidates, model.feature_dim)
    z = np.empty(candidates.n_rows)
    _candidate_scores(model, np.zeros(model.num_factors, np.float32), candidates, z)
    return z


def _without_own(model: "Model", context: Context, candidates: Batch) -> "NDArray[np.float64]":
    check_fits(candidates, model.feature_dim)
    z = np.empty(candidates.n_rows)
    with np.errstate(over="ignore"):
        sums = context.sums.astype(np.float32)
    _candidate_scores(model, sums, candidates, z)
    shared = _sharing(context, candidates)
    if len(shared):
        shared_scores(
            shared,
            *candidates.csr,
            model.w,
            model.V,
            context.keys,
            context.values,
            context.sums,
            context.joined,
            z,
        )
    return z


def _candidate_scores(model: "Model", sums: "NDArray[np.float32]", candidates: Batch, z: "NDArray[np.float64]") -> None:
    candidate_scores(
        *candidates.csr,
        model.w,
        model.V,
        sums,
        np.empty(model.num_factors, np.float32),
        z,
    )


def _sharing(context: Context, candidates: Batch) -> "NDArray[np.int64]":
    """Which candidates have a feature of the context."""
    indptr, indices, _ = candidates.csr
    keys = context.keys
    if not len(keys) or not len(indices):
        return np.empty(0, np.int64)
    place = np.minimum(np.searchsorted(keys, indices), len(keys) - 1)
    entries = np.flatnonzero(keys[place] == indices)
    return np.unique(np.searchsorted(indptr, entries, side="right") - 1)


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
