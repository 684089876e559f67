import dataclasses

import pytest

from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters, parameters

REQUIRED = {"feature_dim": 10, "num_factors": 2, "predictor_type": "regressor"}


def test_the_built_ins_defaults_are_ours(shared):
    """The first log line of a real run prints its default configuration."""
    import ast
    import re

    log = (shared / "reference_runs" / "ml100k_reg_k64_e50_b1000.log").read_text()
    printed = ast.literal_eval(re.search(r"Reading default configuration from \S+: (\{.*?\})", log)[1])
    table = parameters()
    assert set(printed) <= set(table)
    for name, text in printed.items():
        default = table[name].default
        if isinstance(default, bool):
            assert text == str(default).lower(), name
        elif isinstance(default, (int, float)):
            assert float(text) == default, name
        else:
            assert text == default, name


def test_every_default_is_admitted():
    for parameter in parameters().values():
        if not parameter.required:
            assert parameter.problem(parameter.default) is None


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        Hyperparameters(**{**REQUIRED, "feature_dim": 0, "epochs": 1.0, "bias_lr": -1.0, "_optimizer": "lbfgs"})
    for name in ("feature_dim", "epochs", "bias_lr", "_optimizer"):
        assert f"hyperparameter {name} is " in str(error.value)
    assert "_optimizer is 'lbfgs', expected one of adam, sgd, adagrad, ftrl" in str(error.value)
    assert "feature_dim is 0, expected an integer from 1 to 2147483647" in str(error.value)


def test_missing_required_ones_are_named_together():
    assert Hyperparameters.problems({"num_factors": 3}) == [
        "no value was given for feature_dim, predictor_type, required hyperparameters"
    ]


@pytest.mark.parametrize("what", ["bias", "linear", "factors"])
@pytest.mark.parametrize(("method", "needs"), [("uniform", "scale"), ("constant", "value")])
def test_each_init_method_needs_its_own_parameter(what, method, needs):
    values = {**REQUIRED, f"{what}_init_method": method}
    assert Hyperparameters.problems(values) == [
        f"{what}_init_method is {method}, which needs {what}_init_{needs}: set it"
    ]
    assert Hyperparameters(**{**values, f"{what}_init_{needs}": 0.5})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.1", True, None])
def test_numbers_are_finite_numbers(value):
    with pytest.raises(ConfigError, match="hyperparameter bias_lr is "):
        Hyperparameters(**REQUIRED, bias_lr=value)


def test_words_stand_in_for_numbers_only_where_declared():
    assert Hyperparameters(**REQUIRED, num_threads="auto").num_threads == "auto"
    assert Hyperparameters(**REQUIRED, num_threads=3).num_threads == 3
    with pytest.raises(ConfigError, match="num_threads is 'all', expected auto or an integer from 1 to 1024"):
        Hyperparameters(**REQUIRED, num_threads="all")


def test_hyperparameters_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Hyperparameters(**REQUIRED).epochs = 3


def test_each_says_what_it_decides():
    """The sets that checkpoints, artifacts and clusters go by: a change of one of these is a change of behaviour."""
    by_decision = {"model": set(), "run": set(), "host": set()}
    for name, parameter in parameters().items():
        by_decision[parameter.decides].add(name)
    assert by_decision["host"] == {"num_threads", "checkpoint_interval_s", "_num_gpus", "_log_level"}
    assert by_decision["run"] == {
        *("epochs", "batch_metrics_publish_interval", "max_bad_records", "_tuning_objective_metric"),
        *(
            "ranking_k",
            "relevance_threshold",
            "_kvstore",
            "_sync_interval",
            "_data_format",
            "_num_kv_servers",
            "_use_full_symbolic",
        ),
    }


def test_what_has_no_effect_decides_nothing_of_the_model():
    assert {p.decides for p in parameters().values() if not p.has_effect} == {"run"}


def test_a_default_of_the_estimators_is_admitted():
    for parameter in parameters().values():
        if parameter.in_estimators:
            assert parameter.problem(parameter.estimator_default) is None
