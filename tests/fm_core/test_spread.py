"""Standard deviations of scores: against a slow twin, in any layout of rows, and what is said where there are none."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core import spread as module
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.model import Model
from fm_core.spread import Spread, spread_to_unseen

FEATURE_DIM, FEATURES, GROUPS = 12, [1, 2, 4, 7, 9], [0, 0, 1, 1, 1]


def make_spread(*, is_classifier=False, n_samples=6, k=3, features=FEATURES, groups=GROUPS, seed=0,
                feature_dim=FEATURE_DIM):  # fmt: skip
    rng = np.random.default_rng(seed)
    n, g = len(features), max(groups, default=0) + 1
    return Spread(
        is_classifier, feature_dim, 3.5, 1.5, np.array(features, np.int32), np.array(groups, np.int32),
        np.linspace(1, 2, g), rng.uniform(1, 2, n_samples), rng.normal(0, 0.1, n_samples),
        rng.normal(0, 0.5, (n_samples, n, k + 1)).astype(np.float16),
        rng.normal(0, 0.1, (n_samples, g, k + 1)).astype(np.float32),
        rng.uniform(1, 9, (n_samples, g, k + 1)).astype(np.float32),
    )  # fmt: skip


def slow(spread, row, n_draws=0):
    """One row's standard deviation, feature by feature; new ones by their exact moments, or by many draws."""
    rng = np.random.default_rng(5)
    variances, means = [], []
    for s in range(len(spread.w0)):
        vectors, priors = [], []
        for feature, x in row.items():
            known = np.flatnonzero(spread.features == feature)
            if len(known):
                group = spread.groups[known[0]]
                mean, precision = spread.params[s][known[0]].astype(float), None
            else:
                group = spread_to_unseen(spread.features, spread.groups, np.array([feature]))[0]
                mean, precision = spread.prior_mean[s][group].astype(float), spread.prior_precision[s][group]
            vectors.append((x / spread.typical[group], mean))
            priors.append(precision)
        draws = []
        for _ in range(max(1, n_draws)):
            z = spread.w0[s]
            total, squares = 0.0, 0.0
            for (x, mean), precision in zip(vectors, priors, strict=True):
                v = mean if precision is None else mean + rng.normal(0, 1, len(mean)) / np.sqrt(precision)
                z += x * v[-1]
                total, squares = total + x * v[:-1], squares + (x * v[:-1]) ** 2
            draws.append(z + np.sum(total**2 - squares) / 2)
        draws = 1 / (1 + np.exp(-np.array(draws))) if spread.is_classifier else np.array(draws)
        means.append(np.mean(draws))
        variances.append(np.var(draws))
    variance = np.var(means, ddof=1) + np.mean(variances)
    if not spread.is_classifier:
        variance += np.mean(1 / spread.alpha)
    return np.sqrt(variance) * (1 if spread.is_classifier else spread.scale)


ROWS = [{1: 1.0, 7: 2.0}, {2: 0.5, 4: -1.0, 9: 3.0}, {}, {1: 1.0, 2: 1.0, 4: 1.0, 7: 1.0, 9: 1.0}]
NEW_ROWS = [{1: 1.0, 8: 1.0}, {0: 1.0, 5: 2.0, 9: 1.0}, {11: 1.0}, {3: 0.5, 4: 1.0}]


def batch_of(rows):
    matrix = np.zeros((len(rows), FEATURE_DIM), np.float32)
    for i, row in enumerate(rows):
        for feature, x in row.items():
            matrix[i, feature] = x
    return Batch.from_csr(sp.csr_matrix(matrix)), Batch.from_dense(matrix)


@pytest.mark.parametrize("is_classifier", [False, True])
def test_it_is_what_samples_say_of_known_features(is_classifier):
    spread = make_spread(is_classifier=is_classifier)
    for batch in batch_of(ROWS):
        np.testing.assert_allclose(spread.std(batch), [slow(spread, row) for row in ROWS], rtol=2e-4)


@pytest.mark.parametrize("is_classifier", [False, True])
def test_new_features_have_the_variance_of_their_group(is_classifier):
    spread = make_spread(is_classifier=is_classifier, n_samples=4)
    drawn = [slow(spread, row, 2500) for row in NEW_ROWS]
    for batch in batch_of(NEW_ROWS):
        np.testing.assert_allclose(spread.std(batch), drawn, rtol=0.05)


def test_parts_and_threads_do_not_change_it(monkeypatch):
    spread = make_spread()
    batch, _ = batch_of(10 * (ROWS + NEW_ROWS))
    whole = spread.std(batch)
    assert spread.std(batch, 3).tobytes() == whole.tobytes()
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    assert spread.std(batch).tobytes() == whole.tobytes()
    monkeypatch.setattr(module, "ENTRIES_AT_ONCE", 2)
    assert spread.std(batch).tobytes() == whole.tobytes()
    assert spread.std(batch_of([])[0]).shape == (0,)


def test_without_features_the_bias_and_the_noise_are_left():
    spread = make_spread(features=[], groups=[])
    found = spread.std(batch_of(ROWS)[0])
    np.testing.assert_allclose(found, 1.5 * np.sqrt(np.var(spread.w0, ddof=1) + np.mean(1 / spread.alpha)), rtol=1e-6)


@pytest.mark.parametrize("rows", [{1: 1e30, 7: 1e30}, {8: 1e30, 3: 1e30}])
def test_values_that_are_too_large_are_refused_and_never_nan(rows):
    batch, _ = batch_of([*ROWS, rows])
    with pytest.raises(DataError, match=r"the spread of row 4 overflows float32: its values are too large"):
        make_spread().std(batch)


def test_rows_of_another_width_are_refused():
    with pytest.raises(DataError, match="rows have feature_dim=12, expected the model's 5"):
        dataclasses.replace(make_spread(), feature_dim=5).std(batch_of(ROWS)[0])


def test_a_model_gives_it_beside_its_scores_or_says_that_it_has_none():
    rng = np.random.default_rng(1)
    model = Model("regressor", 0.5, rng.random(FEATURE_DIM, np.float32), rng.random((FEATURE_DIM, 2), np.float32))
    batch, _ = batch_of(ROWS)
    with pytest.raises(DataError, match="the model has no spread: train it with solver bayes"):
        model.predict(batch, return_std=True)
    model.spread = make_spread()
    scores, std = model.predict(batch, return_std=True)
    assert scores.tobytes() == model.predict(batch).tobytes()
    assert std.tobytes() == model.std(batch).tobytes() == make_spread().std(batch).tobytes()
