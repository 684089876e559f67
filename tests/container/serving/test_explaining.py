"""Explanations within /invocations: which rows get one, what is in it, and where it is refused."""

import json
import math

import numpy as np
import pytest

from container.serving.app import create_app
from container.serving.requests import DECODERS
from container.serving.settings import ServingSettings
from tests.container.serving.conftest import make_model
from tests.container.serving.test_app import ROWS, post, sparse


def asking(features, wanted=True):
    return sparse(features) | {"configuration": {"explain": wanted}}


@pytest.mark.parametrize("form", ["json", "jsonlines"])
def test_the_instances_that_ask_get_shares_that_add_up_to_their_score(form, classifier_client, client):
    instances = [asking(row) if i % 2 == 0 else sparse(row) for i, row in enumerate(ROWS)]
    for one in (client, classifier_client):
        if form == "json":
            found = post(one, {"instances": instances}).json["predictions"]
        else:
            body = "\n".join(map(json.dumps, instances)).encode()
            answer = post(one, body, "application/jsonlines", "application/jsonlines")
            found = [json.loads(line) for line in answer.data.splitlines()]
        plain = post(one, {"instances": [sparse(row) for row in ROWS]}).json["predictions"]
        assert ["explanation" in p for p in found] == [True, False, True, False]
        for i, prediction in enumerate(found):
            why = prediction.pop("explanation", None)
            assert prediction == plain[i]
            if why is None:
                continue
            shares = [share["share"] for share in why["features"] + why["pairs"]]
            assert why["total"] == pytest.approx(why["bias"] + sum(shares) + why["rest"])
            expected = why["total"] if one is client else 1 / (1 + math.exp(-why["total"]))
            assert prediction["score"] == pytest.approx(expected, rel=1e-5)
            assert {share["feature"] for share in why["features"]} == set(ROWS[i])
            assert len(why["pairs"]) == len(ROWS[i]) * (len(ROWS[i]) - 1) // 2


def test_a_number_says_how_many_shares_and_the_rest_is_their_sum(client):
    (prediction,) = post(client, {"instances": [asking(ROWS[2], 2)]}).json["predictions"]
    why = prediction["explanation"]
    assert (len(why["features"]), len(why["pairs"]), why["n_left_out"]) == (2, 2, 6)
    shares = [abs(share["share"]) for share in why["pairs"]]
    assert shares == sorted(shares, reverse=True)
    total = why["bias"] + sum(s["share"] for s in why["features"] + why["pairs"]) + why["rest"]
    assert total == pytest.approx(prediction["score"], rel=1e-5)


@pytest.mark.parametrize(
    "configuration", [{"explain": False}, {"explain": None}, {}, {"other": True}, None, 3, "explain"]
)
def test_an_instance_that_does_not_ask_gets_none(configuration, client):
    instance = sparse(ROWS[0]) | {"configuration": configuration}
    (prediction,) = post(client, {"instances": [instance]}).json["predictions"]
    assert set(prediction) == {"score"}


@pytest.mark.parametrize("wanted", [0, -1, 1.5, "yes", [], {}])
def test_what_is_no_number_of_shares_is_refused(wanted, client):
    answer = post(client, {"instances": [sparse(ROWS[0]), asking(ROWS[0], wanted)]})
    assert answer.status_code == 400
    assert 'instance 1: "explain" is' in answer.json["detail"]


@pytest.mark.parametrize("accept", ["text/csv", "application/x-recordio-protobuf"])
def test_formats_without_room_for_explanations_are_refused(accept, client):
    answer = post(client, {"instances": [asking(ROWS[0])]}, accept=accept)
    assert answer.status_code == 406
    assert f"explanations cannot be written as {accept}" in answer.text
    assert post(client, {"instances": [sparse(ROWS[0])]}, accept=accept).status_code == 200


def test_more_pairs_than_are_quick_are_refused_before_the_work():
    model = make_model(feature_dim=2000)
    client = create_app(model, ServingSettings()).test_client()
    row = dict.fromkeys(range(1500), 1.0)
    instance = {"keys": list(row), "values": list(row.values()), "configuration": {"explain": 1}}
    assert post(client, {"instances": [instance]}).status_code == 200
    answer = post(client, {"instances": [instance] * 2})
    assert answer.status_code == 400
    assert "2248500 pairs of features in all, more than 2000000" in answer.text


def test_instances_that_ask_for_nothing_are_not_looked_through(monkeypatch):
    monkeypatch.setattr("container.serving.requests.configurations_of", lambda *_: pytest.fail("looked"))
    body = json.dumps({"instances": [sparse({1: 2.0})]}).encode()
    (rows,) = DECODERS["application/json"](body, 5)
    assert not rows.explained
    np.testing.assert_array_equal(rows.batch.indices, [1])
