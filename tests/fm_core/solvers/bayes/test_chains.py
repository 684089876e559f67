"""Chains that follow each other, of one-hot columns and no number of sweeps: what counts, and that they can resume."""

import numpy as np
import pytest

from fm_core.batch import Batch
from fm_core.solvers.bayes import convergence, solver
from fm_core.solvers.bayes.solver import BayesSolver
from tests.fm_core.solvers.bayes.problems import ratings, rows_of

TYPES = {False: "regressor", True: "binary_classifier"}


@pytest.fixture(autouse=True)
def short_chains(monkeypatch):
    for name, value in {"CHAIN": 24, "BURN_IN": 8, "MOST": 72, "LEAST": 10}.items():
        monkeypatch.setattr(solver, name, value)
    monkeypatch.setattr(convergence, "TOLERANCE", 0.0)  # no chain ends by itself


def made(is_classifier=False, value=1.0, n_sweeps=None):
    X, y = ratings(60, 40, 1500, is_classifier=is_classifier)
    X.data[::2] *= value
    return BayesSolver(rows_of(X, y, size=1000), TYPES[is_classifier], 12, n_sweeps, 3), X


def swept(chain, n):
    while chain.n_steps < n:
        chain.sweep()
    return chain


@pytest.mark.parametrize("is_classifier", [False, True])
def test_the_mean_is_that_of_all_chains_without_what_each_begins_with(is_classifier):
    chain, X = made(is_classifier)
    n_samples = []
    while not chain.is_done:
        chain.sweep()
        n_samples.append(chain.outlook.n_samples)
    assert n_samples[7::8] == [8, 8, 16, 16, 24, 32, 32, 40, 48]
    assert chain.n_steps == chain.most_sweeps == 72
    assert chain.outlook.n_samples == 48
    found, mean = chain.model.predict(Batch.from_csr(X.astype(np.float32))), chain.scores()
    assert np.sqrt(np.mean((found - mean) ** 2)) < (0.15 if is_classifier else 0.03) * mean.std()


def test_a_chain_begins_anew():
    chain = swept(made()[0], 24)
    before = chain.sampler.params.copy()
    scores = chain.scores()
    assert np.corrcoef(before[:, -1], swept(chain, 25).sampler.params[:, -1])[0, 1] < 0.9
    np.testing.assert_array_equal(chain.scores(), scores)  # the sample does not count
    gram = before[:, :-1] @ before[:, :-1].T
    assert not np.allclose(gram, chain.sampler.params[:, :-1] @ chain.sampler.params[:, :-1].T, atol=0.1)


@pytest.mark.parametrize("stopped", [20, 24, 27, 40])
def test_a_training_that_resumes_is_the_same(stopped):
    whole = swept(made()[0], 50)
    arrays = {name: array.copy() for name, array in swept(made()[0], stopped).arrays().items()}
    resumed = made()[0]
    resumed.restore(arrays)
    swept(resumed, 50)
    np.testing.assert_array_equal(resumed.model.V, whole.model.V)
    np.testing.assert_array_equal(resumed.scores(), whole.scores())


@pytest.mark.parametrize("changes", [{"value": 1.5}, {"n_sweeps": 60}])
def test_raw_values_and_a_number_of_sweeps_have_one_chain(changes):
    chain = swept(made(**changes)[0], 60)
    assert chain.outlook.n_samples == (28 if changes.get("value") else 52)


def test_few_sweeps_do_not_end_at_a_beginning(monkeypatch):
    chain = made()[0]
    for walked, most in ((20, 20), (24, 24), (30, 24), (40, 24), (41, 41), (60, 48)):
        monkeypatch.setattr(solver, "WALKED", walked * 3000)
        assert chain.most_sweeps == most
