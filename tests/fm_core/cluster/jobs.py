"""What several members train, and their rows put together."""

import numpy as np
import scipy.sparse

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters

FEATURE_DIM = 20


def whole(parts, feature_dim):
    """The rows of all members in their places."""
    rows = np.empty((feature_dim, parts[0].shape[1]), np.float32)
    for rank, part in enumerate(parts):
        rows[rank :: len(parts)] = part[: len(range(rank, feature_dim, len(parts)))]
    return rows


def data_of(n_rows, m, seed=0, feature_dim=FEATURE_DIM):
    random = np.random.default_rng(seed)
    X = scipy.sparse.random(n_rows, feature_dim, 0.2, "csr", np.float32, random_state=random)
    y = (random.random(n_rows) < 0.5).astype(np.float32)
    return [Batch.from_csr(X[i : i + m], y[i : i + m]) for i in range(0, n_rows, m)]


def hyperparameters(m, **given):
    return Hyperparameters(
        feature_dim=FEATURE_DIM, num_factors=5, predictor_type="binary_classifier", mini_batch_size=m,
        **{"factors_lr": 0.02, "linear_lr": 0.02, "epochs": 2, **given},
    )  # fmt: skip
