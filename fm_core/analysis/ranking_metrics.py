"""The quality of an order: of all rows, and of the first k items of each group.

Areas: ROC AUC is the share of pairs of a row with label 1 and a row with label 0 in which the first has the higher
score; ties count as a half. PR AUC is average precision: the sum over thresholds of precision times the increase of
recall, without interpolation, as in scikit-learn's `average_precision_score`.

For a group with R relevant items, of which those at positions p are among the first k (as in trec_eval)::

    precision   hits / k              recall   hits / R
    MAP         mean over the group's R relevant items of the precision at their positions, 0 for those beyond k
    MRR         1 / the position of the first hit, 0 if there is none among the first k
    NDCG        sum of gain / log2(1 + position), divided by its best possible value; gains are used as they are,
                not as 2^gain - 1

Values are means over groups that have a relevant item. Coverage is the share of all items that are among the first k of
any group.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AtK", "areas_under_curves", "groups_in_order"]


def areas_under_curves(
    scores: "NDArray[np.floating]", labels: "NDArray[np.floating]", weights: "NDArray[np.floating] | None" = None
) -> tuple[float, float]:
    """Give ROC AUC and PR AUC.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
    labels : ndarray of float, shape (n,)
        Of 0 and 1.
    weights : ndarray of float, shape (n,), optional
        How often each row counts.

    Returns
    -------
    roc_auc, pr_auc : float
        NaN, where there are not both labels, and where there is no label 1; and both where a score is NaN.
    """
    if np.isnan(scores).any():
        return math.nan, math.nan
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores, the last
    if not len(order):
        return math.nan, math.nan
    if weights is None:
        positives = np.cumsum(labels[order] > 0.5)[ends].astype(np.float64)
        total = (ends + 1).astype(np.float64)
    else:
        counted = weights[order].astype(np.float64)
        positives, total = np.cumsum(counted * (labels[order] > 0.5))[ends], np.cumsum(counted)[ends]
    negatives = total - positives
    n_positives, n_negatives = float(positives[-1]), float(negatives[-1])
    if n_positives == 0:
        return math.nan, math.nan
    precision = positives / np.where(total > 0, total, 1)
    rise = np.diff(positives, prepend=0)
    pr_auc = float((precision * rise).sum() / n_positives)
    if n_negatives == 0:
        return math.nan, pr_auc
    before = positives - rise
    below = np.diff(negatives, prepend=0)
    return float((below * (before + positives)).sum() / (2 * n_positives * n_negatives)), pr_auc


@dataclasses.dataclass
class AtK:
    """Sums over groups of what their first k items are worth.

    Attributes
    ----------
    k : int
    n : int
        Groups so far that have a relevant item.
    """

    k: int
    n: int = 0
    precision: float = 0.0
    recall: float = 0.0
    ndcg: float = 0.0
    average_precision: float = 0.0
    reciprocal_rank: float = 0.0

    def add(
        self,
        gains: "NDArray[np.float64]",
        n_relevant: "NDArray[np.int64]",
        ideal: "NDArray[np.float64]",
        is_relevant: "NDArray[np.bool_] | None" = None,
    ) -> None:
        """Add groups.

        Parameters
        ----------
        gains : ndarray of float64, shape (n_groups, k)
            Of each group's first k items, best score first; 0 where there are fewer.
        n_relevant : ndarray of int64, shape (n_groups,)
            How many relevant items each group has; those that have none are left out.
        ideal : ndarray of float64, shape (n_groups, k)
            The largest k gains of each group, largest first.
        is_relevant : ndarray of bool, shape (n_groups, k), optional
            Of the first k; by default those with a gain above 0.
        """
        hits = (gains > 0 if is_relevant is None else is_relevant)[n_relevant > 0]
        gains, ideal, n_relevant = gains[n_relevant > 0], ideal[n_relevant > 0], n_relevant[n_relevant > 0]
        if not len(hits):
            return
        places = np.arange(1, self.k + 1)
        discount = 1 / np.log2(1 + places)
        found = hits.sum(axis=1)
        best = ideal @ discount
        self.n += len(hits)
        self.precision += float((found / self.k).sum())
        self.recall += float((found / n_relevant).sum())
        self.ndcg += float(np.divide(gains @ discount, best, out=np.zeros_like(best), where=best > 0).sum())
        self.average_precision += float((hits * np.cumsum(hits, axis=1) / places).sum(axis=1) @ (1 / n_relevant))
        self.reciprocal_rank += float((hits / places).max(axis=1).sum())

    def values(self) -> dict[str, float]:
        """The means over groups; NaN of none."""
        n = self.n or math.nan
        return {
            f"ndcg_at_{self.k}": self.ndcg / n,
            f"precision_at_{self.k}": self.precision / n,
            f"recall_at_{self.k}": self.recall / n,
            f"map_at_{self.k}": self.average_precision / n,
            f"mrr_at_{self.k}": self.reciprocal_rank / n,
        }


def groups_in_order(
    groups: "NDArray[np.int64]", scores: "NDArray[np.float32]", gains: "NDArray[np.float64]", k: int
) -> "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]":
    """Give of each group the rows with its k highest scores, and its k largest gains.

    Parameters
    ----------
    groups : ndarray of int64, shape (n,)
        Of each row, any numbers.
    scores : ndarray of float32, shape (n,)
        Of equal ones the first comes first.
    gains : ndarray of float64, shape (n,)
    k : int

    Returns
    -------
    starts : ndarray of int64, shape (n_groups + 1,)
        Where each group's rows begin in an order by group.
    first : ndarray of int64, shape (n_groups, k)
        Rows, best first; -1 where there are fewer.
    ideal : ndarray of float64, shape (n_groups, k)
        0 where there are fewer.
    """
    by_score = np.lexsort((-scores, groups))
    starts = (
        np.flatnonzero(np.concatenate([[True], np.diff(groups[by_score]) != 0])) if len(groups) else np.zeros(0, int)
    )
    starts = np.append(starts, len(groups)).astype(np.int64)
    first = np.full((len(starts) - 1, k), -1, np.int64)
    ideal = np.zeros((len(starts) - 1, k))
    by_gain = np.lexsort((-gains, groups))
    for place in range(k):
        there = np.flatnonzero(starts[:-1] + place < starts[1:])
        first[there, place] = by_score[starts[there] + place]
        ideal[there, place] = gains[by_gain[starts[there] + place]]
    return starts, first, ideal
