"""Folding in against the densities it maximises, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from fm_core.analysis.fold_in import RIDGE, SPREAD, TRIED, USUAL, Population, fold_in
from fm_core.analysis.ranking import Contexts, contexts_of
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.model import Model

N_USERS, N_ITEMS = 60, 40


def make(seed, k, predictor_type="regressor"):
    random = np.random.default_rng(seed)
    d = N_USERS + N_ITEMS
    V = random.standard_normal((d, k)).astype(np.float32)
    V[:N_USERS] = V[:N_USERS] * random.uniform(0.1, 1, k) + random.standard_normal(k)
    return Model(predictor_type, 0.3, random.standard_normal(d).astype(np.float32), V.astype(np.float32))


def rows_of(model, items):
    items = np.asarray(items)
    return contexts_of(
        model,
        Batch(
            model.feature_dim,
            np.ones(len(items), np.float32),
            np.arange(len(items) + 1),
            (N_USERS + items).astype(np.int32),
        ),
    )


def users_of(model):
    return np.column_stack([model.w[:N_USERS], model.V[:N_USERS]]).astype(np.float64)


def design(model, items):
    """The scores of rows of a user with parameters t are ``offset + Z @ t``."""
    features = N_USERS + np.asarray(items)
    Z = np.column_stack([np.ones(len(features)), model.V[features]]).astype(np.float64)
    return Z, model.w0 + model.w[features].astype(np.float64)


def test_a_population_has_the_mean_and_covariance_of_its_features():
    model = make(0, 5)
    population = Population.of(model, range(N_USERS))
    T = users_of(model)
    covariance = np.cov(T.T, bias=True)
    ridge = RIDGE * np.trace(covariance) / 6
    assert population.mean == pytest.approx(T.mean(axis=0))
    assert population.root @ population.root.T == pytest.approx(covariance + ridge * np.eye(6))


def test_a_large_population_is_looked_at_in_blocks(monkeypatch):
    monkeypatch.setattr("fm_core.arrays.BLOCK_BYTES", 100)
    model = make(0, 5)
    assert Population.of(model, range(3, 50)).mean == pytest.approx(users_of(model)[3:50].mean(axis=0))


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 25))
def test_a_regressors_user_is_the_most_probable_one(seed, k, n):
    model, random = make(seed, k), np.random.default_rng(seed)
    items, labels = random.integers(0, N_ITEMS, n), random.standard_normal(n) * 2
    population = Population.of(model, range(N_USERS))
    folded = fold_in(population, rows_of(model, items), labels, is_classifier=False)

    Z, offset = design(model, items)
    covariance = population.root @ population.root.T
    of_labels = Z @ covariance @ Z.T
    tried = np.trace(of_labels) / n * USUAL * TRIED
    evidence = [
        stats.multivariate_normal(offset + Z @ population.mean, of_labels + s * np.eye(n)).logpdf(labels)
        - 0.5 * (np.log(s / tried[10]) / SPREAD) ** 2
        for s in tried
    ]
    s = tried[int(np.argmax(evidence))]
    precision = np.linalg.inv(covariance)
    expected = np.linalg.solve(Z.T @ Z / s + precision, Z.T @ (labels - offset) / s + precision @ population.mean)
    assert [folded.w, *folded.v] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 25))
def test_a_classifiers_user_is_the_most_probable_one(seed, k, n):
    model, random = make(seed, k, "binary_classifier"), np.random.default_rng(seed)
    items, labels = random.integers(0, N_ITEMS, n), random.integers(0, 2, n).astype(np.float64)
    population = Population.of(model, range(N_USERS))
    folded = fold_in(population, rows_of(model, items), labels, is_classifier=True)

    Z, offset = design(model, items)

    def loss(a):
        z = offset + Z @ (population.mean + population.root @ a)
        return np.logaddexp(0, z).sum() - labels @ z + 0.5 * a @ a

    expected = optimize.minimize(loss, np.zeros(k + 1), method="BFGS", options={"gtol": 1e-7}).x
    a = np.linalg.solve(population.root, np.array([folded.w, *folded.v]) - population.mean)
    assert loss(a) <= loss(expected) + 1e-7


def test_newton_is_held_back_where_it_would_overshoot():
    rows = np.array([[30.0], [-30.0], [30.0]])
    offset, labels = np.array([40.0, 40.0, 40.0]), np.array([0.0, 0.0, 0.0])
    # only v is unknown, of one factor: the score of a row is its offset and v times its sum
    population = Population(np.zeros(2), np.array([[0.0, 0.0], [0.0, 1.0]]))
    a = fold_in(population, Contexts(offset, rows, Batch.empty(1)), labels, is_classifier=True).v
    p = 1 / (1 + np.exp(-(offset + rows @ a)))
    assert rows.T @ (p - labels) + a == pytest.approx([0], abs=1e-5)


@pytest.mark.parametrize("is_classifier", [False, True])
def test_without_labels_a_user_is_the_mean_one(is_classifier):
    model = make(1, 4)
    folded = fold_in(Population.of(model, range(N_USERS)), rows_of(model, []), np.empty(0), is_classifier=is_classifier)
    assert [folded.w, *folded.v] == pytest.approx(users_of(model).mean(axis=0))


@pytest.mark.parametrize("is_classifier", [False, True])
def test_contradictory_labels_meet_in_the_middle(is_classifier):
    model = make(2, 4)
    population = Population.of(model, range(N_USERS))

    def score(*labels):
        rows = rows_of(model, [3] * len(labels))
        folded = fold_in(population, rows, np.array(labels, np.float64), is_classifier=is_classifier)
        return next(iter(rows_of(model, [3]))).joined_by(folded.w, folded.v).own

    assert score(0, 0) < score(0, 1) < score(1, 1)


def test_a_population_of_one_leaves_little_room():
    model = make(3, 4)
    population = Population.of(model, range(7, 8))
    folded = fold_in(population, rows_of(model, [1, 2]), np.array([5.0, -5.0]), is_classifier=False)
    assert [folded.w, *folded.v] == pytest.approx(users_of(model)[7], abs=0.1)


@pytest.mark.parametrize(
    ("labels", "is_classifier", "sentence"),
    [
        ([1.0, np.nan], False, "label 1 is nan, expected a finite number"),
        ([2.0, 1.0], True, "label 0 is 2, expected 0 or 1"),
    ],
)
def test_other_labels_are_refused(labels, is_classifier, sentence):
    model = make(4, 2)
    with pytest.raises(DataError, match=sentence):
        fold_in(Population.of(model, range(N_USERS)), rows_of(model, [1, 2]), np.array(labels),
                is_classifier=is_classifier)  # fmt: skip


def test_users_folded_in_are_scored_as_well_as_those_that_were_there():
    """Labels of a known model and noise: its users, taken away and folded in, come back near where they were."""
    model, random = make(5, 6), np.random.default_rng(5)
    population = Population.of(model, range(N_USERS // 2))
    errors, usual = [], []
    for user in range(N_USERS // 2, N_USERS):
        items = random.permutation(N_ITEMS)
        Z, offset = design(model, items)
        truth = offset + Z @ users_of(model)[user]
        labels = truth + 0.3 * random.standard_normal(N_ITEMS)
        folded = fold_in(population, rows_of(model, items[:30]), labels[:30], is_classifier=False)
        errors.append((offset + Z @ np.append(folded.w, folded.v) - truth)[30:])
        usual.append((offset + Z @ population.mean - truth)[30:])
    assert np.square(errors).mean() < 0.1 * np.square(usual).mean()
