"""Rows with something to learn, and what is told of it."""

import numpy as np
import scipy.sparse

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters


def problem(n=400, feature_dim=60, classify=True, seed=0):
    """Rows of five ones, labels from a planted model."""
    random = np.random.default_rng(seed)
    keys = np.sort(np.array([random.permutation(feature_dim)[:5] for _ in range(n)]), axis=1)
    V = random.normal(size=(feature_dim, 3)) * 0.6
    s = V[keys].sum(axis=1)
    z = 0.5 * (s**2 - (V[keys] ** 2).sum(axis=1)).sum(axis=1) + random.normal(size=feature_dim)[keys].sum(axis=1)
    y = (random.random(n) < 1 / (1 + np.exp(-z))) if classify else z
    X = scipy.sparse.csr_matrix((np.ones(5 * n), keys.ravel(), np.arange(0, 5 * n + 1, 5)), (n, feature_dim))
    return X, y.astype(np.float32)


def batches_of(X, y, size, is_dense=False):
    make = (lambda rows, labels: Batch.from_dense(rows.toarray(), labels)) if is_dense else Batch.from_csr
    return [make(X[i : i + size], y[i : i + size]) for i in range(0, X.shape[0], size)]


def hyperparameters(**changes):
    return Hyperparameters(
        **{
            "feature_dim": 60, "num_factors": 4, "predictor_type": "binary_classifier", "mini_batch_size": 50,
            "bias_lr": 0.01, "linear_lr": 0.02, "factors_lr": 0.02, "factors_init_sigma": 0.1, **changes,
        }
    )  # fmt: skip


class Recorder:
    def __init__(self):
        self.told = []

    def started(self, is_dense):
        self.told.append(("started", is_dense))

    def batch(self, report):
        self.told.append(("batch", report))

    def epoch(self, report):
        self.told.append(("epoch", report))

    def validated(self, report):
        self.told.append(("validated", report))

    def of(self, kind):
        return [what for told, what in self.told if told == kind]
