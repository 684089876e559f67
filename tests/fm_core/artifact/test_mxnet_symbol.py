"""The network's text; whether MXNet takes it is seen in tests/mxnet."""

import json

import pytest

from fm_core.artifact.mxnet_symbol import symbol_json

# As in the real job that ../shared/reference_runs holds, whose file the artifact's tests compare with.
PARAMETERS = {
    "w1_weight": {
        "__init__": '["normal", {"sigma": 0.01}]',
        "__lr_mult__": "0.001",
        "__shape__": "(2625, 1)",
        "__storage_type__": "1",
        "__wd_mult__": "0.001",
    },
    "w0_weight": {
        "__init__": '["normal", {"sigma": 0.01}]',
        "__lr_mult__": "0.1",
        "__shape__": "(1,)",
        "__wd_mult__": "0.01",
    },
    "v": {
        "__init__": '["normal", {"sigma": 0.001}]',
        "__lr_mult__": "0.0001",
        "__shape__": "(2625, 64)",
        "__storage_type__": "1",
        "__wd_mult__": "1e-05",
    },
}


def nodes(predictor_type="regressor", d=2625, k=64, **settings):
    graph = json.loads(symbol_json(predictor_type, d, k, settings))
    return {node["name"]: node for node in graph["nodes"]}


def test_parameters_carry_shape_storage_type_multipliers_and_initializer_of_the_defaults():
    found = nodes()
    assert {name: found[name]["attrs"] for name in PARAMETERS} == PARAMETERS
    assert found["data"]["attrs"] == {"__storage_type__": "2"}


@pytest.mark.parametrize(
    ("predictor_type", "output"),
    [("regressor", "LinearRegressionOutput"), ("binary_classifier", "LogisticRegressionOutput")],
)
def test_the_output_is_the_predictor_types(predictor_type, output):
    assert nodes(predictor_type)["out"]["op"] == output


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"factors_init_method": "uniform", "factors_init_scale": "0.07"}, '["uniform", {"scale": 0.07}]'),
        ({"factors_init_method": "constant", "factors_init_value": "-1"}, '["constant", {"value": -1.0}]'),
        ({"factors_init_method": "normal", "factors_init_sigma": "1e-05"}, '["normal", {"sigma": 1e-05}]'),
    ],
)
def test_each_init_method_is_mxnets_initializer_with_its_argument(settings, expected):
    assert nodes(**settings)["v"]["attrs"]["__init__"] == expected


def test_rates_and_decays_are_numbers_as_python_prints_them():
    attributes = nodes(linear_lr="0.0010", linear_wd="0")["w1_weight"]["attrs"]
    assert attributes["__lr_mult__"] == "0.001"
    assert attributes["__wd_mult__"] == "0.0"


def test_inputs_point_back_and_argument_nodes_are_the_variables():
    graph = json.loads(symbol_json("regressor", 3, 2, {}))
    for number, node in enumerate(graph["nodes"]):
        assert all(source < number for source, _, _ in node["inputs"])
    variables = [i for i, node in enumerate(graph["nodes"]) if node["op"] == "null"]
    assert graph["arg_nodes"] == variables
    assert [graph["nodes"][i]["name"] for i in variables] == ["data", "w1_weight", "w0_weight", "v", "out_label"]
    assert graph["heads"] == [[len(graph["nodes"]) - 1, 0, 0]]
