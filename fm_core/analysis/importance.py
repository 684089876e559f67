"""How much the columns of a table affect a model's scores, alone and in pairs, measured on rows.

The importance of a column is the average change of a row's score if the column's cell is taken from another row
instead. It includes the effect of the column alone and with all others, in the units of the score (for a classifier,
the log odds). This is permutation importance (Breiman 2001, "Random Forests") for scores instead of errors, so it needs
no labels. A factorization machine needs no second pass: with s_c = sum_i v_i x_i over a column's features and S over
all features, the change is that of ``sum_i w_i x_i + <s_c, S - s_c> +`` the column's own pairs.

The importance of a pair of columns is the mean of ``|<s_c - mean s_c, s_d - mean s_d>|``: the effect of both together
beyond the effects of each.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fm_core.batch import Batch
from fm_core.formats.draws import draws
from fm_core.kernels.bounds import check_fits
from fm_core.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DRAWS", "PairImportance", "column_importances", "few_rows", "pair_importances"]

#: Rows, and their entries, that are looked at.
_ROWS, _ENTRIES = 2_000, 200_000
#: With how many other rows each is compared.
DRAWS = 5


class PairImportance(NamedTuple):
    """How much a pair of columns matters beyond either.

    Attributes
    ----------
    columns : tuple of int
        Their numbers, the smaller one first.
    importance : float
    """

    columns: tuple[int, int]
    importance: float


def few_rows(batch: Batch) -> Batch:
    """Return some rows at even distances, as sparse rows: few enough to be analysed in milliseconds.

    Parameters
    ----------
    batch : Batch
        All rows.

    Returns
    -------
    rows : Batch
        Sparse.
    """
    per_row = max(1, batch.values.size // max(1, batch.n_rows))
    n = min(batch.n_rows, _ROWS, max(20, _ENTRIES // per_row))
    chosen = batch.take(np.linspace(0, batch.n_rows - 1, n).astype(np.int64)) if n < batch.n_rows else batch
    if not chosen.is_dense:
        return chosen
    from scipy.sparse import csr_array

    return Batch.from_csr(csr_array(chosen.values), chosen.labels, chosen.weights)


def column_importances(model: Model, batch: Batch, first_features: "NDArray[np.int64]") -> "NDArray[np.float64]":
    """Measure how much each column matters.

    Parameters
    ----------
    model : Model
    batch : Batch
        Sparse; keys ascend within a row. Some thousand rows are enough: see `few_rows`.
    first_features : ndarray of int64, shape (n_columns,)
        Of each column, ascending; a column without features has the next one's.

    Returns
    -------
    importances : ndarray of float64, shape (n_columns,)
        Mean absolute change of the score; 0 where there are fewer than two rows.

    Raises
    ------
    DataError
        The batch is not of the model's width.
    """
    n, n_columns = batch.n_rows, len(first_features)
    if n < 2:
        return np.zeros(n_columns)
    cells = _cells_of(model, batch, first_features)
    total = np.zeros((n, model.num_factors))
    np.add.at(total, cells.row, cells.sums)
    changes = np.zeros(n_columns)
    for seed in range(DRAWS):
        order = np.argsort(draws(seed, np.arange(n)))
        other = np.empty(n, np.int64)
        other[order] = np.roll(order, 1)  # one cycle: no row is compared with itself
        # Cells of rows that have the column, and those of the other row where the row itself lacks it.
        there, at = cells.find(other[cells.row])
        linear, sums = cells.linear[at] * there, cells.sums[at] * there[:, np.newaxis]
        rest = total[cells.row] - cells.sums
        with np.errstate(over="ignore", invalid="ignore"):
            change = linear - cells.linear + ((sums - cells.sums) * rest).sum(axis=1)
            np.add.at(changes, cells.column, np.abs(change))
            of_other = np.argsort(other)[cells.row]
            there, _ = cells.find(of_other)
            lacking = ~there
            change = cells.linear + (cells.sums * total[of_other]).sum(axis=1)
            np.add.at(changes, cells.column[lacking], np.abs(change[lacking]))
    return changes / (DRAWS * n)


def pair_importances(
    model: Model, batch: Batch, first_features: "NDArray[np.int64]", columns: "NDArray[np.int64]"
) -> list[PairImportance]:
    """Measure how much pairs of some columns matter, the most important pair first.

    Parameters
    ----------
    model, batch, first_features
        As for `column_importances`.
    columns : ndarray of int64
        Those that are looked at: all pairs of n columns cost n * n.

    Returns
    -------
    pairs : list of PairImportance
        The most important pair first.
    """
    columns = np.unique(columns)
    if batch.n_rows < 2 or len(columns) < 2:
        return []
    cells = _cells_of(model, batch, first_features)
    place = np.full(len(first_features), -1)
    place[columns] = np.arange(len(columns))
    chosen = place[cells.column] >= 0
    sums = np.zeros((len(columns), batch.n_rows, model.num_factors))
    sums[place[cells.column[chosen]], cells.row[chosen]] = cells.sums[chosen]
    sums -= sums.mean(axis=1, keepdims=True)
    found = []
    for i in range(len(columns)):
        for j in range(i + 1, len(columns)):
            value = float(np.abs(np.einsum("rf,rf->r", sums[i], sums[j])).mean())
            found.append(PairImportance((int(columns[i]), int(columns[j])), value))
    return sorted(found, key=lambda pair: (-pair.importance, pair.columns))


class _Cells(NamedTuple):
    """What the columns of rows give to scores, for each row and column that has features there, in this order.

    `linear` has the column's own pairs too.
    """

    row: "NDArray[np.int64]"
    column: "NDArray[np.int64]"
    linear: "NDArray[np.float64]"
    sums: "NDArray[np.float64]"
    keys: "NDArray[np.int64]"
    n_columns: int

    def find(self, rows: "NDArray[np.int64]") -> "tuple[NDArray[np.bool_], NDArray[np.int64]]":
        """Find the same columns in other rows: whether they are there, and where."""
        wanted = rows * self.n_columns + self.column
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return self.keys[at] == wanted, at


def _cells_of(model: Model, batch: Batch, first_features: "NDArray[np.int64]") -> _Cells:
    check_fits(batch, model.feature_dim)
    indptr, indices, values = batch.csr
    row = np.repeat(np.arange(batch.n_rows), np.diff(indptr))
    column = np.searchsorted(first_features, indices, side="right") - 1
    keys = row * len(first_features) + column
    order = np.argsort(keys, kind="stable")  # those of Batch.from_csr may stand in any order
    keys, starts = np.unique(keys[order], return_index=True)
    if not len(keys):
        none = np.empty(0, np.int64)
        return _Cells(none, none, np.empty(0), np.empty((0, model.num_factors)), none, len(first_features))
    with np.errstate(over="ignore", invalid="ignore"):
        x = values[order].astype(np.float64)
        linear = np.add.reduceat(x * model.w[indices[order]], starts)
        scaled = x[:, np.newaxis] * model.V[indices[order]]
        sums = np.add.reduceat(scaled, starts, axis=0)
        own = 0.5 * ((sums**2).sum(axis=1) - np.add.reduceat((scaled**2).sum(axis=1), starts))
    return _Cells(keys // len(first_features), keys % len(first_features), linear + own, sums, keys,
                  len(first_features))  # fmt: skip
