"""Why a row got its score: the contribution of every feature and every pair.

The model is a sum, so this is exact: the bias, ``w_i x_i`` of each feature and
``<v_i, v_j> x_i x_j`` of each pair of features add up to the score before the logistic
function. A row of n features has n (n - 1) / 2 pairs, so rows with very many features are refused.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.given import check_kind
from fm_core.kernels.bounds import check_fits
from fm_core.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_FEATURES", "MOST_PAIRS", "Explanation", "explain"]

#: Features of a row that can be explained: about two million pairs.
MAX_FEATURES = 2048

#: Pairs of features that the explanations of one request may have: less than a second of work.
MOST_PAIRS = 2_000_000


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Explanation:
    """The shares of one row's score.

    Attributes
    ----------
    bias : float
        w0.
    features : ndarray of int32, shape (n,)
        Those of the row whose value is not 0, the largest share (by magnitude) first.
    linear : ndarray of float64, shape (n,)
        ``w_i x_i`` of each.
    pairs : ndarray of int32, shape (n_pairs, 2)
        Features i < j, the largest share first.
    interactions : ndarray of float64, shape (n_pairs,)
        ``<v_i, v_j> x_i x_j`` of each.
    """

    bias: float
    features: "NDArray[np.int32]"
    linear: "NDArray[np.float64]"
    pairs: "NDArray[np.int32]"
    interactions: "NDArray[np.float64]"

    @property
    def total(self) -> float:
        """The sum of all shares: the score, for a classifier before the logistic function."""
        return self.bias + float(self.linear.sum()) + float(self.interactions.sum())

    def as_document(self, top: int, name: Callable[[int], str] | None = None) -> dict[str, Any]:
        """Return the largest shares as JSON values.

        Parameters
        ----------
        top : int
            The most features, and the most pairs, to list.
        name : callable, optional
            Returns the name of a feature; then the result has ``name`` and ``names`` in addition to the ids.

        Returns
        -------
        document : dict
            ``total``, ``bias``, ``features``, ``pairs``, and ``rest``: the sum of the `n_left_out`
            shares that are not listed. Bias, listed shares and rest add up to the total.
        """
        check_kind("top", top, (int, np.integer), "an integer")
        top = max(top, 0)
        n_left_out = max(len(self.features) - top, 0) + max(len(self.pairs) - top, 0)
        document: dict[str, Any] = {
            "total": self.total,
            "bias": self.bias,
            "features": [
                {"feature": feature, "share": share}
                for feature, share in zip(self.features[:top].tolist(), self.linear[:top].tolist(), strict=True)
            ],
            "pairs": [
                {"features": pair, "share": share}
                for pair, share in zip(self.pairs[:top].tolist(), self.interactions[:top].tolist(), strict=True)
            ],
            "rest": float(self.linear[top:].sum()) + float(self.interactions[top:].sum()),
            "n_left_out": n_left_out,
        }
        if name is not None:
            for share in document["features"]:
                share["name"] = name(share["feature"])
            for share in document["pairs"]:
                share["names"] = [name(feature) for feature in share["features"]]
        return document


def explain(model: "Model", batch: Batch, rows: Iterable[int] | None = None) -> list[Explanation]:
    """Explain the score of each row.

    Parameters
    ----------
    model : Model
    batch : Batch
        Sparse or dense.
    rows : iterable of int, optional
        These rows only, in this order.

    Returns
    -------
    explanations : list of Explanation

    Raises
    ------
    DataError
        The batch has another feature_dim than the model, or a row has more than `MAX_FEATURES`
        features.

    Examples
    --------
    >>> import numpy as np
    >>> from fm_core import Batch, Model, explain
    >>> model = Model("regressor", 1.0, np.float32([0.5, 0, 0.25]), np.float32([[1], [0], [2]]))
    >>> (why,) = explain(model, Batch.from_dense([[1, 0, 1]]))
    >>> why.bias, why.linear.tolist(), why.pairs.tolist(), why.interactions.tolist(), why.total
    (1.0, [0.5, 0.25], [[0, 2]], [2.0], 3.75)
    """
    check_kind("model", model, Model, "a Model")
    check_fits(batch, model.feature_dim)
    chosen = range(batch.n_rows) if rows is None else list(rows)
    for row in chosen if rows is not None else ():
        check_kind("a row", row, (int, np.integer), "an integer")
        if not 0 <= row < batch.n_rows:
            raise DataError(f"row {row} does not exist, expected a row from 0 to {batch.n_rows - 1}")
    return [_explain_row(model, *_row(batch, row), row) for row in chosen]


def _row(batch: Batch, row: int) -> "tuple[NDArray[np.int32], NDArray[np.float32]]":
    if batch.indptr is None or batch.indices is None:
        features = np.flatnonzero(batch.values[row]).astype(np.int32)
        return features, batch.values[row][features]
    entries = slice(int(batch.indptr[row]), int(batch.indptr[row + 1]))
    features, values = batch.indices[entries], batch.values[entries]
    return features[values != 0], values[values != 0]


def _explain_row(model: "Model", features: "NDArray[np.int32]", values: "NDArray[np.float32]", row: int) -> Explanation:
    if len(features) > MAX_FEATURES:
        raise DataError(
            f"row {row} has {len(features)} features, which is {len(features) * (len(features) - 1) // 2} pairs; "
            f"at most {MAX_FEATURES} features can be explained"
        )
    x = values.astype(np.float64)
    linear = x * model.w[features]
    scaled = x[:, np.newaxis] * model.V[features]
    first, second = np.triu_indices(len(features), 1)
    interactions = (scaled @ scaled.T)[first, second]
    pairs = np.column_stack([features[first], features[second]])
    by_linear, by_interaction = _order(linear), _order(interactions)
    return Explanation(
        model.w0, features[by_linear], linear[by_linear], pairs[by_interaction], interactions[by_interaction]
    )


def _order(shares: "NDArray[np.float64]") -> "NDArray[np.int64]":
    return np.argsort(-np.abs(shares), kind="stable")
