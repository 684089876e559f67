"""Requests for the uncertainty of a score, in each form that a request has."""

import json

import numpy as np
import pytest

from container.serving.app import create_app, takes_long
from container.serving.served_model import open_with_schema
from container.serving.settings import ServingSettings
from fm_core.analysis.catalogue import Catalogue
from fm_core.artifact.model_file import save_model
from fm_core.artifact.spread_file import SPREAD_FILE, save_spread
from fm_core.errors import ArtifactError
from fm_core.formats.requests import json_parts
from fm_core.formats.tables.array_table import TextTable
from fm_core.model import Model
from tests.fm_core.test_spread import FEATURE_DIM, ROWS, batch_of, make_spread

BATCH, _ = batch_of(ROWS)
ASKING = {"configuration": {"spread": True}}


def make_model(kind="regressor", spread=True):
    rng = np.random.default_rng(0)
    model = Model(kind, 0.5, rng.random(FEATURE_DIM, np.float32), rng.random((FEATURE_DIM, 2), np.float32))
    model.spread = make_spread(is_classifier=kind != "regressor") if spread else None
    return model


def served(folder, model):
    save_model(folder / "model_algo-1", model, {})
    save_spread(folder, model)
    return open_with_schema(None, "error")(folder)


@pytest.fixture(params=["regressor", "binary_classifier"])
def model(request):
    return make_model(request.param)


@pytest.fixture
def client(model, tmp_path):
    return create_app(served(tmp_path, model), ServingSettings()).test_client()


def sparse(row, **more):
    return {"keys": list(row), "values": list(row.values()), **more}


def post(client, body, content_type="application/json", accept="application/json"):
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post("/invocations", data=data, content_type=content_type, headers={"Accept": accept})


def test_all_rows_of_a_request_have_it_that_asks_for_all(client, model):
    body = {"instances": [sparse(row) for row in ROWS], **ASKING}
    found = post(client, body).json["predictions"]
    np.testing.assert_allclose([item["std"] for item in found], model.std(BATCH), rtol=1e-6)
    np.testing.assert_allclose([item["score"] for item in found], model.predict(BATCH), rtol=1e-6)
    assert next(iter(found[0])) == "score"
    assert list(found[0])[-1] == "std"


def test_each_instance_may_ask_or_decline_for_itself(client, model):
    asking = [sparse(ROWS[0]), sparse(ROWS[1], **ASKING), sparse(ROWS[2], configuration={"spread": False})]
    found = post(client, {"instances": asking}).json["predictions"]
    assert ["std" in item for item in found] == [False, True, False]
    assert found[1]["std"] == pytest.approx(model.std(BATCH)[1], rel=1e-6)
    found = post(client, {"instances": asking, **ASKING}).json["predictions"]
    assert ["std" in item for item in found] == [True, True, False]


def test_jsonlines_and_explanations_beside_it(client, model):
    both = {"configuration": {"spread": True, "explain": 1}}
    lines = "\n".join(json.dumps(sparse(row, **both)) for row in ROWS)
    answer = post(client, lines, "application/jsonlines", "application/jsonlines").text.split("\n")
    found = [json.loads(line) for line in answer]
    np.testing.assert_allclose([item["std"] for item in found], model.std(BATCH), rtol=1e-6)
    assert all("explanation" in item for item in found)
    assert all(
        "explanation" in item for item in post(client, {"instances": [sparse(ROWS[0])], **both}).json["predictions"]
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_large_request_in_parts_is_as_one(client, model, monkeypatch, first):
    monkeypatch.setattr(json_parts, "PART_BYTES", 60)
    instances = [sparse(row) for row in ROWS * 5]
    body = {**ASKING, "instances": instances} if first else {"instances": instances, **ASKING}
    found = post(client, body).json["predictions"]
    np.testing.assert_allclose([item["std"] for item in found], np.tile(model.std(BATCH), 5), rtol=1e-6)


def test_rankings_have_it_of_context_and_candidate_together(client, model):
    candidates = [{7: 2.0}, {4: -1.0, 9: 3.0}, {1: 1.0, 2: 1.0}]
    ranking = {"context": sparse({1: 1.0, 8: 0.5}), "candidates": [sparse(each) for each in candidates], **ASKING}
    for body in ({"instances": [ranking]}, {"instances": [ranking | {"configuration": {}}], **ASKING}):
        (found,) = post(client, body).json["predictions"]
        rows, _ = batch_of([{1: 1.0, 8: 0.5, 7: 2.0}, {1: 1.0, 8: 0.5, 4: -1.0, 9: 3.0}, {1: 2.0, 8: 0.5, 2: 1.0}])
        expected = model.std(rows)
        for item in found["candidates"]:
            assert item["std"] == pytest.approx(expected[item["index"]], rel=1e-6)


def test_recommendations_have_it(tmp_path, model):
    items = TextTable("x", {"item": ["a", "b", "c"], "features": ["1", "2:0.5", "4 7:2"]})
    Catalogue.read([items], None, FEATURE_DIM).save(tmp_path / "catalogue.csv")
    client = create_app(served(tmp_path, model), ServingSettings()).test_client()
    wish = {"context": sparse({9: 1.0}), "top_k": 3}
    rows, _ = batch_of([{9: 1.0, 1: 1.0}, {9: 1.0, 2: 0.5}, {9: 1.0, 4: 1.0, 7: 2.0}])
    expected = dict(zip("abc", model.std(rows).tolist(), strict=True))
    for body in (
        {"instances": [wish | ASKING]},
        {"instances": [wish], **ASKING},
        {"instances": [wish | {"spread": True}]},
    ):
        (found,) = post(client, body).json["predictions"]
        assert {item["columns"]["item"]: pytest.approx(item["std"], rel=1e-6) for item in found["items"]} == expected
    (found,) = post(client, {"instances": [wish]}).json["predictions"]
    assert "std" not in found["items"][0]
    refused = post(client, {"instances": [wish | {"spread": 3}]})
    assert '"spread" is 3, expected true or false' in refused.json["detail"]


@pytest.mark.parametrize("accept", ["text/csv", "application/x-recordio-protobuf"])
def test_formats_without_room_for_it_are_refused(client, accept):
    answer = post(client, {"instances": [sparse(ROWS[0])], **ASKING}, accept=accept)
    assert answer.status_code == 406
    assert "standard deviations cannot be written as" in answer.text


@pytest.mark.parametrize("wanted", [1, "yes", [], {}, 0.5])
def test_what_is_neither_true_nor_false_is_refused(client, wanted):
    answer = post(client, {"instances": [sparse(ROWS[0]), sparse(ROWS[1], configuration={"spread": wanted})]})
    assert answer.status_code == 400
    assert 'instance 1: "spread" is' in answer.json["detail"]


@pytest.mark.parametrize("body", [
    {"instances": [sparse(ROWS[0])], **ASKING},
    {"instances": [{"context": sparse(ROWS[0]), "candidates": [sparse(ROWS[1])], **ASKING}]},
])  # fmt: skip
def test_a_model_without_it_says_so(tmp_path, body):
    client = create_app(served(tmp_path, make_model(spread=False)), ServingSettings()).test_client()
    answer = post(client, body)
    assert answer.status_code == 400
    assert "spread is not possible: the model has no spread: train it with solver bayes" in answer.json["detail"]


def test_other_configurations_are_left_alone_as_ever(client):
    for configuration in (None, 3, [], "x", {}, {"k": 1}):
        body = {"instances": [sparse(ROWS[0], configuration=configuration)], "configuration": configuration}
        assert set(post(client, body).json["predictions"][0]) <= {"score", "predicted_label"}


def test_a_request_that_asks_is_handed_to_a_process_that_computes():
    assert takes_long({"PATH_INFO": "/invocations"}, json.dumps(ASKING).encode())
    assert takes_long({"PATH_INFO": "/invocations"}, b'{"instances": [{"columns": {}, "top\\u005fk": 2}]}')
    assert not takes_long({"PATH_INFO": "/invocations"}, b'{"instances": []}')
    assert not takes_long({"PATH_INFO": "/invocations"}, b'{"instances": [{"columns": {"film": "L\\u00e9on"}}]}')


def test_a_spread_of_another_model_or_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    served(tmp_path / "a", make_model())
    other = make_model()
    other.w0 = 0.25
    save_model(tmp_path / "a/model_algo-1", other, {})
    with pytest.raises(ArtifactError, match="it is the spread of another model"):
        open_with_schema(None, "error")(tmp_path / "a")
    (tmp_path / "a" / SPREAD_FILE).rename(tmp_path / SPREAD_FILE)
    (tmp_path / "a" / SPREAD_FILE).symlink_to(tmp_path / SPREAD_FILE)
    with pytest.raises(ArtifactError, match="points outside the model's folder, expected a spread below it"):
        open_with_schema(None, "error")(tmp_path / "a")


def test_values_beyond_float32_are_refused(client):
    answer = post(client, {"instances": [{"keys": [1, 2], "values": [1e20, 1.0]}], **ASKING})
    assert answer.status_code == 400 or np.isfinite(answer.json["predictions"][0]["std"])
