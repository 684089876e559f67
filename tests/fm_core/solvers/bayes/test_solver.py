"""The solver as a whole: the model of its samples' mean, as many sweeps as needed, and spread that is calibrated."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.artifact.model_file import load_model, save_model
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.solvers.bayes import convergence
from fm_core.solvers.bayes.solver import BayesSolver, sample_model
from tests.fm_core.solvers.bayes.problems import ratings, rows_of

TYPES = {False: "regressor", True: "binary_classifier"}


def split(is_classifier=False, n=5000):
    X, y = ratings(80, 50, n, is_classifier=is_classifier)
    cut = int(0.8 * n)
    return rows_of(X[:cut], y[:cut], size=1000), Batch.from_csr(X[cut:].astype(np.float32)), y[cut:]


def test_a_planted_regression_is_learned_with_a_calibrated_spread(tmp_path):
    rows, batch, y = split()
    solver = sample_model(rows, "regressor", 8)
    scores = solver.model.predict(batch)
    assert np.sqrt(np.mean((scores - y) ** 2)) < 0.36  # the noise is .3
    std = solver.spread.std(batch)
    assert 0.87 < np.mean(np.abs(scores - y) < 1.645 * std) < 0.94
    assert np.isfinite(solver.outlook.effective)
    save_model(tmp_path / "model_algo-1", solver.model, {})
    np.testing.assert_array_equal(load_model(tmp_path / "model_algo-1").predict(batch), scores)


def test_sweeps_end_sooner_where_each_takes_long(monkeypatch):
    rows, _, _ = split(n=2000)
    n_sweeps = sample_model(rows, "regressor", 4).n_steps
    monkeypatch.setattr(convergence, "WALKED", 1.0)
    solver = sample_model(rows, "regressor", 4)
    assert solver.n_steps < n_sweeps
    assert convergence.TOLERANCE < solver.outlook.cost <= 3 * convergence.TOLERANCE


def test_a_planted_classification_is_learned():
    rows, batch, y = split(is_classifier=True)
    solver = sample_model(rows, "binary_classifier", 8, n_sweeps=120)
    p = np.clip(solver.model.predict(batch).astype(float), 1e-9, 1 - 1e-9)
    entropy = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    share = rows.labels.mean()
    constant = -np.mean(y * np.log(share) + (1 - y) * np.log(1 - share))
    assert entropy < 0.8 * constant
    # as many as are said to be: the mean probability of those above and below one half
    for part in (p > 0.5, p <= 0.5):
        assert abs(p[part].mean() - y[part].mean()) < 0.06
    assert ((solver.spread.std(batch) > 0) & (solver.spread.std(batch) < 0.5)).all()


@pytest.mark.parametrize("is_classifier", [False, True])
def test_the_model_is_the_mean_of_its_samples(is_classifier):
    rows, _, _ = split(is_classifier, 2000)
    solver = BayesSolver(rows, TYPES[is_classifier], 16, 60, 1)
    for _ in range(60):
        solver.sweep()
    model, mean = solver.model, solver.scores()
    X, _ = ratings(80, 50, 2000, is_classifier=is_classifier)
    found = model.predict(Batch.from_csr(X[:1600].astype(np.float32)))
    # of a classifier, it is the mean probability that one scaled score comes near to
    assert np.sqrt(np.mean((found - mean) ** 2)) < (0.15 if is_classifier else 0.03) * mean.std()


@pytest.mark.parametrize("is_classifier", [False, True])
def test_threads_do_not_change_a_bit_of_the_model(is_classifier):
    rows, _, _ = split(is_classifier, 1000)
    models = [sample_model(rows, TYPES[is_classifier], 5, 30, 7, n).model for n in (1, 3)]
    assert models[0].w0 == models[1].w0
    assert models[0].V.tobytes() == models[1].V.tobytes()


def test_a_feature_that_never_occurred_has_what_its_group_has_in_common():
    rows, _, _ = split()
    assert rows.feature_dim == 130
    X, y = ratings(80, 50, 5000)
    X = sp.hstack([X[:, :80], sp.csr_matrix((5000, 1)), X[:, 80:]]).tocsr()
    solver = sample_model(rows_of(X, y, size=1000), "regressor", 8, 60)
    new = Batch.from_csr(sp.csr_matrix(([1.0, 1.0], [80, 90], [0, 2]), (1, 131)).astype(np.float32))
    known = Batch.from_csr(sp.csr_matrix(([1.0, 1.0], [3, 90], [0, 2]), (1, 131)).astype(np.float32))
    assert abs(solver.model.predict(new)[0] - y.mean()) < 2
    assert solver.spread.std(new)[0] > 1.3 * solver.spread.std(known)[0]


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.eye(4), [1, 1, 1, 1]),
        (np.eye(4), [0, 1, 0, 1]),
        (np.ones((1, 3)), [1]),
        (np.zeros((3, 2)), [0, 1, 1]),
        (np.repeat(np.eye(2), 3, axis=1), [0, 1]),
        (np.eye(4) * 1e30, [0, 1, 1, 0]),
        (np.eye(4) * 1e-30, [0, 1, 1, 0]),
    ],
    ids=["one class", "separable", "one row", "empty rows", "columns alike", "huge values", "tiny values"],
)
@pytest.mark.parametrize("is_classifier", [False, True])
def test_odd_data_gives_a_finite_model(X, y, is_classifier):
    y = np.array(y, np.float32)
    solver = sample_model(rows_of(X, y), TYPES[is_classifier], 6, 60)
    model = solver.model
    scores = model.predict(Batch.from_csr(sp.csr_matrix(X.astype(np.float32))))
    assert np.isfinite(scores).all()
    assert np.isfinite(model.V).all()
    assert np.isfinite(model.w).all()
    if is_classifier:
        assert ((scores > 0) & (scores < 1)).all()


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(DataError, match="row 1: the label is 2"):
        sample_model(rows_of(np.eye(2), np.array([0, 2])), "binary_classifier", 2)


@pytest.mark.parametrize("is_classifier", [False, True])
def test_what_rows_of_many_columns_lose_alike_is_in_the_bias(is_classifier):
    """Twenty columns, whose interactions are of a higher rank than the model's."""
    rng = np.random.default_rng(0)
    n, n_columns, n_values = 1500, 20, 12
    keys = rng.integers(n_values, size=(n, n_columns)) + n_values * np.arange(n_columns)
    X = np.zeros((n, n_columns * n_values), np.float32)
    X[np.arange(n)[:, np.newaxis], keys] = 1
    V = rng.normal(0.25, 0.5, (n_columns * n_values, 12))
    z = ((X @ V) ** 2 - X**2 @ V**2).sum(axis=1) / 2
    z = (z - z.mean()) / z.std()
    labels = rng.random(n) < 1 / (1 + np.exp(-2 * z)) if is_classifier else z + rng.normal(size=n) / 4
    rows = rows_of(sp.csr_matrix(X), labels.astype(np.float32), size=500)
    solver = sample_model(rows, TYPES[is_classifier], 4, n_sweeps=60)
    found = solver.model.predict(Batch.from_csr(sp.csr_matrix(X))).astype(float)
    assert abs(found.mean() - solver.scores().mean()) < 0.02


def table(n, n_columns=10, n_values=39, seed=0, with_pair=False):
    """Columns of a table in bins, one-hot, of which five say something, and two of them as a pair; and labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_columns))
    z = sum(np.sin(2 * x[:, j]) if j % 2 else x[:, j] for j in range(5)) + with_pair * x[:, 0] * x[:, 1]
    keys = np.floor(n_values / (1 + np.exp(-1.7 * x))).astype(int) + n_values * np.arange(n_columns)
    X = np.zeros((n, n_columns * n_values), np.float32)
    X[np.arange(n)[:, np.newaxis], keys] = 1
    return sp.csr_matrix(X), (z + rng.normal(size=n) / 2).astype(np.float32)


@pytest.mark.parametrize(("n_sweeps", "share"), [(20, 0.6), (60, 0.4)])
def test_a_chain_does_not_begin_with_factors_larger_than_labels(n_sweeps, share):
    """Of a precision of 1 it took some hundred sweeps to come back: 60 of them ended worse than the mean."""
    X, y = table(1600)
    solver = sample_model(rows_of(X[:900], y[:900], size=300), "regressor", 8, n_sweeps)
    solver.score_range = None  # which would help
    scores = solver.model.predict(Batch.from_csr(X[900:]))
    assert np.sqrt(np.mean((scores - y[900:]) ** 2)) < share * y[900:].std()


def test_a_chain_still_finds_a_pair_of_columns():
    X, y = table(1600, with_pair=True)
    solver = sample_model(rows_of(X[:900], y[:900], size=300), "regressor", 8, 400)
    scores = solver.model.predict(Batch.from_csr(X[900:]))
    assert np.sqrt(np.mean((scores - y[900:]) ** 2)) < 0.45 * y[900:].std()  # without the pair .55


@pytest.mark.parametrize("method", ["gibbs", "variational"])
def test_no_score_is_beyond_what_labels_make_believable(method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    y = np.clip(np.round(2 + X[:, 0] * X[:, 1] + X[:, 2]), 0, 5).astype(np.float32)
    solver = sample_model(rows_of(X, y, size=100), "regressor", 4, 30, method=method)
    assert solver.score_range == (0, 5)
    far = solver.model.predict(Batch.from_dense(rng.normal(0, 50, (200, 4)).astype(np.float32)))
    assert (far.min(), far.max()) == (0, 5)
    assert ((solver.scores() >= 0) & (solver.scores() <= 5)).all()
    assert sample_model(rows_of(X, (y > 2).astype(np.float32)), "binary_classifier", 4, 5).score_range is None


@pytest.mark.parametrize("method", ["gibbs", "variational"])
def test_scores_beyond_float32_are_brought_within_it_without_a_warning(method):
    X, y = table(150)
    rows = rows_of(X, y / np.abs(y).max() * 3.4e38, size=50)
    solver = BayesSolver(rows, "regressor", 4, None, 0, method=method)
    for _ in range(12):
        solver.sweep()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isfinite(solver.scores()).all()
        assert np.isfinite(solver.model.predict(Batch.from_csr(X))).all()
