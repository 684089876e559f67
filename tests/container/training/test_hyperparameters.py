import ast
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from container.training.hyperparameters import default_configuration, final_configuration, of_model, parse, remarks
from fm_core.errors import ConfigError
from fm_core.hyperparameter_text import to_text
from fm_core.hyperparameters import Hyperparameters, parameters
from tests.container.bad_values import bad_texts

REQUIRED = {"feature_dim": "100", "num_factors": "4", "predictor_type": "regressor"}
TABLE = parameters()
INTEGERS = [name for name, p in TABLE.items() if p.kind == "integer"]
NUMBERS = [name for name, p in TABLE.items() if p.kind == "number"]
CHOICES = [name for name, p in TABLE.items() if p.kind == "choice"]
BOOLEANS = [name for name, p in TABLE.items() if p.kind == "boolean"]


def problem(**given_values):
    with pytest.raises(ConfigError) as refusal:
        parse(REQUIRED | given_values)
    return str(refusal.value)


def values(name):
    """Text that is admitted for a parameter, and the typed value it means."""
    p = TABLE[name]
    if p.kind == "integer":
        low, high = int(p.minimum), int(p.maximum or 10**30)
        return st.integers(low, high).map(lambda value: (str(value), value))
    if p.kind == "number":
        return st.floats(p.minimum, p.maximum, allow_nan=False, allow_infinity=False).map(
            lambda value: (str(value), value)
        )
    if p.kind == "boolean":
        return st.sampled_from([("true", True), ("False", False), ("TRUE", True), ("false", False)])
    if p.kind == "choice":
        return st.sampled_from(p.choices).map(lambda value: (value, value))
    return st.text(st.characters(exclude_characters='"'), max_size=20).map(lambda value: (value, value))


@given(st.data())
def test_every_admitted_text_is_read_also_quoted_once_more(data):
    name = data.draw(st.sampled_from(list(TABLE)))
    text, value = data.draw(values(name))
    assume(not name.endswith("_method") or text == "normal")
    assume(name != "loss" or text == "pointwise")  # others need more
    needed = REQUIRED | ({"predictor_type": "binary_classifier"} if name == "positive_class_weight" else {})
    for form in (text, f'"{text}"') if "\\" not in text and text.isprintable() else (text,):
        read = getattr(parse(needed | {name: form}), name)
        assert read == value
        assert type(read) is type(value)


@given(st.data())
def test_every_bad_value_of_every_hyperparameter_is_refused_by_name(data):
    name = data.draw(st.sampled_from([*INTEGERS, *NUMBERS, *CHOICES, *BOOLEANS]))
    text = data.draw(bad_texts(name))
    said = problem(**{name: text})
    assert re.match(rf"hyperparameter {name} is .*, expected {re.escape(TABLE[name].expected())}", said)
    assert len(said) < 300
    assert said.isprintable()


@pytest.mark.parametrize("name", [*INTEGERS, *NUMBERS, *CHOICES, *BOOLEANS])
@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}, 10**3000], ids=str)
def test_json_that_is_neither_text_nor_a_fitting_number_is_refused(name, value):
    if isinstance(value, int) and name in NUMBERS:
        value = [value]
    said = problem(**{name: value})
    assert said.startswith(f"hyperparameter {name} is ")
    assert len(said) < 300


def test_json_numbers_and_booleans_are_read():
    read = parse(
        {"feature_dim": 10, "num_factors": "2", "predictor_type": "regressor", "bias_lr": 1, "use_bias": False}
    )
    assert (read.feature_dim, read.bias_lr, read.use_bias) == (10, 1, False)
    assert problem(epochs=2.0).startswith("hyperparameter epochs is 2.0, expected an integer")
    assert problem(epochs=True).startswith("hyperparameter epochs is True, expected an integer")


def test_zero_is_for_integers_whose_minimum_admits_it():
    assert parse(REQUIRED | {"seed": "0", "max_bad_records": "0", "_num_gpus": "0"}).seed == 0
    for name in ("epochs", "feature_dim", "mini_batch_size", "num_threads"):
        assert problem(**{name: "0"}).startswith(f"hyperparameter {name} is 0, expected")


@pytest.mark.parametrize("name", [name for name in INTEGERS if "auto" in TABLE[name].choices])
def test_words_stand_in_place_of_a_number(name):
    assert getattr(parse(REQUIRED | {name: "auto"}), name) == "auto"
    assert getattr(parse(REQUIRED | {name: '"auto"'}), name) == "auto"


@given(st.text(min_size=1, max_size=300))
@example("mini_batch_siz")
def test_unknown_names_are_refused_and_name_a_known_one(name):
    assume(name not in TABLE and not name.startswith("sagemaker_"))
    said = problem(**{name: "1"})
    assert re.search(r"is unknown, the nearest known name is (\w+)$", said).group(1) in TABLE
    assert len(said) < 400


@pytest.mark.parametrize(("name", "meant"), [("mini_batch_siz", "mini_batch_size"), ("epoch", "epochs"),
                                             ("factor_lr", "factors_lr"), ("num_factor", "num_factors")])  # fmt: skip
def test_the_nearest_known_name_is_the_one_that_was_meant(name, meant):
    assert problem(**{name: "1"}) == f"hyperparameter {name!r} is unknown, the nearest known name is {meant}"


def test_all_problems_are_said_at_once():
    with pytest.raises(ConfigError) as refusal:
        parse({"feature_dim": "0", "predictor_type": "regresor", "bias_lr": "inf", "epocs": "1", "factors_init_method":
               "constant", "linear_init_method": "uniform"})  # fmt: skip
    said = str(refusal.value).split("; ")
    assert said[0] == "no value was given for num_factors, required hyperparameter"
    assert [text for text in said if "feature_dim is 0" in text]
    assert [text for text in said if "predictor_type is 'regresor'" in text]
    assert [text for text in said if "bias_lr is 'inf'" in text]
    assert [text for text in said if "'epocs' is unknown" in text]
    assert [text for text in said if "factors_init_value" in text]
    assert [text for text in said if "linear_init_scale" in text]
    assert len(said) == 7


def test_the_scripts_mode_of_the_sdk_and_what_has_no_effect_is_remarked_on():
    given_values = REQUIRED | {"sagemaker_region": "x", "sagemaker_program": "y", "_use_full_symbolic": "true",
                               "_data_format": "other", "_num_kv_servers": "3"}  # fmt: skip
    assert remarks(given_values) == [
        "Hyperparameters of the SDK's script mode are ignored: sagemaker_program, sagemaker_region",
        "Hyperparameter _data_format is 'other'; it is accepted and has no effect here",
        "Hyperparameter _num_kv_servers is '3'; it is accepted and has no effect here",
    ]
    parse(given_values)
    assert remarks(REQUIRED) == []


def test_a_null_is_not_set():
    assert parse(REQUIRED | {"eps": None}).eps is None
    with pytest.raises(ConfigError, match="no value was given for feature_dim"):
        parse(REQUIRED | {"feature_dim": None})


def test_defaults_are_those_the_built_in_prints(shared):
    log = (shared / "reference_runs/ml100k_reg_k64_e50_b1000.log").read_text()
    printed = ast.literal_eval(re.search(r"Reading default configuration from \S+: (\{.*\})", log).group(1))
    ours = default_configuration()
    assert {name: str(value) for name, value in printed.items()} == {name: ours[name] for name in printed}
    assert {name for name in ours if TABLE[name].group != "extension"} == set(printed)


def test_the_final_configuration_is_text_and_reads_as_the_same_hyperparameters():
    given_values = REQUIRED | {"bias_lr": 1e-05, "use_bias": False, "epochs": 3}
    final = final_configuration(given_values)
    assert (final["bias_lr"], final["use_bias"], final["epochs"], final["linear_lr"]) == (
        "0.00001",
        "false",
        "3",
        "0.001",
    )
    assert parse(final) == parse(given_values)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_every_digit_as_text(value):
    assert float(to_text(value)) == value
    assert "e" not in to_text(value)


def test_hyperparameters_of_the_type_are_what_parse_gives():
    assert isinstance(parse(REQUIRED), Hyperparameters)


def test_the_artifact_keeps_what_the_built_in_does_and_nothing_of_one_machine():
    kept = of_model(final_configuration({"num_threads": "7", "checkpoint_interval_s": "1", "_num_gpus": "0", "x": "y"}))
    assert kept["_num_gpus"] == "0"
    assert kept["_log_level"] == "info"
    assert kept["x"] == "y"
    assert not {"num_threads", "checkpoint_interval_s"} & set(kept)
