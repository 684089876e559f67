"""The endpoint's description of itself: every address, media type and status there is, and no other."""

import re

import jsonschema
import pytest

from container.serving.app import create_app
from container.serving.errors import STATUSES
from container.serving.model_registry import ModelRegistry
from container.serving.openapi import describe
from container.serving.requests import DECODERS
from container.serving.responses import ENCODERS
from container.serving.settings import ServingSettings
from fm_core.artifact.model_file import load_model
from tests.container.serving.conftest import make_model


@pytest.fixture(params=[False, True], ids=["one model", "many models"])
def app(request, tmp_path):
    (tmp_path / "state").mkdir()
    models = ModelRegistry(tmp_path, 2**30, tmp_path / "state", load_model) if request.param else make_model()
    app = create_app(models, ServingSettings())
    app.config["MANY"] = request.param
    return app


def test_every_address_is_described_and_no_other(app):
    there = {
        (re.sub("<(path:)?(.*?)>", r"{\2}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    } | {("/metrics", "get")}  # which stands before the app
    document = app.test_client().get("/openapi.json").json
    assert document == describe(app.config["MANY"])
    described = {
        (path, method) for path, methods in document["paths"].items() for method in methods if method != "parameters"
    }
    assert described == there


def test_the_media_types_and_statuses_of_predictions_are_those_of_the_registries():
    predictions = describe(False)["paths"]["/invocations"]["post"]
    assert list(predictions["requestBody"]["content"]) == list(DECODERS)
    assert list(predictions["responses"]["200"]["content"]) == list(ENCODERS)
    assert {int(status) for status in predictions["responses"]} == {200} | {s for _, s in STATUSES} - {404, 409}


def test_references_lead_somewhere_and_the_schemas_are_schemas():
    document = describe(True)
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", str(document)):
        assert name in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "row",
    [
        {"features": [1.5, 16.0]},
        {"data": {"features": {"values": [1.5, 16.0]}}},
        {"data": {"features": {"keys": [26, 182], "shape": [2000], "values": [1, 1]}}},
        {"keys": [26, 182], "values": [1, 1]},
        {"columns": {"user": "ann", "year": 1979}},
        {"context": {"keys": [7], "values": [1]}, "candidates": [{"keys": [1201], "values": [1]}], "top_k": 10},
        {"columns": {"user": "ann"}, "top_k": 10, "exclude": ["Alien"], "filter": {"genre": "comedy"}},
    ],
    ids=str,
)
def test_what_may_be_asked_is_as_described(row):
    document = describe(False)
    body = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    whole = document | {"$ref": "#/wanted", "wanted": body}
    jsonschema.Draft202012Validator(whole).validate({"instances": [row]})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(whole).validate({"instances": [{"features": "many"}]})
