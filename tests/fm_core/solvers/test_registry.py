"""The one table of what goes with what."""

import dataclasses

import pytest

from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers import registry
from fm_core.solvers.minibatch import MiniBatch

HP = Hyperparameters(feature_dim=3, num_factors=2, predictor_type="regressor")


@pytest.mark.parametrize(
    ("kvstore", "n_hosts", "hosts", "uses_devices", "keeps_whole_model", "writes_checkpoints"),
    [
        ("auto", 1, "one", True, True, True),
        ("dist_async", 1, "one", True, True, True),
        ("auto", 2, "sharded", True, False, True),
        ("dist_sync", 64, "sharded", True, False, True),
        ("dist_async", 2, "averaged", False, True, False),
    ],
)
def test_what_mini_batches_do_on_hosts(kvstore, n_hosts, hosts, uses_devices, keeps_whole_model, writes_checkpoints):
    found = registry.combination(dataclasses.replace(HP, _kvstore=kvstore), n_hosts)
    expected = registry.Combination("minibatch", hosts, uses_devices, keeps_whole_model, writes_checkpoints)
    assert found == expected


def test_a_combination_that_is_not_in_the_table_is_refused_in_one_sentence():
    with pytest.raises(ConfigError) as caught:
        registry.combination(dataclasses.replace(HP, solver="bayes"), 3)
    assert str(caught.value) == "solver bayes trains on one host, but there are 3: use one host, or solver minibatch"


def test_what_would_round_the_parameters_themselves_is_refused():
    rounded = dataclasses.replace(HP, _wire_dtype="bfloat16")
    assert registry.combination(rounded, 3).hosts == "sharded"
    assert registry.combination(dataclasses.replace(rounded, _kvstore="dist_async")).hosts == "one"
    with pytest.raises(ConfigError, match="_wire_dtype is bfloat16, but _kvstore dist_async sends the parameters them"):
        registry.combination(dataclasses.replace(rounded, _kvstore="dist_async"), 3)


def test_the_algorithm_is_the_one_that_is_asked_for():
    assert isinstance(registry.algorithm(HP), MiniBatch)
    assert registry.algorithm(HP).name == "minibatch"


def test_dense_data_is_on_devices_if_every_host_has_one():
    assert registry.dense_hosts([True, True]) == "replicated"
    assert registry.dense_hosts([True, False]) == "sharded"


def test_sampling_is_for_one_host_and_its_cpu():
    bayes = dataclasses.replace(HP, solver="bayes")
    assert registry.combination(bayes) == registry.Combination("bayes", "one", False, True, True)
    assert registry.algorithm(bayes).needs == "resident"
    for kvstore in ("auto", "dist_async"):
        with pytest.raises(ConfigError, match="solver bayes trains on one host, but there are 2: use one host, or sol"):
            registry.combination(dataclasses.replace(bayes, _kvstore=kvstore), 2)
    assert registry.combination(dataclasses.replace(bayes, _num_gpus=0)).solver == "bayes"
    with pytest.raises(ConfigError, match="solver bayes computes on the CPU, and _num_gpus is 1: set it to auto, or"):
        registry.combination(dataclasses.replace(bayes, _num_gpus=1))


def test_learning_from_a_stream_is_for_one_host_and_its_cpu():
    online = dataclasses.replace(HP, solver="online")
    assert registry.combination(online) == registry.Combination("online", "one", False, True, True)
    assert registry.algorithm(online).needs == "stream"
    with pytest.raises(ConfigError, match="solver online trains on one host, but there are 2: use one host, or solver"):
        registry.combination(online, 2)
