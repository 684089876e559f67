"""The deterministic relative of the sampler: closed forms, the bound that only rises, and the solver around it."""

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.solvers.bayes.solver import BayesSolver, sample_model
from fm_core.solvers.bayes.variational import Variational
from tests.fm_core.solvers.bayes.problems import ratings, rows_of

TYPES = {False: "regressor", True: "binary_classifier"}


def test_linear_weights_have_the_posterior_of_a_ridge_regression():
    """Rows of one feature have no pairs, and the bias is known: independent normals are exact."""
    rng = np.random.default_rng(1)
    X = sp.csr_matrix((rng.choice([0.5, 1.0, 2.0], 4000), rng.integers(4, size=4000), np.arange(4001)), (4000, 4))
    y = X @ np.array([1.0, -2, 0.5, 0]) + rng.normal(0, 0.5, 4000)
    rows = rows_of(X, y, size=500)
    found = Variational(rows, 2, False, 0)
    for _ in range(60):
        found.sweep()
    C = sp.csc_matrix((rows.values, rows.rows, rows.starts), (4000, 4)).toarray().astype(float)
    targets = (rows.labels - found.units.mean) / found.units.scale - found.w0
    precision = found.priors.precision[0, -1] + found.alpha * (C**2).sum(axis=0)
    mean = (found.priors.precision[0, -1] * found.priors.mean[0, -1] + found.alpha * C.T @ targets) / precision
    np.testing.assert_allclose(found.params[:, -1], mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.variances[:, -1], 1 / precision, rtol=1e-2)
    assert found.units.scale / np.sqrt(found.alpha) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("is_classifier", [False, True])
def test_a_planted_model_is_learned_as_by_sampling(is_classifier):
    X, y = ratings(80, 50, 5000, is_classifier=is_classifier)
    rows, batch, y = rows_of(X[:4000], y[:4000], size=1000), Batch.from_csr(X[4000:].astype(np.float32)), y[4000:]
    losses, solvers = [], []
    for method in ("variational", "gibbs"):
        solver = sample_model(
            rows, TYPES[is_classifier], 8, n_sweeps=None if method == "variational" else 100, method=method
        )
        found = solver.model.predict(batch).astype(float)
        losses.append(
            -np.mean(np.log(np.where(y > 0.5, found, 1 - found))) if is_classifier else np.mean((found - y) ** 2)
        )
        solvers.append(solver)
    assert losses[0] < 1.05 * losses[1]
    assert 10 <= solvers[0].n_steps <= 200
    std = solvers[0].spread.std(batch)
    assert np.isfinite(std).all()
    if not is_classifier:
        assert 0.85 < np.mean(np.abs(solvers[0].model.predict(batch) - y) < 1.645 * std) < 0.95


@pytest.mark.parametrize("is_classifier", [False, True])
def test_it_is_the_same_for_any_number_of_threads_and_goes_on_where_it_was(is_classifier):
    X, y = ratings(is_classifier=is_classifier)
    rows = rows_of(X, y)

    def begun(threads):
        return BayesSolver(rows, TYPES[is_classifier], 5, None, 3, threads, method="variational")

    whole, other = begun(1), begun(3)
    for i in range(40):
        whole.sweep()
        other.sweep()
        if i == 20:
            kept = {name: array.copy() for name, array in other.arrays().items()}
            other = begun(2)
            other.restore(kept)
    for a, b in ((whole.model.V, other.model.V), (whole.model.w, other.model.w), (whole.scores(), other.scores())):
        np.testing.assert_array_equal(a, b)
    assert whole.model.w0 == other.model.w0


@pytest.mark.parametrize("is_classifier", [False, True])
@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.zeros((3, 2)), [0, 1, 1]), (np.ones((1, 1)), [1]), (np.eye(2), [1, 1]), (np.ones((4, 3)), [0, 1, 0, 1]),
        (np.eye(3) * 1e6, [1, 0, 1]), (np.tril(np.ones((9, 9))), [0, 0, 0, 0, 1, 1, 1, 1, 1]),
    ],
)  # fmt: skip
def test_odd_data_gives_a_finite_model(X, y, is_classifier):
    solver = sample_model(rows_of(X, np.array(y, np.float32)), TYPES[is_classifier], 3, 30, method="variational")
    for numbers in (solver.model.w0, solver.model.w, solver.model.V, solver.scores()):
        assert np.isfinite(numbers).all()
