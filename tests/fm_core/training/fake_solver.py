"""A solver of a few lines, of no use but to be trained: it learns the mean label."""

import numpy as np

from fm_core.model import Model
from fm_core.solvers.base import Algorithm, ArraySpec, SafePoint, Solver


class MeanSolver(Solver):
    """Its model's bias is the mean of the labels so far."""

    def __init__(self, hp, state):
        self.hp, self._n = hp, 0 if state is None else state.n_steps
        self.sums = np.zeros(2) if state is None else state.arrays["sums"]

    n_steps = property(lambda self: self._n)
    is_done = property(lambda self: self.hp.seed == 1 and self._n >= 6)
    model = property(lambda self: model_of(self.hp, self.sums))

    def arrays(self):
        return {"sums": self.sums}

    def predict(self, batch):
        return np.full(batch.n_rows, self.model.w0, np.float32)

    def epoch(self, data, at):
        for batch, prepared in data[at.n_batches :] if isinstance(data, list) else data:
            assert prepared == batch.n_rows
            scores = self.predict(batch)
            self._n, self.sums[:] = self._n + 1, self.sums + np.array([batch.labels.sum(), batch.n_rows])
            yield SafePoint(scores, batch.labels, batch)


def model_of(hp, sums):
    zeros = np.zeros((hp.feature_dim, hp.num_factors + 1), np.float32)
    return Model.of_params(hp.predictor_type, sums[0] / max(sums[1], 1), zeros)


class Mean(Algorithm):
    """Makes it, of mini-batches or of all rows."""

    name = "mean"

    def __init__(self, needs="stream"):
        self.needs, self.n_loaded = needs, 0

    def layout(self, hp):
        return {"sums": ArraySpec((2,), "float64")}

    def model_of(self, hp, arrays):
        return model_of(hp, arrays["sums"])

    def memory_needed(self, hp):
        return 16

    def prepare(self, batch):
        return batch.n_rows

    def load(self, items):
        self.n_loaded += 1
        return list(items)

    def make(self, hp, *, is_dense=False, model=None, state=None):
        return MeanSolver(hp, state)
