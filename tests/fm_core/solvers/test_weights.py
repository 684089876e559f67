"""Weights of rows: an integer weight is as many rows, in what is learned and in what is measured."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis.evaluation import RowEvaluation
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import available, builds, load
from fm_core.solvers.bayes.sampler import polya_gamma_of
from fm_core.solvers.bayes.solver import collect
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.fit import fit
from tests.fm_core.strategies import dense_batches, hyperparameters_for, sparse_batches

N_ROWS, N_FEATURES = 300, 24


@pytest.fixture(scope="module")
def table():
    """Rows of two categories, a regressor's labels, a classifier's, and weights that are integers."""
    rng = np.random.default_rng(0)
    X = np.zeros((N_ROWS, N_FEATURES), np.float32)
    for first in (0, N_FEATURES // 2):
        X[np.arange(N_ROWS), first + rng.integers(N_FEATURES // 2, size=N_ROWS)] = 1
    V = rng.normal(size=(N_FEATURES, 2)) / 2
    z = X @ rng.normal(size=N_FEATURES) + ((X @ V) ** 2 - X**2 @ V**2).sum(axis=1) / 2
    numbers = z + rng.normal(size=N_ROWS) / 3
    return sp.csr_matrix(X), numbers, z + rng.normal(size=N_ROWS) > 0, rng.integers(0, 4, N_ROWS)


def both(table, predictor_type):
    """The rows with their weights, and repeated."""
    X, numbers, classes, weights = table
    labels = (classes if predictor_type == "binary_classifier" else numbers).astype(np.float32)
    return Batch.from_csr(X, labels, weights), repeated(Batch.from_csr(X, labels), weights)


def repeated(batch, weights):
    """Rows as often as integers say, one behind the other."""
    return batch.with_weights(None).take(np.repeat(np.arange(batch.n_rows), weights))


def learned(batch, hp):
    """A model and the training's metrics."""
    result = fit(lambda epoch: [batch], hp)
    return result.model, result.metrics


@given(data=st.data())
@pytest.mark.parametrize("build", builds())
@pytest.mark.parametrize("batches", [sparse_batches(feature_dim=20), dense_batches(max_rows=20)])
def test_a_step_from_weighted_rows_is_one_from_repeated_rows(build, batches, data):
    batch = data.draw(batches)
    hp = data.draw(hyperparameters_for(batch.feature_dim))
    weights = np.random.default_rng(batch.n_rows).integers(1, 4, batch.n_rows)
    whole = batch.with_weights(weights.astype(np.float32))
    arrays = []
    for rows in (whole, repeated(batch, weights)):
        solver = MiniBatchSolver(hp, kernels=available()[build])
        solver.step(rows)
        arrays.append(solver.arrays())
    for name, found in arrays[0].items():
        np.testing.assert_allclose(found, arrays[1][name], rtol=2e-4, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"mini_batch_size": 100_000, "epochs": 10, "linear_lr": 0.1, "factors_lr": 0.1}, 1e-5),
        ({"solver": "bayes", "_bayes_method": "variational"}, 2e-3),  # ends by a threshold
        ({"solver": "bayes", "epochs": 40}, 1e-3),
    ],
)
def test_a_model_of_weighted_rows_is_that_of_repeated_ones(table, predictor_type, settings, tolerance):
    if settings.get("epochs") == 40 and predictor_type == "binary_classifier":
        pytest.skip("draws of Polya-Gamma numbers are others: see the next test")
    hp = Hyperparameters(feature_dim=N_FEATURES, num_factors=4, predictor_type=predictor_type, **settings)
    rows = both(table, predictor_type)
    (weighted, metrics), (plain, expected) = (learned(batch, hp) for batch in rows)
    np.testing.assert_allclose(weighted.predict(rows[0]), plain.predict(rows[0]), atol=tolerance)
    assert metrics == pytest.approx(expected, abs=10 * tolerance)
    unweighted = learned(rows[0].with_weights(None), hp)[0]
    assert np.abs(unweighted.predict(rows[0]) - plain.predict(rows[0])).max() > 30 * tolerance
    ones = learned(rows[0].with_weights(np.ones(N_ROWS, np.float32)), hp)[0]
    np.testing.assert_array_equal(ones.predict(rows[0]), unweighted.predict(rows[0]))


def test_sampled_classifiers_of_weighted_and_repeated_rows_differ_as_two_seeds_do(table):
    hp = Hyperparameters(
        feature_dim=N_FEATURES, num_factors=2, predictor_type="binary_classifier", solver="bayes", epochs=250
    )
    rows = both(table, "binary_classifier")
    weighted, plain, other, unweighted = (
        learned(batch, dataclasses.replace(hp, seed=seed))[0].predict(rows[0])
        for batch, seed in [(rows[0], 0), (rows[1], 0), (rows[1], 1), (rows[0].with_weights(None), 0)]
    )
    chance = np.abs(plain - other).mean()
    assert np.abs(weighted - plain).mean() < 2 * chance
    assert np.abs(unweighted - plain).mean() > 2 * chance


@pytest.mark.parametrize("z", [0.0, 0.02, 0.7, -3.0, 40.0])
@pytest.mark.parametrize("weight", [0.3, 1.5, 4.0])
def test_a_weighted_polya_gamma_number_has_its_mean_and_variance(z, weight):
    """Against sums of Gamma numbers, which PG(b, z) is by definition."""
    rng, n = np.random.default_rng(0), 4000
    half = np.arange(0.5, 300)
    draws = rng.standard_gamma(weight, (n, len(half))) @ (1 / (half**2 + (z / (2 * np.pi)) ** 2)) / (2 * np.pi**2)
    one = rng.standard_gamma(1, (n, len(half))) @ (1 / (half**2 + (z / (2 * np.pi)) ** 2)) / (2 * np.pi**2)
    found = polya_gamma_of(np.full(n, weight, np.float32), np.full(n, z), one.astype(np.float32), rng)
    error = draws.std() / np.sqrt(n)
    tail = weight / (2 * np.pi**2 * 300)  # of the terms that are left out
    assert found.mean() == pytest.approx(draws.mean(), abs=6 * error + tail)
    assert found.std() == pytest.approx(draws.std(), rel=0.12)
    same = polya_gamma_of(np.ones(n, np.float32), np.full(n, z), one.astype(np.float32), rng)
    np.testing.assert_array_equal(same, one.astype(np.float32))


@pytest.mark.parametrize("is_classifier", [False, True])
def test_the_online_filter_learns_from_a_row_as_often_as_it_counts(is_classifier):
    rng = np.random.default_rng(0)
    n, k, weights = 50, 3, rng.integers(0, 7, 50)
    keys = rng.integers(9, size=(n, 2)).astype(np.int32)
    keys[:, 1] += 9
    labels = (rng.random(n) < 0.5 if is_classifier else rng.normal(size=n)).astype(np.float32)
    found, first = [], rng.normal(0, 0.1, (18, k + 1)).astype(np.float32)
    for order, of_rows in ((np.arange(n), weights.astype(np.float32)), (np.repeat(np.arange(n), weights), None)):
        params, information, state = first.copy(), np.zeros_like(first), np.array([0.0, 4.0, 1.0, 0.0])
        precision, is_factor = np.full(16, 5, np.float32), np.zeros(16, np.float32)
        is_factor[:k] = 1
        m = len(order)
        load("online").filter_rows(
            np.arange(0, 2 * m + 1, 2, dtype=np.int64), keys[order].ravel(), np.ones(2 * m, np.float32), labels[order],
            params, information, precision, is_factor, state, np.empty(m, np.float32), is_classifier, of_rows,
        )  # fmt: skip
        found.append((params, information, state))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_the_online_solver_learns_with_weights(table, predictor_type):
    hp = Hyperparameters(feature_dim=N_FEATURES, num_factors=2, predictor_type=predictor_type, solver="online")
    batch = both(table, predictor_type)[0]
    weighted, unweighted = learned(batch, hp)[0], learned(batch.with_weights(None), hp)[0]
    ones = learned(batch.with_weights(np.ones(N_ROWS, np.float32)), hp)[0]
    np.testing.assert_array_equal(ones.predict(batch), unweighted.predict(batch))
    assert not np.array_equal(weighted.predict(batch), unweighted.predict(batch))
    half = batch.labels > batch.labels.mean()
    heavy = batch.with_weights(np.where(half, 9, 1).astype(np.float32))
    assert learned(heavy, hp)[0].predict(batch).mean() > unweighted.predict(batch).mean()


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@given(seed=st.integers(0, 1000), cut=st.integers(0, 30))
def test_metrics_count_rows_as_often_as_their_weights_say(predictor_type, seed, cut):
    rng = np.random.default_rng(seed)
    n, weights = 30, rng.integers(0, 4, 30)
    scores = rng.choice(np.linspace(0, 1, 7, dtype=np.float32), n)
    labels = rng.integers(0, 2, n).astype(np.float32)
    rows = Batch.from_dense(scores[:, np.newaxis], labels, weights)
    found, expected = RowEvaluation(predictor_type), RowEvaluation(predictor_type)
    # rows of weight 1 may come without weights
    plain = np.flatnonzero(weights == 1)
    parts = [rows.take(plain).with_weights(None), rows.take(np.flatnonzero(weights != 1)[:cut])]
    parts.append(rows.take(np.flatnonzero(weights != 1)[cut:]))
    for part in rng.permutation(3):
        if parts[part].n_rows:
            found.update(parts[part], lambda batch: batch.values[:, 0])
    if not weights.sum():
        return
    expected.update(repeated(rows, weights), lambda batch: batch.values[:, 0])
    assert found.values() == pytest.approx(expected.values(), nan_ok=True)
    assert found.n == n


def test_what_is_made_of_batches_keeps_their_weights():
    X = sp.random(20, 7, 0.4, "csr", np.float32, np.random.default_rng(0))
    for made in (Batch.from_csr(X, np.arange(20), np.arange(20)), Batch.from_dense(X.toarray(), None, np.arange(20))):
        assert made.slice(3, 9).weights.tolist() == [3, 4, 5, 6, 7, 8]
        assert made.take(np.array([4, 2])).weights.tolist() == [4, 2]
        assert made.copy().weights.tolist() == made.with_labels(None).weights.tolist() == list(range(20))
        assert made.without_weightless().n_rows == 19
        both = Batch.concatenate([made, made.with_weights(None)])
        assert both.weights.tolist() == [*range(20), *[1] * 20]
        assert both.nbytes > made.nbytes
        assert made.with_weights(None).weights_or_ones.tolist() == [1] * 20
        assert made.with_weights(None).without_weightless().n_rows == 20


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1, -2, 3], "row 1: the weight is -2, expected a finite number of at least 0"),
        ([np.nan, 1, 1], "row 0: the weight is nan"),
        ([1, 1, np.inf], "row 2: the weight is inf"),
        ([1, 2], "2 weights for 3 rows, expected one each"),
    ],
)
def test_weights_that_are_none_are_refused(weights, said):
    with pytest.raises(DataError, match=said):
        Batch.from_dense(np.ones((3, 2)), np.ones(3), np.array(weights, np.float32))


def test_rows_that_all_weigh_nothing_are_refused():
    batch = Batch.from_csr(sp.eye(3, format="csr", dtype=np.float32), np.arange(3), np.zeros(3))
    with pytest.raises(DataError, match="no record of a weight above 0, expected"):
        collect([batch], 3)
    with pytest.raises(DataError, match="no records"):
        fit(lambda epoch: [batch], Hyperparameters(feature_dim=3, num_factors=2, predictor_type="regressor"))


def test_a_loss_that_compares_items_refuses_weights():
    X = sp.csr_matrix(np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32))
    hp = Hyperparameters(
        feature_dim=4, num_factors=2, predictor_type="binary_classifier", loss="pairwise", user_features="0:2",
        item_features="2:4",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="the rows have weights, which loss pairwise does not support"):
        fit(lambda epoch: [Batch.from_csr(X, np.ones(2), np.ones(2))], hp)


def test_the_weight_of_a_class_is_that_of_its_rows(table):
    batch = both(table, "binary_classifier")[0]
    known = {"feature_dim": N_FEATURES, "num_factors": 2, "predictor_type": "binary_classifier", "mini_batch_size": 40}
    for given_weights in (None, batch.weights):
        rows = batch.with_weights(given_weights)
        by_hand = rows.with_weights(rows.weights_or_ones * np.where(rows.labels > 0, np.float32(3), np.float32(1)))
        hp = Hyperparameters(**known, epochs=3)
        told = fit(lambda epoch: rows.split(40), dataclasses.replace(hp, positive_class_weight=3))  # noqa: B023
        expected = fit(lambda epoch: by_hand.split(40), hp)  # noqa: B023
        np.testing.assert_array_equal(told.model.V, expected.model.V)
        assert told.metrics == expected.metrics
    for other in ({"predictor_type": "regressor"}, {"loss": "warp", "user_features": "0:2", "item_features": "2:4"}):
        with pytest.raises(ConfigError, match=r"but positive_class_weight needs .*: remove"):
            Hyperparameters(**known | other, positive_class_weight=2)
