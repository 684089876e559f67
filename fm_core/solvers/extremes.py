"""What a model of dense columns may say of values that lie far beyond all others: bounded, as labels are.

A column may have a thousand values about 3 and one of 1,243. Where two such columns meet, the model's pair is a product
of extremes, learned from rows that are none: a row with both can be scored fifty deviations off, and a handful of such
rows makes a model worse than the mean (California housing, whose test rows have one household of 1,243). No row of the
training says what is right there. So a pair with such a column may move a score by no more than labels move: its
column's factors are made shorter, until the pair at the greatest values of both, seen apart, keeps to that.

Columns whose greatest value is of the size of the others, and columns of two values, are left as they are.
"""

import numpy as np
from numpy.typing import NDArray

from fm_core.arrays import row_blocks
from fm_core.batch import Batch
from fm_core.model import Model

__all__ = ["bounded"]

Doubles = NDArray[np.float64]

#: Standard deviations of the greatest value beyond which a column has extremes: normal ones reach 5, lognormal ones 20.
_FAR = 20.0

#: What a pair may add to a classifier's score before the logistic function.
_LOG_ODDS = 10.0

#: Columns whose pairs are looked at: a matrix of so many squared.
_MOST = 2000


def bounded(model: Model, rows: Batch) -> Model:
    """Give the model with what it says of extremes bounded; the model itself where it needs nothing.

    Parameters
    ----------
    model : Model
    rows : Batch
        Dense, with labels: what the model was learned from, each column's mean 0.
    """
    values = rows.values
    if model.feature_dim > _MOST or not len(values):
        return model
    greatest, size = _sizes(values)
    is_far = greatest > _FAR * size
    for column in np.flatnonzero(is_far):
        is_far[column] = len(np.unique(values[:, column])) > 2
    if not is_far.any():
        return model
    labels = rows.known_labels.astype(np.float64)
    most = _LOG_ODDS if model.is_classifier else float(np.abs(labels - labels.mean()).max())
    V = model.V.astype(np.float64)
    # not the BLAS, whose threads decide bits
    pairs = np.abs(np.einsum("ik,jk->ij", V, V, optimize=False)) * np.outer(greatest, greatest)
    np.fill_diagonal(pairs, 0)
    pairs[np.ix_(~is_far, ~is_far)] = 0
    # the one that lies further out, of its own kind, is made shorter
    tail = np.where(is_far, greatest / np.maximum(size, 1e-300), 0)
    shares = np.ones(len(V))
    for column in np.argsort(-tail, kind="stable")[: np.count_nonzero(is_far)].tolist():
        others = tail < tail[column]
        others |= (tail == tail[column]) & (np.arange(len(tail)) > column)
        largest = float(pairs[column, others].max(initial=0))
        if largest > most:
            shares[column] = most / largest
    if (shares == 1).all():
        return model
    params = np.empty((len(V), model.num_factors + 1), np.float32)
    params[:, :-1] = shares[:, np.newaxis] * V
    params[:, -1] = model.w
    return Model.of_params(model.predictor_type, model.w0, params)


def _sizes(values: NDArray[np.float32]) -> tuple[Doubles, Doubles]:
    """Each column's greatest magnitude, and root mean square."""
    greatest, squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for part in row_blocks(values):
        block = values[part].astype(np.float64)
        greatest = np.maximum(greatest, np.abs(block).max(axis=0))
        squares += (block**2).sum(axis=0)
    return greatest, np.sqrt(squares / len(values))
