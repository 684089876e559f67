"""Columns, and a regressor's labels, scaled to a similar size for mini-batches, and the model converted back.

A factorization machine of ``(x - m) / s`` is one of x, exactly::

    w_i  <-  (w_i - sum_{j != i} <v_i, v_j> m_j / s_j) / s_i             v_i  <-  v_i / s_i
    w0   <-  w0 - sum_i w_i m_i / s_i + sum_{i < j} <v_i, v_j> m_i m_j / (s_i s_j)

and for labels shifted by a and divided by b: ``a + b w0``, ``b w``, ``sqrt(b) v``. The columns of sparse rows are only
divided, because shifted rows would no longer be sparse.

`Scaling` has the numbers, computed from all rows in one pass (`ScalingOfRows`), and the extreme values of columns
(extremes.py).
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.shrinkage import constant_score
from fm_core.arrays import row_blocks
from fm_core.batch import Batch
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.solvers.extremes import Extremes, bounded, tails

__all__ = ["SCALING_ARRAYS", "Scaling", "ScalingOfRows"]

Doubles = NDArray[np.float64]

#: Values are not further from 0 than this afterwards: a column that is nearly always the same has a small deviation.
_FURTHEST = 4.0

#: Columns whose value furthest from 0 is in this range, and whose mean is no more deviations from it than that, are of
#: size already, and stay as they are: pixels from 0 to 1 are learned better so.
_OF_SIZE, _NEAR = (0.5, 4.0), 1.5

#: Means are so many scales from 0 at most: float32 could not bring pairs of columns that are further off back.
_FAR = 1000.0

#: The names under which a checkpoint has them, with their numbers of rows: a column for each feature; labels.
SCALING_ARRAYS = {"column_scaling": 4, "label_scaling": 3}


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What columns and labels are moved and divided by.

    Attributes
    ----------
    means, scales : ndarray of float64, shape (feature_dim,)
        Means are numbers of float32.
    label_mean, label_scale : float
        0 and 1 for a classifier.
    extremes : Extremes
        Of columns and labels that were brought to size.
    bias : float
        The score, before the logistic function, that knows nothing of a row's columns, of labels brought to size.
    """

    means: Doubles
    scales: Doubles
    label_mean: float
    label_scale: float
    extremes: Extremes
    bias: float = 0.0

    @classmethod
    def of(cls, rows: Iterable[Batch], feature_dim: int, predictor_type: str) -> "Scaling":
        """Compute the scaling of rows with labels.

        Parameters
        ----------
        rows : iterable of Batch
        feature_dim : int
        predictor_type : str

        Returns
        -------
        scaling : Scaling
        """
        found = ScalingOfRows(feature_dim, predictor_type)
        for batch in rows:
            found.add(batch)
        return found.scaling()

    def rows(self, batch: Batch) -> Batch:
        """Scale rows and their labels.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        scaled : Batch
        """
        # means are numbers of float32, near to which a difference is exact
        means, factors = self.means.astype(np.float32), (1 / self.scales).astype(np.float32)
        labels = (batch.known_labels.astype(np.float64) - self.label_mean) / self.label_scale
        if batch.indptr is not None and batch.indices is not None:
            values = batch.values * factors[batch.indices]
            return dataclasses.replace(batch, values=values, labels=labels.astype(np.float32))
        values = np.empty_like(batch.values)
        for part in row_blocks(values):
            np.subtract(batch.values[part], means, out=values[part])
            values[part] *= factors
        return Batch.from_dense(values, labels.astype(np.float32), batch.weights)

    def scores(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert scores of scaled rows back to the units of the labels.

        Parameters
        ----------
        scores : ndarray of float32, shape (n,)

        Returns
        -------
        scores : ndarray of float32, shape (n,)
        """
        if (self.label_mean, self.label_scale) == (0.0, 1.0):
            return scores
        return (scores.astype(np.float64) * self.label_scale + self.label_mean).astype(np.float32)

    def model(self, model: Model) -> Model:
        """Convert a model of scaled rows back, with bounded effects of extreme values.

        Parameters
        ----------
        model : Model
            Of scaled rows.

        Returns
        -------
        model : Model
            Of unscaled rows.
        """
        w0, w, V = bounded(model.w0, model.w, model.V, self.extremes)
        V, w = V / self.scales[:, np.newaxis], w / self.scales
        V_m = V * self.means[:, np.newaxis]
        total = V_m.sum(axis=0)
        w0 += -float(w @ self.means) + float(total @ total - np.sum(V_m**2)) / 2
        w = w - (V @ total - np.sum(V * V_m, axis=1))
        return _model(model.predictor_type, self.label_mean + self.label_scale * w0, self.label_scale * w,
                      math.sqrt(self.label_scale) * V)  # fmt: skip

    def model_there(self, model: Model) -> Model:
        """Convert a model of unscaled rows to one of scaled rows.

        Parameters
        ----------
        model : Model
            It may have fewer features.

        Returns
        -------
        model : Model
        """
        n = model.feature_dim
        means, scales = self.means[:n], self.scales[:n]
        V = model.V.astype(np.float64)
        w = model.w.astype(np.float64)
        V_m = V * means[:, np.newaxis]
        total = V_m.sum(axis=0)
        w0 = model.w0 + float(w @ means) + float(total @ total - np.sum(V_m**2)) / 2
        w = (w + V @ total - np.sum(V * V_m, axis=1)) * scales / self.label_scale
        return _model(model.predictor_type, (w0 - self.label_mean) / self.label_scale, w,
                      V * scales[:, np.newaxis] / math.sqrt(self.label_scale))  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint keeps: see `SCALING_ARRAYS`."""
        at = self.extremes
        return {
            "column_scaling": np.stack([self.means, self.scales, at.greatest, at.tails]),
            "label_scaling": np.array([self.label_mean, self.label_scale, at.most]),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Scaling":
        """Restore a scaling from what `arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.

        Returns
        -------
        scaling : Scaling
        """
        means, scales, greatest, of_tails = arrays["column_scaling"]
        label_mean, label_scale, most = arrays["label_scaling"].tolist()
        return cls(means, scales, label_mean, label_scale, Extremes(greatest, of_tails, most))


def _model(predictor_type: str, w0: float, w: Doubles, V: Doubles) -> Model:
    params = np.empty((len(w), V.shape[1] + 1), np.float32)
    params[:, :-1], params[:, -1] = V, w
    return Model.of_params(predictor_type, float(np.float32(w0)), params)


class ScalingOfRows:
    """Computes the `Scaling` of batches with labels.

    Parameters
    ----------
    feature_dim : int
    predictor_type : str
    """

    def __init__(self, feature_dim: int, predictor_type: str) -> None:
        self._is_classifier = link_for(predictor_type).is_classifier
        # about the first batch's means, so that large ones do not hide deviations
        self._about: Doubles | None = None
        self._about_label = 0.0
        self._is_sparse = False
        self._n_rows = 0
        self._n = 0.0
        self._sums, self._squares = np.zeros(feature_dim), np.zeros(feature_dim)
        self._least, self._most = np.full(feature_dim, np.inf, np.float32), np.full(feature_dim, -np.inf, np.float32)
        self._has_others = np.zeros(feature_dim, bool)  # a value that is neither the least nor the greatest
        self._label_sums = np.zeros(2)
        self._label_range = [math.inf, -math.inf]

    def add(self, batch: Batch) -> None:
        """Add rows.

        Parameters
        ----------
        batch : Batch
            With labels.
        """
        if not batch.n_rows:
            return
        weights = batch.weights_or_ones.astype(np.float64)
        if self._about is None:
            self._begin(batch)
        self._n_rows += batch.n_rows
        self._n += float(weights.sum())
        labels = batch.known_labels.astype(np.float64)
        of_labels = labels - self._about_label
        self._label_sums += [float(weights @ of_labels), float(weights @ of_labels**2)]
        self._label_range = [min(self._label_range[0], labels.min()), max(self._label_range[1], labels.max())]
        if batch.indptr is not None:
            self._add_sparse(batch, weights)
        else:
            for part in row_blocks(batch.values):
                self._add_dense(batch.values[part], None if batch.weights is None else weights[part])

    def _begin(self, batch: Batch) -> None:
        self._is_sparse = batch.indptr is not None
        self._about = np.zeros(batch.feature_dim)
        if not self._is_sparse:
            for part in row_blocks(batch.values):
                self._about += batch.values[part].sum(axis=0, dtype=np.float64) / batch.n_rows
        self._about_label = 0.0 if self._is_classifier else float(batch.known_labels.mean(dtype=np.float64))

    def _add_dense(self, values: NDArray[np.float32], weights: Doubles | None) -> None:
        assert self._about is not None
        block = values - self._about
        self._sums += block.sum(axis=0) if weights is None else weights @ block
        np.square(block, out=block)
        self._squares += block.sum(axis=0) if weights is None else weights @ block
        self._widen(values.min(axis=0), values.max(axis=0))
        self._has_others |= ((values != self._least) & (values != self._most)).any(axis=0)

    def _add_sparse(self, batch: Batch, weights: Doubles) -> None:
        keys, values, d = batch.indices, batch.values, len(self._sums)
        assert batch.indptr is not None
        assert keys is not None
        of_entries = np.repeat(weights, np.diff(batch.indptr)) * values
        self._sums += np.bincount(keys, of_entries, d)
        self._squares += np.bincount(keys, of_entries * values, d)
        # zeros, which most columns have, are of no account
        least, most = np.full(d, np.inf, np.float32), np.full(d, -np.inf, np.float32)
        np.minimum.at(least, keys, values)
        np.maximum.at(most, keys, values)
        self._widen(least, most)
        is_other = (values != self._least[keys]) & (values != self._most[keys])
        self._has_others[keys[is_other]] = True

    def _widen(self, least: NDArray[np.float32], most: NDArray[np.float32]) -> None:
        least, most = np.minimum(self._least, least), np.maximum(self._most, most)
        for before in (self._least, self._most):
            self._has_others |= np.isfinite(before) & (before != least) & (before != most)
        self._least, self._most = least, most

    def scaling(self) -> Scaling:
        """Give what was found."""
        n, about = max(self._n, 1e-30), np.zeros(len(self._sums)) if self._about is None else self._about
        off = self._sums / n  # of the mean from `about`
        size = np.sqrt(np.maximum(self._squares / n - off**2, 0))
        means = np.zeros(len(off))
        if self._is_sparse:
            size = np.sqrt(self._squares / n)
        else:
            means = (about + off).astype(np.float32).astype(np.float64)
        least, most = (np.where(np.isfinite(x), x, 0).astype(np.float64) for x in (self._least, self._most))
        furthest = np.maximum(most, -least)
        is_of_size = (furthest >= _OF_SIZE[0]) & (furthest <= _OF_SIZE[1]) & (np.abs(means) <= _NEAR * size)
        means = np.where(is_of_size, 0.0, means)
        reach = np.maximum(most - means, means - least)
        is_constant = reach <= 1e-6 * np.abs(means)
        scales = np.maximum(np.maximum(size, reach / _FURTHEST), np.abs(means) / _FAR)
        scales = np.where(is_of_size | (scales == 0), 1.0, scales)
        # what says nothing keeps its first parameters: let them say little of other values too
        scales = np.where(is_constant & (means != 0), _FAR * np.abs(means), scales)
        of_tails = np.where(self._has_others & ~is_of_size, tails(reach, size, self._n_rows), 0.0)
        if self._is_classifier:
            odds = constant_score(float(self._label_sums[0]), n, is_classifier=True)
            extremes = Extremes.of_classes(reach / scales, of_tails)
            return Scaling(means, scales, 0.0, 1.0, extremes, odds)
        off_label = float(self._label_sums[0]) / n
        mean = self._about_label + off_label
        spread = math.sqrt(max(float(self._label_sums[1]) / n - off_label**2, 0.0))
        spread = spread if spread > 0 else 1.0
        reach_of_labels = max(self._label_range[1] - mean, mean - self._label_range[0], 0.0) / spread
        return Scaling(means, scales, mean, spread, Extremes(reach / scales, of_tails, reach_of_labels))
