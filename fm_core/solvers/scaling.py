"""Dense columns, and a regressor's labels, brought to a like size for mini-batches, and a model brought back.

A factorization machine of ``(x - m) / s`` is one of x, exactly::

    w_i  <-  (w_i - sum_{j != i} <v_i, v_j> m_j / s_j) / s_i             v_i  <-  v_i / s_i
    w0   <-  w0 - sum_i w_i m_i / s_i + sum_{i < j} <v_i, v_j> m_i m_j / (s_i s_j)

and of labels that were moved by a and divided by b: ``a + b w0``, ``b w``, ``sqrt(b) v``.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from fm_core.arrays import row_blocks
from fm_core.batch import Batch
from fm_core.links import link_for
from fm_core.model import Model

__all__ = ["Scaling"]

Doubles = NDArray[np.float64]

#: Values are not further from 0 than this afterwards: a column that is nearly always the same has a small deviation.
_FURTHEST = 4.0

#: Columns whose mean is so many deviations from 0 stay where they are: float32 could not bring the model back.
_FAR = 1000.0


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What columns and labels are moved and divided by.

    Attributes
    ----------
    means, scales : ndarray of float64, shape (feature_dim,)
    label_mean, label_scale : float
        0 and 1 for a classifier.
    """

    means: Doubles
    scales: Doubles
    label_mean: float
    label_scale: float

    @classmethod
    def of(cls, rows: Batch, predictor_type: str) -> "Scaling":
        """Find those of dense rows with labels."""
        values, weights = rows.values, rows.weights_or_ones.astype(np.float64)
        n = float(weights.sum()) or 1.0
        sums, least, most = np.zeros(rows.feature_dim), np.inf, -np.inf
        for part in row_blocks(values):
            block = values[part].astype(np.float64)
            sums += block.sum(axis=0) if rows.weights is None else weights[part] @ block
            least, most = np.minimum(least, block.min(axis=0)), np.maximum(most, block.max(axis=0))
        means = sums / n
        squares = np.zeros(rows.feature_dim)
        for part in row_blocks(values):
            deviations = (values[part] - means) ** 2
            squares += deviations.sum(axis=0) if rows.weights is None else weights[part] @ deviations
        scales = np.maximum(np.sqrt(squares / n), np.maximum(most - means, means - least) / _FURTHEST)
        is_constant = scales <= 1e-12 * np.abs(means)
        scales = np.where(is_constant | (scales == 0), np.where(means == 0, 1.0, np.abs(means)), scales)
        means = np.where(np.abs(means) > _FAR * scales, 0.0, means)
        if link_for(predictor_type).is_classifier:
            return cls(means, scales, 0.0, 1.0)
        labels = rows.known_labels.astype(np.float64)
        if rows.weights is None:
            mean, spread = float(labels.mean()), float(labels.std())
        else:
            mean = float(weights @ labels) / n
            spread = math.sqrt(float(weights @ (labels - mean) ** 2) / n)
        return cls(means, scales, mean, spread if spread > 0 else 1.0)

    def rows(self, batch: Batch) -> Batch:
        """Move and divide dense rows and their labels."""
        values = np.empty_like(batch.values)
        for part in row_blocks(values):
            values[part] = (batch.values[part] - self.means) / self.scales
        labels = (batch.known_labels.astype(np.float64) - self.label_mean) / self.label_scale
        return Batch.from_dense(values, labels.astype(np.float32), batch.weights)

    def model(self, model: Model) -> Model:
        """Bring a model of such rows back."""
        V = model.V / self.scales[:, np.newaxis]
        w = model.w / self.scales
        V_m = V * self.means[:, np.newaxis]
        total = V_m.sum(axis=0)
        w0 = model.w0 - float(w @ self.means) + float(total @ total - np.sum(V_m**2)) / 2
        w = w - (V @ total - np.sum(V * V_m, axis=1))
        params = np.empty((len(w), V.shape[1] + 1), np.float32)
        params[:, :-1], params[:, -1] = math.sqrt(self.label_scale) * V, self.label_scale * w
        return Model.of_params(model.predictor_type, float(np.float32(self.label_mean + self.label_scale * w0)), params)
