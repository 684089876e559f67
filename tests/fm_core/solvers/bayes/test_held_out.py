"""A classifier of few rows keeps what chains that left rows out bear out; one of many rows is left alone."""

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.solvers.bayes import solver as solver_module
from fm_core.solvers.bayes.held_out import Kept
from fm_core.solvers.bayes.solver import collect, sample_model


def rows_of(n, seed=0, strength=0.0, weights=None, sizes=(40, 50, 60)):
    rng = np.random.default_rng(seed)
    keys = np.column_stack([sum(sizes[:i]) + rng.integers(size, size=n) for i, size in enumerate(sizes)])
    z = strength * rng.normal(size=sum(sizes))[keys].sum(axis=1)
    labels = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float32)
    X = sp.csr_matrix((np.ones(keys.size, np.float32), keys.ravel(), np.arange(0, keys.size + 1, len(sizes))),
                      (n, sum(sizes)))  # fmt: skip
    return Batch.from_csr(X, labels, weights)


def sampled(batch, method="gibbs", n_sweeps=40, threads=1, predictor_type="binary_classifier"):
    return sample_model(
        collect([batch], batch.feature_dim), predictor_type, 4, n_sweeps, num_threads=threads, method=method
    )


@pytest.mark.parametrize("method", ["gibbs", "variational"])
def test_of_rows_that_say_nothing_next_to_nothing_is_kept(method):
    losses = []
    for seed in range(3):
        solver, new = sampled(rows_of(200, seed), method), rows_of(1000, seed + 50)
        assert solver.kept.share < 0.6
        p, labels = solver.model.predict(new).astype(float), new.known_labels
        losses.append(-np.mean(np.log(np.where(labels == 1, p, 1 - p))))
    assert np.mean(losses) < np.log(2) + 0.03  # by sampling alone .17 more
    assert sampled(rows_of(600, 0, 3.0, sizes=(20, 20, 20)), method).kept.share == 1


def test_of_many_rows_all_is_kept_without_a_further_chain():
    assert sampled(rows_of(2000, sizes=(20, 20)), n_sweeps=2).kept == Kept()
    assert sampled(rows_of(50), n_sweeps=2, predictor_type="regressor").kept == Kept()


def test_the_metrics_are_those_of_the_model():
    batch = rows_of(200)
    solver = sampled(batch)
    assert solver.kept.share < 1
    np.testing.assert_allclose(solver.scores(), solver.model.predict(batch), atol=0.05)
    assert "beside the share of ones" in solver.kept.why


@pytest.mark.parametrize("label", [0, 1])
def test_of_one_class_the_model_is_the_smoothed_share(label):
    batch = rows_of(9)
    one_class = Batch.from_csr(sp.csr_matrix((batch.values, batch.indices, batch.indptr)), np.full(9, label))
    solver = sampled(one_class, n_sweeps=3)
    expected = (9 * label + 0.5) / 10
    np.testing.assert_allclose(solver.model.predict(one_class), expected, rtol=1e-5)
    assert solver.kept.why == f"All labels are {label}: the model gives every row the same probability."


def test_threads_change_nothing_and_weights_count():
    weights = np.where(np.arange(200) % 2, 2.0, 0.5).astype(np.float32)
    found = [sampled(rows_of(200, 1, weights=weights), threads=threads) for threads in (1, 2)]
    assert found[0].kept == found[1].kept
    np.testing.assert_array_equal(found[0].model.V, found[1].model.V)
    ones = np.average(rows_of(200, 1).known_labels, weights=weights) * weights.sum()
    share = (ones + 0.5) / (weights.sum() + 1)
    assert found[0].kept.share == 1 or found[0].kept.constant == pytest.approx(np.log(share / (1 - share)), abs=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_the_spread_is_that_of_samples_that_are_moved_as_the_model_is(monkeypatch, share):
    """The model lies where its samples do; where nothing is kept, what is not known is the constant."""
    kept = Kept(share, -1.0, "", 0.2)
    monkeypatch.setattr(solver_module, "kept_of", lambda *_: kept)
    batch = rows_of(300, strength=2.0, sizes=(40, 50, 60))
    new = np.arange(3, dtype=np.int32) + 147  # some features that may not have occurred
    rows = Batch.concatenate(
        [batch, Batch.from_csr(sp.csr_matrix((np.ones(3, np.float32), new, np.arange(4)), (3, 150)), np.zeros(3))]
    )
    solver = sampled(batch, n_sweeps=60)
    monkeypatch.setattr(solver_module, "kept_of", lambda *_: Kept())
    whole = sampled(batch, n_sweeps=60)  # the same chain
    slope = solver.model.predict(rows) * (1 - solver.model.predict(rows))
    std, of_whole = solver.spread.std(rows), whole.spread.std(rows)
    if share == 1:
        np.testing.assert_array_equal(std, of_whole)
    elif share:
        before = whole.model.predict(rows) * (1 - whole.model.predict(rows))
        expected = slope * np.sqrt((share * of_whole / before) ** 2 + ((1 - share) * 0.2) ** 2)
        assert 0.7 < np.median(std / expected) < 1.4  # both are linear approximations
    else:
        np.testing.assert_allclose(std, slope * 0.2, rtol=0.05)


def test_of_one_class_the_spread_is_that_of_its_share():
    batch = rows_of(9)
    one_class = Batch.from_csr(sp.csr_matrix((batch.values, batch.indices, batch.indptr)), np.zeros(9))
    solver, batch = sampled(one_class), one_class
    # of a Beta distribution
    np.testing.assert_allclose(solver.spread.std(batch), np.sqrt(0.05 * 0.95 / 11), rtol=0.25)
