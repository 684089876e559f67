"""What solver auto comes to."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers import registry
from fm_core.solvers.auto import choose, of_stream

HP = Hyperparameters(feature_dim=784, num_factors=2, predictor_type="regressor", solver="auto")
LABELS = np.arange(3, dtype=np.float32)
DENSE = Batch.from_dense(np.ones((3, 784), np.float32), LABELS)
SPARSE = Batch.from_csr(sp.csr_matrix(np.eye(3, 784, dtype=np.float32)))
IMAGES = Batch.from_csr(sp.csr_matrix(np.arange(3 * 784).reshape(3, 784) % 5 == 0).astype(np.float32), LABELS)


@pytest.mark.parametrize(
    ("changes", "first", "facts", "solver", "why"),
    [
        ({}, SPARSE, {}, "bayes", "trains with bayes: the data is sparse, and is kept in memory."),
        ({}, DENSE, {}, "minibatch", ": the data is dense. It stops after at most 1000 epochs, or when 30 in a row"),
        ({}, IMAGES, {}, "minibatch", ": rows have 157 non-zeros on average, of 784 features."),
        ({}, None, {"before": "online"}, "online", "continues with online, which wrote the checkpoint."),
        ({}, None, {"n_hosts": 3}, "minibatch", "there are 3 hosts."),
        ({"use_bias": False}, SPARSE, {}, "minibatch", "use_bias is false."),
        ({}, None, {"before": "bayes"}, "bayes", "continues with bayes, which wrote the checkpoint."),
        ({}, SPARSE, {"before": "minibatch"}, "minibatch", "continues with minibatch, which wrote the checkpoint."),
        ({}, None, {}, "minibatch", ""),
        ({"solver": "bayes"}, DENSE, {}, "bayes", ""),
    ],
)
def test_the_data_decides_and_it_says_why(changes, first, facts, solver, why):
    choice = choose(dataclasses.replace(HP, **changes), first, **facts)
    assert choice.hyperparameters.solver == solver
    assert why in choice.why
    assert bool(why) == bool(choice.why)


def test_dense_data_gets_what_is_not_given():
    found = choose(HP, DENSE).hyperparameters
    assert (found.epochs, found.early_stopping_patience, found.validation_fraction) == (1000, 30, 1 / 3)
    assert found.shuffle
    given = dataclasses.replace(HP, epochs=7, linear_lr=0.5, early_stopping_patience=2, validation_fraction=0.3)
    found = choose(given, DENSE).hyperparameters
    assert (found.epochs, found.linear_lr, found.early_stopping_patience, found.validation_fraction) == (7, 0.5, 2, 0.3)
    assert choose(HP, DENSE, has_validation=True).hyperparameters.validation_fraction is None


def test_a_stream_is_learned_from_online():
    found = of_stream(dataclasses.replace(HP, linear_lr=0.3))  # what callers choose where rows turn out not to fit
    assert found == dataclasses.replace(HP, linear_lr=0.3, solver="online")


def test_nothing_is_made_before_rows_have_decided():
    with pytest.raises(ConfigError, match="solver is auto, and is not chosen yet"):
        registry.algorithm(HP)


@pytest.mark.parametrize(
    ("fraction", "n_hosts", "sentence"),
    [
        (1.0, 1, "validation_fraction is 1, expected a share below 1"),
        (0.1, 2, "needs one host, but there are 2: use a"),
    ],
)
def test_a_share_that_cannot_be_held_out_is_refused(fraction, n_hosts, sentence):
    with pytest.raises(ConfigError, match=sentence):
        registry.combination(dataclasses.replace(HP, solver="minibatch", validation_fraction=fraction), n_hosts)


@pytest.mark.parametrize("scale", [1, 30])
def test_rates_suit_the_rows(scale):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 20)).astype(np.float32)
    labels = (scale * values @ rng.normal(size=20)).astype(np.float32)
    hp = choose(dataclasses.replace(HP, feature_dim=20), Batch.from_dense(values, labels)).hyperparameters
    assert hp.linear_lr == hp.factors_lr >= 0.01  # labels are brought to size
