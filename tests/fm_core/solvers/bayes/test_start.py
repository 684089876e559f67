"""Where a chain begins: a model in the chain's units."""

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers.bayes.algorithm import BayesLearner
from fm_core.solvers.bayes.sampler import Sampler
from fm_core.solvers.bayes.start import starting_with, widened
from tests.fm_core.solvers.bayes.problems import rows_of


def model(d=6, k=3, seed=0):
    rng = np.random.default_rng(seed)
    return Model.of_params("regressor", 2.5, rng.normal(size=(d, k + 1)).astype(np.float32))


@pytest.mark.parametrize("k", [3, 5])
def test_the_first_sample_scores_as_the_model_does(k):
    rng = np.random.default_rng(1)
    X = sp.csr_matrix(rng.normal(size=(40, 8)) * [1, 10, 1, 300, 1, 1, 1, 1])
    X[:, 6:] = 0  # the model has never heard of these, and they do not occur
    rows, start = rows_of(X, 1000 * rng.normal(size=40)), model()
    sampler = Sampler(rows, k, False, 0, start=starting_with(start, rows))
    batch = Batch.from_csr(sp.csr_matrix(X).astype(np.float32))
    expected = widened(start, 8, 3).predict(batch)
    found = sampler.units.mean + sampler.units.scale * (sampler.mean_latent() + 0)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_fewer_factors_keep_the_best_ones():
    start = model(k=5)
    start.V[:, 1:] *= 1e-4
    found = widened(start, 9, 2)
    np.testing.assert_allclose(found.V[:6] @ found.V[:6].T, start.V @ start.V.T, atol=1e-3)
    assert not found.V[6:].any()


def test_other_models_are_refused():
    facts = {"num_factors": 2, "predictor_type": "regressor", "solver": "bayes"}
    with pytest.raises(ConfigError, match="is a regressor, expected a binary_classifier"):
        BayesLearner(Hyperparameters(**facts | {"feature_dim": 9, "predictor_type": "binary_classifier"}), 1, model())
    with pytest.raises(ConfigError, match="has feature_dim=6, more than the hyperparameter's 4: raise it, because"):
        BayesLearner(Hyperparameters(**facts | {"feature_dim": 4}), 1, model())
    assert BayesLearner(Hyperparameters(**facts | {"feature_dim": 9}), 1, model()).model.feature_dim == 9
