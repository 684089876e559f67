"""The mean of samples in a bounded model: exact where it fits, the best of its rank where not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.kernels import load
from fm_core.solvers.bayes.compression import RunningMean

NO_FIELDS = np.empty(0, np.int64)


def samples(seed, n_samples, n_rows=30, k=2, noise=0.2):
    """Samples that agree but for noise and a rotation, as those of a chain do: w0, rows [v | w]."""
    rng = np.random.default_rng(seed)
    V, w = rng.normal(size=(n_rows, k)), rng.normal(size=n_rows)
    for _ in range(n_samples):
        turned = (V + rng.normal(0, noise, V.shape)) @ np.linalg.qr(rng.normal(size=(k, k)))[0]
        yield rng.normal(), np.column_stack([turned, w + rng.normal(0, noise, n_rows)]).astype(np.float32)


def mean_of(drawn, rank, weights=None, fields=NO_FIELDS, num_threads=1):
    n_rows, width = drawn[0][1].shape
    weights = np.ones(n_rows, np.float32) if weights is None else weights
    mean = RunningMean(weights, width - 1, rank, fields, load("bayes"), num_threads)
    for w0, params in drawn:
        mean.add(w0, params)
    return mean


def exact(drawn):
    return np.mean([params[:, :-1].astype(float) @ params[:, :-1].T for _, params in drawn], axis=0)


@given(seed=st.integers(0, 99), n_samples=st.integers(1, 8), rank=st.sampled_from([4, 16, 40]))
def test_as_many_dimensions_as_samples_have_are_kept_exactly(seed, n_samples, rank):
    drawn = list(samples(seed, n_samples))
    w0, w, V = mean_of(drawn, rank).model(rank)
    assert V.shape == (30, rank)
    assert w0 == pytest.approx(np.mean([w0 for w0, _ in drawn]))
    np.testing.assert_allclose(w, np.mean([params[:, -1] for _, params in drawn], axis=0), atol=1e-5)
    if 2 * n_samples <= rank:
        np.testing.assert_allclose(V.astype(float) @ V.T, exact(drawn), atol=1e-4)


def test_what_is_kept_is_nearly_the_best_of_its_rank():
    drawn, weights = list(samples(1, 60)), np.random.default_rng(0).integers(1, 50, 30).astype(np.float32)
    _, _, V = mean_of(drawn, 3, weights).model(3)
    root = np.sqrt(weights.astype(float))[:, np.newaxis]
    M = root * exact(drawn) * root.T
    values, vectors = np.linalg.eigh(M)
    best = vectors[:, -3:] * values[-3:] @ vectors[:, -3:].T
    found = root * (V.astype(float) @ V.T) * root.T
    assert np.linalg.norm(found - M) < 1.01 * np.linalg.norm(best - M)


def test_fields_are_free_within():
    drawn, fields = list(samples(2, 60, noise=0.6)), np.array([0, 12, 30])
    errors = []
    for of in (NO_FIELDS, fields):
        _, _, V = mean_of(drawn, 2, fields=of).model(2)
        errors.append(np.linalg.norm((V.astype(float) @ V.T - exact(drawn))[:12, 12:]))
    best = np.linalg.svd(exact(drawn)[:12, 12:], compute_uv=False)[2:]
    assert errors[1] < 1.05 * np.linalg.norm(best)
    assert errors[1] < errors[0]


def test_threads_do_not_change_a_bit():
    drawn, fields = list(samples(3, 20, n_rows=50_000)), np.array([0, 20_000, 49_000])
    models = [mean_of(drawn, 5, fields=fields, num_threads=n).model(5) for n in (1, 3)]
    assert models[0][2].tobytes() == models[1][2].tobytes()


@pytest.mark.parametrize("fields", [NO_FIELDS, np.array([0, 12, 30])])
def test_it_goes_on_where_it_was(fields):
    drawn = list(samples(4, 21))
    whole, cut = mean_of(drawn, 3, fields=fields), mean_of(drawn[:10], 3, fields=fields)
    resumed = mean_of(drawn[:1], 3, fields=fields)
    resumed.restore({name: array.copy() for name, array in cut.arrays().items()})
    for w0, params in drawn[10:]:
        resumed.add(w0, params)
    for a, b in zip(resumed.model(3), whole.model(3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_after_a_restart_nothing_of_before_is_left():
    drawn = list(samples(5, 9))
    mean = mean_of(drawn[:6], 3)
    mean.restart()
    for w0, params in drawn[6:]:
        mean.add(w0, params)
    for a, b in zip(mean.model(3), mean_of(drawn[6:], 3).model(3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_samples_all_is_zero():
    w0, w, V = RunningMean(np.ones(4, np.float32), 2, 3, np.array([0, 2, 4]), load("bayes"), 1).model(3)
    assert w0 == 0
    assert not w.any()
    assert not V.any()
