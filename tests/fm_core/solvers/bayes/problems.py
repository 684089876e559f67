"""Small data for the Bayesian solver's tests."""

import numpy as np
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.solvers.bayes.rows import Collector


def rows_of(X, y, groups="auto", size=7):
    """The rows of a matrix, given in batches."""
    X = sp.csr_matrix(X).astype(np.float32)
    collector = Collector(X.shape[1], groups)
    for begin in range(0, X.shape[0], size):
        part = slice(begin, begin + size)
        collector.add(Batch.from_csr(X[part], np.asarray(y[part], np.float32)))
    return collector.rows()


def ratings(n_users=30, n_items=20, n_rows=400, noise=0.3, seed=0, is_classifier=False):
    """One-hot users and items, and what a planted model says of them: X, y."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(n_users, size=n_rows), rng.integers(n_items, size=n_rows)
    keys = np.column_stack([users, n_users + items]).ravel()
    X = sp.csr_matrix((np.ones(2 * n_rows), keys, 2 * np.arange(n_rows + 1)), (n_rows, n_users + n_items))
    w, V = rng.normal(0, 0.5, n_users + n_items), rng.normal(0, 0.8, (n_users + n_items, 2))
    z = w[users] + w[n_users + items] + (V[users] * V[n_users + items]).sum(axis=1)
    if is_classifier:
        return X, (rng.random(n_rows) < 1 / (1 + np.exp(-2 * z))).astype(np.float32)
    return X, (3 + z + rng.normal(0, noise, n_rows)).astype(np.float32)
