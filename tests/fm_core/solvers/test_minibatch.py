"""The update from mini-batches; tests/fm_core/kernels compares its kernels with the reference."""

import dataclasses
import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit
from tests.fm_core.training.jobs import batches_of, hyperparameters, problem


def test_few_records_of_many_features_take_little_memory():
    """All there is comes as one short batch: its features are far apart, and each maps a small page."""
    d, n = 1_000_000, 60
    keys = np.arange(n, dtype=np.int32) * (d // n)
    batch = Batch(d, np.ones(n, np.float32), np.array([0, n], np.int64), keys, np.ones(1, np.float32))
    solver = MiniBatchSolver(Hyperparameters(feature_dim=d, num_factors=16, predictor_type="regressor"))
    before = resident()
    solver.step(batch)
    assert solver.arrays()["state"][keys].any(axis=1).all()
    assert resident() - before < 20e6  # 2 MB for each of them would be 120


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_training_goes_on_from_a_model_that_may_grow():
    data = batches_of(*problem(), 50)
    trained = fit(lambda e: data, hyperparameters()).model
    grown = MiniBatchSolver(hyperparameters(feature_dim=70), model=trained).model
    assert (grown.V[:60] == trained.V).all()
    assert (grown.V[60:] == Model.initialise(hyperparameters(feature_dim=70)).V[60:]).all()
    assert grown.w0 == np.float32(trained.w0)
    with pytest.raises(ConfigError, match="feature_dim=60, more than the hyperparameter's 50"):
        MiniBatchSolver(hyperparameters(feature_dim=50), model=trained)
    with pytest.raises(ConfigError, match=r"is a binary_classifier with num_factors=4, expected .* num_factors=5"):
        MiniBatchSolver(hyperparameters(num_factors=5), model=trained)


def test_batches_without_labels_are_refused():
    X, _ = problem(10)
    with pytest.raises(DataError, match="a batch has no labels, expected one for each row"):
        MiniBatchSolver(hyperparameters()).step(Batch.from_csr(X))


@settings(max_examples=10)
@given(st.integers(1, 4), st.booleans())
def test_the_model_does_not_depend_on_threads(num_threads, lazy):
    data = batches_of(*problem(), 64)
    hp = hyperparameters(epochs=2, lazy_update=lazy)
    one, many = fit(lambda e: data, hp).model, fit(lambda e: data, hp, num_threads=num_threads).model
    assert one.V.tobytes() == many.V.tobytes()
    assert one.w0 == many.w0


def test_a_short_last_batch_is_rescaled_as_a_full_one():
    """rescale_grad is 1 / mini_batch_size whatever the number of rows."""
    X, y = problem(30)
    hp = hyperparameters(mini_batch_size=50)
    short = fit(lambda e: batches_of(X, y, 50), hp).model
    same = fit(lambda e: batches_of(X, y, 50), dataclasses.replace(hp, rescale_grad=1 / 50)).model
    other = fit(lambda e: batches_of(X, y, 50), dataclasses.replace(hp, rescale_grad=1 / 30)).model
    assert short.w0 == same.w0 != other.w0


def test_unused_terms_stay_out():
    data = batches_of(*problem(), 50)
    model = fit(lambda e: data, hyperparameters(use_bias=False, use_linear=False)).model
    assert model.w0 == 0
    assert not model.w.any()
    assert model.V.any()


@pytest.mark.parametrize("is_dense", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad", "ftrl"])
def test_every_optimizer_learns(optimizer, is_dense):
    data = batches_of(*problem(), 50, is_dense)
    rates = {"sgd": 3.0, "adagrad": 0.2, "ftrl": 0.3, "adam": 0.02}
    rate = rates[optimizer]
    hp = hyperparameters(_optimizer=optimizer, epochs=30, linear_lr=rate, factors_lr=rate, bias_lr=rate)
    losses = [evaluate(Model.initialise(hp), data)[0], evaluate(fit(lambda e: data, hp).model, data)[0]]
    before, after = (m["binary_classification_cross_entropy"] for m in losses)
    assert before > 0.66
    assert after < 0.5
