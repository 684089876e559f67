"""Small data of every kind, nothing given: no default is worse than a constant on rows that were not learned from.

Each kind is drawn anew, half of it to learn from. A regressor is held to a tenth more than the error of the training
labels' mean, a classifier to .05 more than the cross entropy of their share: what chance makes of so few rows. What is
not held here: values whose logarithm has a deviation of 2 and more, by which a factorization machine of the values
themselves is misled (docs/explanation/bayes.md).
"""

import zlib

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.errors import FMError
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.fit import fit

N = 400


def fields(rng, n=N, sizes=(20, 30)):
    """One-hot rows, and what the first field says."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    chosen = [rng.integers(size, size=n) for size in sizes]
    keys = np.column_stack([offset + key for offset, key in zip(offsets, chosen, strict=False)])
    X = sp.csr_matrix(
        (np.ones(keys.size), keys.ravel(), np.arange(0, keys.size + 1, len(sizes))), (n, int(offsets[-1]))
    )
    return X, rng.normal(size=sizes[0])[chosen[0]]


def normal(rng, width=6, n=N):
    X = rng.normal(size=(n, width))
    return X, X[:, 0] + X[:, 1] * X[:, 2 % width]


def shifted(rng):
    X, z = normal(rng)
    return X + 5, z


def wide(rng):
    X, _ = normal(rng, 1000, 240)
    return X, X[:, :5].sum(axis=1)


def wide_of_few_rows(rng):
    X, _ = normal(rng, 20_000, 30)
    return X, X[:, 0]


def wide_positive(rng):
    X = rng.random((240, 1000))
    return X, X[:, :5].sum(axis=1)


def sparse_wide(rng):
    return fields(rng, sizes=(30, 3000, 20_000))


def heavy_tails(rng):
    X = np.exp(rng.normal(size=(N, 6)))
    return X, np.log(X[:, 0]) + np.log(X[:, 1])


def extreme_rows(rng):
    X = rng.normal(3, 1, (N, 5))
    z = X[:, 0] + X[:, 1] * X[:, 2]
    X[:8] *= 300  # both halves have some
    return X, z


def duplicated(rng):
    X, z = normal(rng)
    return np.hstack([X] + [X[:, :1]] * 5), z


def scales(rng):
    X, z = normal(rng, 7)
    return (X + 2) * 10.0 ** np.arange(-9, 12, 3), z


def constant_of_a_billion(rng):
    X, z = normal(rng)
    return np.hstack([X, np.full((N, 1), 1e9)]), z


def times(rng):
    X, z = normal(rng)
    seconds = 3e7 * rng.random((N, 1))
    return np.hstack([X, 1.7e9 + seconds]), z + seconds[:, 0] / 1e7


def times_of_fields(rng):
    X, z = fields(rng)
    return sp.hstack([X, sp.csr_matrix(1.7e9 + 3e7 * rng.random((N, 1)))]), z


def embeddings(rng):
    X, _ = normal(rng, 384, 240)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, X[:, :20].sum(axis=1)


def embeddings_of_few_themes(rng):
    themes = rng.normal(size=(240, 10))
    X = themes @ rng.normal(size=(10, 384)) + rng.normal(0, 2, 384)
    return X / np.linalg.norm(X, axis=1, keepdims=True), themes[:, 0]


def mixed(rng):
    X, z = fields(rng)
    dense, own = normal(rng, 4)
    return sp.hstack([X, sp.csr_matrix(dense + 1)]), z + own


def hashed_text(rng):
    share = 1 / np.arange(1, 2**14 + 1)
    lengths = rng.integers(3, 40, N)
    keys = rng.choice(2**14, lengths.sum(), p=share / share.sum())
    X = sp.csr_matrix((np.ones(len(keys)), keys, np.concatenate([[0], np.cumsum(lengths)])), (N, 2**14))
    X.sum_duplicates()
    return X, X @ rng.normal(size=2**14)


def pixels(rng):
    X = np.floor(256 * rng.random((240, 300)) * (rng.random((240, 300)) < 0.4))
    return X, X[:, :5].sum(axis=1)


def sparse_pixels(rng):
    X, z = pixels(rng)
    return sp.csr_matrix(X), z


def counts(rng):
    X = rng.poisson(3, (N, 8)).astype(float)
    return X, X[:, 0] - X[:, 1]


def all_rows_alike(rng):
    return np.tile([1.0, 2, 3], (N, 1)), rng.normal(size=N)


def nothing_to_learn(rng):
    return rng.normal(size=(N, 20)), rng.normal(size=N)


def nothing_to_learn_of_fields(rng):
    return fields(rng, sizes=(40, 50, 60))[0], rng.normal(size=N)


def one_row(rng):
    return rng.normal(size=(2, 3)), np.ones(2)


KINDS = (normal, shifted, wide, wide_of_few_rows, wide_positive, fields, sparse_wide, heavy_tails, extreme_rows,
         duplicated, scales, constant_of_a_billion, times, times_of_fields, embeddings, embeddings_of_few_themes, mixed,
         hashed_text, pixels, sparse_pixels, counts, all_rows_alike, nothing_to_learn, nothing_to_learn_of_fields,
         one_row)  # fmt: skip

#: By what a regressor's labels are drawn from what is planted.
LABELS = {
    "plain": lambda z: z,
    "prices": lambda z: 200_000 + 80_000 * z,
    "huge": lambda z: 1e30 * (1 + z),
    "tiny": lambda z: 1e-30 * (1 + z),
    "counts": lambda z: np.floor(np.exp(np.clip(z, -2, 2))),
}


def drawn(make, labels):
    """Rows to learn from, and rows held out."""
    rng = np.random.default_rng(zlib.crc32(f"{make.__name__} {labels}".encode()))
    X, z = make(rng)
    z = (z - z.mean()) / (z.std() or 1) + rng.normal(0, 0.5, len(z))
    y = {"classes": lambda z: z > 0, "rare": lambda z: z > np.quantile(z, 0.99), **LABELS}[labels](z)
    X, y = sp.csr_matrix(X, dtype=np.float32) if sp.issparse(X) else X.astype(np.float32), y.astype(np.float32)
    order = rng.permutation(len(y))
    halves = order[: len(y) // 2], order[len(y) // 2 :]
    return [(X[half], y[half]) for half in halves]


def batch(X, y=None):
    return Batch.from_csr(X, y) if sp.issparse(X) else Batch.from_dense(X, y)


def of_job(solver, X, y, kind):
    """Learn as a job does that is given nothing but a solver."""
    hp = Hyperparameters(feature_dim=X.shape[1], num_factors=8, predictor_type=kind, epochs=None, **solver)
    whole = batch(X, y)
    return fit(lambda epoch: whole.split(1000), hp).model.predict


def of_estimator(X, y, kind):
    pytest.importorskip("sklearn")
    from fm_core import FMClassifier, FMRegressor

    if kind == "regressor":
        model = FMRegressor(num_factors=8).fit(X, y).model_
    else:
        model = FMClassifier(num_factors=8).fit(X, y).model_
    return model.predict


def check(X, y, Xt, yt, predict, kind):
    scores, labels = predict(batch(Xt)).astype(np.float64), yt.astype(np.float64)
    assert np.isfinite(scores).all()
    if kind == "regressor":
        size = max(float(np.abs(labels).max()), 1e-300)
        errors = [np.sqrt(np.mean(((found - labels) / size) ** 2)) for found in (scores, y.mean(dtype=np.float64))]
        assert errors[0] <= 1.1 * errors[1] + 1e-4
        return
    share = (y.sum() + 0.5) / (len(y) + 1)
    losses = [
        -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)) for p in (np.clip(scores, 1e-9, 1 - 1e-9), share)
    ]
    assert losses[0] <= losses[1] + 0.05


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("make", KINDS)
def test_what_a_job_of_solver_auto_learns_is_no_worse_than_a_constant(make, kind):
    (X, y), (Xt, yt) = drawn(make, "plain" if kind == "regressor" else "classes")
    check(X, y, Xt, yt, of_job({"solver": "auto"}, X, y, kind), kind)


@pytest.mark.parametrize("labels", ["prices", "huge", "tiny", "counts", "rare"])
@pytest.mark.parametrize("make", [normal, fields, mixed])
def test_labels_of_any_scale_are_learned_by_jobs_and_estimators(make, labels):
    kind = "binary_classifier" if labels == "rare" else "regressor"
    (X, y), (Xt, yt) = drawn(make, labels)
    check(X, y, Xt, yt, of_job({"solver": "auto"}, X, y, kind), kind)
    if y.min() == y.max():  # as scikit-learn's classifiers
        with pytest.raises(ValueError, match="y has 1 class"):
            of_estimator(X, y, kind)
        return
    check(X, y, Xt, yt, of_estimator(X, y, kind), kind)


@pytest.mark.parametrize("make", [shifted, wide, extreme_rows, scales, times, embeddings, pixels])
def test_what_the_estimators_learn_is_no_worse_than_a_constant(make):
    for kind, labels in (("regressor", "prices"), ("binary_classifier", "classes")):
        (X, y), (Xt, yt) = drawn(make, labels)
        check(X, y, Xt, yt, of_estimator(X, y, kind), kind)


@pytest.mark.parametrize("method", ["gibbs", "variational"])
@pytest.mark.parametrize("make", [fields, sparse_wide, hashed_text, times_of_fields, mixed, counts, all_rows_alike,
                                  nothing_to_learn_of_fields, duplicated, one_row])  # fmt: skip
def test_what_solver_bayes_learns_is_no_worse_than_a_constant(make, method):
    for kind, labels in (("regressor", "prices"), ("binary_classifier", "classes")):
        (X, y), (Xt, yt) = drawn(make, labels)
        check(X, y, Xt, yt, of_job({"solver": "bayes", "_bayes_method": method}, X, y, kind), kind)


def test_what_cannot_be_learned_is_refused_in_one_sentence():
    X, _ = fields(np.random.default_rng(0), 10)
    for solver in ({"solver": "auto"}, {"solver": "bayes"}):
        with pytest.raises(FMError) as caught:
            of_job(solver, X.astype(np.float32), np.full(10, np.nan, np.float32), "regressor")
        assert "\n" not in str(caught.value)
