"""The chain against closed forms, against the joint distribution it must leave unchanged, and with any threads."""

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.kernels import _polya_gamma
from fm_core.solvers.bayes import priors as priors_module
from fm_core.solvers.bayes import sampler as sampler_module
from fm_core.solvers.bayes.priors import Priors
from fm_core.solvers.bayes.randomness import WEIGHTS, key
from fm_core.solvers.bayes.sampler import Sampler, Units
from tests.fm_core.solvers.bayes.problems import ratings, rows_of


def chain(X, y, num_factors=2, is_classifier=False, seed=0, num_threads=1, **options):
    return Sampler(rows_of(X, y, **options), num_factors, is_classifier, seed, num_threads)


def test_linear_weights_have_the_posterior_of_a_ridge_regression(monkeypatch):
    rng = np.random.default_rng(1)
    # a row has one feature: nothing interacts, and values differ
    X = sp.csr_matrix((rng.choice([0.5, 1.0, 2.0], 40), rng.integers(4, size=40), np.arange(41)), (40, 4))
    y = X @ np.array([1, -1, 0.5, 2]) + rng.normal(0, 0.5, 40)
    monkeypatch.setattr(Priors, "draw", lambda *_: None)
    monkeypatch.setattr(sampler_module, "NOISE", (2e9, 1e9))  # alpha is 2
    monkeypatch.setattr(sampler_module, "OF_BIAS", 30.0)  # w0 and the weights would follow each other for long
    rows = rows_of(X, y)
    c = Sampler(rows, 1, False, 0)
    c.params[:, 0] = 0
    kept = []
    for i in range(8000):
        c.sweep(False)
        if i >= 100:
            kept.append([c.w0, *c.params[:, 1]])
    typical = rows.typical[rows.groups]
    A = np.column_stack([np.ones(40), X.toarray() / typical])
    target = (y.astype(np.float32) - c.units.mean) / c.units.scale
    P = np.diag([30, 1, 1, 1, 1]) + 2 * A.T @ A
    mean, covariance = np.linalg.solve(P, 2 * A.T @ target), np.linalg.inv(P)
    np.testing.assert_allclose(np.mean(kept, axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(np.transpose(kept)), covariance, atol=0.005)


def test_groups_have_the_posterior_of_their_precisions():
    """With the shape and rate of all precisions known, one group's is Gamma in closed form."""
    rng = np.random.default_rng(2)
    n, theta = np.array([50.0]), rng.normal(0.3, 0.5, (50, 2))
    priors = Priors.begin(1, 1)
    found = []
    for _ in range(4000):
        priors.draw(n, theta.sum(axis=0)[None], (theta**2).sum(axis=0)[None], rng)
        found.append([*priors.mean[0], *priors.precision[0]])
    mean, precision = np.split(np.mean(found, axis=0), 2)
    np.testing.assert_allclose(mean, theta.sum(axis=0) / 51, atol=0.01)
    np.testing.assert_allclose(precision, 1 / theta.var(axis=0), rtol=0.1)


def test_alike_groups_lean_on_each_other_and_others_do_not():
    def worth(sizes):
        rng = np.random.default_rng(3)
        n = np.full(len(sizes), 40.0)
        theta = rng.normal(size=(len(sizes), 40, 3)) * np.asarray(sizes)[:, None, None]
        priors = Priors.begin(len(sizes), 2)
        drawn = []
        for _ in range(300):
            priors.draw(n, theta.sum(axis=1), (theta**2).sum(axis=1), rng)
            drawn.append(priors.worth[0])
        return np.median(drawn)

    assert worth(np.ones(20)) >= 32
    assert worth(np.geomspace(0.01, 100, 20)) <= 2


@pytest.mark.parametrize("is_classifier", [False, True])
def test_the_joint_distribution_is_left_unchanged(monkeypatch, is_classifier):
    """J. Geweke, "Getting It Right", JASA 99, 2004: of a draw from the prior, labels and sweeps make another one.

    Vague priors would make it hopeless: narrower ones here, by the same code.
    """
    monkeypatch.setattr(priors_module, "VAGUE", 8.0)
    monkeypatch.setattr(priors_module, "WORTH", np.array([8.0, 16.0]))
    monkeypatch.setattr(sampler_module, "NOISE", (10.0, 5.0))
    monkeypatch.setattr(sampler_module, "OF_BIAS", 4.0)
    monkeypatch.setattr(Units, "of_labels", classmethod(lambda cls, labels, weights: cls(0.0, 1.0)))
    rng = np.random.default_rng(4)
    k, n_features, n_groups = 2, 5, 2
    X = np.array([[1, 0, 1, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 2, 1], [1, 0, 0, 0.5, 0], [0, 0, 0, 0, 0]])

    def prior():
        nu, typical = rng.choice([8.0, 16.0], 2), rng.gamma(8.0, size=2) / 8
        shape = np.append([nu[0] / 2] * k, nu[1] / 2)
        rate = shape * np.append([typical[0]] * k, typical[1])
        precision = rng.gamma(shape, size=(n_groups, k + 1)) / rate
        mean = rng.normal(size=(n_groups, k + 1)) / np.sqrt(precision)
        theta = mean[rows.groups] + rng.normal(size=(n_features, k + 1)) / np.sqrt(precision[rows.groups])
        return mean, precision, theta, rng.normal() / 2, 1.0 if is_classifier else rng.gamma(10.0) / 5

    def told():
        numbers = np.concatenate([[c.w0], latent(), c.params.ravel(), c.priors.mean.ravel()]).astype(float)
        bounded = np.tanh(numbers)  # products of normal numbers have heavy tails
        pairs = np.tanh([c.params[0, :k] @ c.params[2, :k], c.params[1, k] * c.w0])
        return [*bounded, *bounded**2, *pairs, np.log(c.alpha), *np.log(c.priors.precision).ravel()]

    def latent():
        q = standard @ c.params[:, :k]
        return standard @ c.params[:, k] + ((q**2).sum(axis=1) - standard**2 @ (c.params[:, :k] ** 2).sum(axis=1)) / 2

    def begin_with(targets):
        """Let the chain have other labels, and records of the parameters that it has now."""
        arrays = {name: array.copy() for name, array in c.arrays().items()}
        records, z = arrays["chain_records"], latent()
        records[:, :k], records[:, k + 1], records[:, k + 3] = standard @ c.params[:, :k], z, targets
        if is_classifier:
            of_weights = key(0, WEIGHTS)
            sums = [*_polya_gamma.turn_rows(records, k, c.w0, of_weights, c.n_sweeps + 1, 1), 0]
        else:
            residuals = targets - z - c.w0
            sums = [len(z), residuals.sum(), (residuals**2).sum()]
        arrays["chain"][:2], arrays["chain"][4:] = (c.w0, c.alpha), sums
        c.restore(arrays)

    def new_labels():
        z = latent() + c.w0
        if is_classifier:
            return rng.random(len(z)) < 1 / (1 + np.exp(-z))
        return z + rng.normal(size=len(z)) / np.sqrt(c.alpha)

    rows = rows_of(X, np.array([0, 1, 1, 0, 1]), groups=[2])
    standard = X[:, rows.features] / rows.typical[rows.groups]
    c = Sampler(rows, k, is_classifier, 0)
    before, after = [], []
    for _ in range(1500):
        c.priors.mean, c.priors.precision, c.params[:], c.w0, c.alpha = prior()
        before.append(told())
        for _ in range(3):
            begin_with(new_labels() - 0.5 * is_classifier)
            c.sweep(False)
        after.append(told())
    before, after = np.array(before), np.array(after)
    error = np.sqrt((before.var(axis=0) + after.var(axis=0)) / len(before)) + 1e-12
    scores = (after.mean(axis=0) - before.mean(axis=0)) / error
    assert np.abs(scores).max() < 4.5, scores.round(1)


@pytest.mark.parametrize("is_classifier", [False, True])
def test_threads_and_batches_do_not_change_a_bit(is_classifier):
    X, y = ratings(is_classifier=is_classifier)
    states = []
    for num_threads, size in ((1, 7), (2, 400), (3, 50)):
        c = chain(X, y, 3, is_classifier, seed=5, num_threads=num_threads, size=size)
        for i in range(40):
            c.sweep(i > 10)
        states.append({name: array.tobytes() for name, array in c.arrays().items()})
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("is_classifier", [False, True])
def test_a_chain_goes_on_where_it_was(is_classifier):
    X, y = ratings(is_classifier=is_classifier)
    whole = chain(X, y, 3, is_classifier)
    for i in range(50):
        if i == 37:
            kept = {name: array.copy() for name, array in whole.arrays().items()}
        whole.sweep(i > 10)
    resumed = chain(X, y, 3, is_classifier)
    resumed.restore(kept)
    for i in range(37, 50):
        resumed.sweep(i > 10)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(resumed.arrays()[name], array, err_msg=name)


def test_a_planted_model_is_learned():
    X, y = ratings(60, 40, 4000)
    train, test = slice(0, 3200), slice(3200, None)
    rows, mean = rows_of(X[train], y[train], size=1000), 0
    c = Sampler(rows, 4, False, 0)
    numbers = np.full(X.shape[1], -1)
    numbers[rows.features] = np.arange(len(rows.features))
    held_out = X[test]
    for i in range(150):
        c.sweep(i > 30)
        if i > 30:
            keys = numbers[held_out.indices].astype(np.int32)
            mean = mean + c.latent_of(held_out.indptr.astype(np.int64), keys, held_out.data.astype(np.float32)) / 119
    error = np.sqrt(np.mean((c.units.mean + c.units.scale * mean - y[test]) ** 2))
    assert error < 0.36  # the noise is .3
    assert np.sqrt(np.mean((c.mean_scores() - y[train]) ** 2)) < error


@pytest.mark.parametrize("labels", [[5, 5, 5], [1e30, -1e30, 2e30], [0, 1e-30, 2e-30], [7]])
def test_labels_of_any_scale_are_learned_as_they_are(labels):
    y = np.array(labels * 10, np.float32)
    X = np.eye(len(labels))[np.arange(len(y)) % len(labels)]
    c = chain(X, y, 2)
    for i in range(30):
        c.sweep(i > 10)
    scores = c.mean_scores()
    assert np.isfinite(scores).all()
    assert np.abs(scores.astype(float) - y).max() <= 0.05 * max(float(np.std(y.astype(float))), 1e-6 * abs(y[0]))
