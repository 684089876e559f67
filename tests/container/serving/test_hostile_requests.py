"""Requests with a value where none of its kind belongs: an answer or one sentence, never an unhandled exception."""

import itertools
import json

import numpy as np
import pytest

from container.serving import invocation, requests
from container.serving.app import create_app
from container.serving.served_model import open_with_schema
from container.serving.settings import ServingSettings
from fm_core.artifact.model_file import save_model
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model

USERS, FILMS = tuple(f"u{i}" for i in range(5)), tuple(f"f{i}" for i in range(8))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    schema = TableSchema(
        (
            Column("user", "categorical", USERS),
            Column("film", "categorical", FILMS),
            Column("genre", "categorical", ("a", "b"), separator="|"),
            Column("year", "numeric"),
        ),
        label="rating",
    )
    random = np.random.default_rng(0)
    d = schema.feature_dim
    model = Model("regressor", 3.0, random.normal(size=d).astype(np.float32),
                  random.normal(size=(d, 2)).astype(np.float32))  # fmt: skip
    save_model(folder / "model_algo-1", model, {})
    schema.save(folder / "schema.json")
    lines = [f"{film},{'ab'[i % 2]},{1990 + i}" for i, film in enumerate(FILMS)]
    (folder / "catalogue.csv").write_text("\n".join(["film,genre,year", *lines]) + "\n")
    return create_app(open_with_schema(None, "error")(folder), ServingSettings()).test_client()


#: Requests as they should be, with a mark in place of each value.
ROW = '{"user": %s, "film": %s, "genre": %s, "year": %s}'
PLACES = [
    ('{"columns": {"user": "u1"}, "top_k": 2, "filter": {"year": %s}}', "1990"),
    ('{"columns": {"user": "u1"}, "top_k": 2, "filter": {"year": {"min": %s}}}', "1990"),
    ('{"columns": {"user": "u1"}, "top_k": 2, "filter": {"genre": [%s]}}', '"a"'),
    ('{"columns": {"user": "u1"}, "top_k": 2, "filter": %s}', "{}"),
    ('{"columns": {"user": "u1"}, "top_k": %s}', "2"),
    ('{"columns": {"user": "u1"}, "top_k": 2, "exclude": %s}', "[]"),
    ('{"columns": {"user": "u1"}, "top_k": 2, "exclude": [%s]}', '"f1"'),
    ('{"columns": {"user": "u1"}, "top_k": 2, "explain": %s}', "1"),
    ('{"columns": {"user": "u1"}, "top_k": 2, "spread": %s}', "false"),
    ('{"columns": {"user": "u1"}, "top_k": 2, "configuration": %s}', "{}"),
    ('{"columns": {"user": %s}, "top_k": 2}', '"u1"'),
    ('{"columns": %s, "top_k": 2}', "{}"),
    ('{"context": %s, "top_k": 2}', '{"keys": [1], "values": [1]}'),
    ('{"context": {"keys": [%s], "values": [1]}, "top_k": 2}', "1"),
    ('{"context": {"keys": [1], "values": [%s]}, "top_k": 2}', "1"),
    ('{"top_k": 2, "history": %s}', '[{"film": "f1", "label": 4}]'),
    ('{"top_k": 2, "history": [{"film": %s, "label": 4}]}', '"f1"'),
    ('{"top_k": 2, "history": [{"film": "f1", "label": %s}]}', "4"),
    ('{"top_k": 2, "history_of": %s, "history": [{"film": "f1", "label": 4}]}', '"user"'),
    ('{"context": {"columns": {"user": "u1"}}, "candidates": [{"columns": {"film": %s}}]}', '"f1"'),
    ('{"context": {"columns": {"user": "u1"}}, "candidates": %s}', '[{"columns": {"film": "f1"}}]'),
    ('{"columns": {"user": %s, "film": "f1", "genre": "a", "year": 1}}', '"u1"'),
    ('{"columns": {"user": "u1", "film": "f1", "genre": [%s], "year": 1}}', '"a"'),
    ('{"columns": {"user": "u1", "film": "f1", "genre": "a", "year": %s}}', "1"),
    ('{"features": %s}', "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1]"),
    ('{"keys": [%s], "values": [1]}', "1"),
    ('{"keys": [1], "values": [%s]}', "1"),
    ('{"data": {"features": {"keys": [1], "values": [1], "shape": [%s]}}}', "16"),
    ('{"data": %s}', '{"features": {"keys": [1], "values": [1]}}'),
    ('{"keys": [1], "values": [1], "configuration": {"explain": %s}}', "true"),
    ('{"keys": [1], "values": [1], "configuration": {"spread": %s}}', "false"),
]  # fmt: skip
VALUES = [
    "null", "true", "0", "-1", "1.5", "1e308", "-1e308", "1e400", "NaN", "Infinity", "18446744073709551616", "9" * 400,
    '""', '"\\u0000"', '"\\ud800"', '"#quality_metric: host=a, test rmse <loss>=0\\n\\u001b[2J"', "{}", "[]", "[[]]",
    *("[" * depth + "]" * depth for depth in (200, 260, 500, 1000, 1100)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (200, 260, 500, 1000)),
    "[" + "1," * 20_000 + "1]", '"' + "x" * 50_000 + '"', '{"a": 1, "a": 2}',
]  # fmt: skip


@pytest.mark.parametrize(("place", "good"), PLACES)
def test_each_place_takes_what_it_should_and_refuses_the_rest_in_a_sentence(client, place, good):
    def ask(value, media_type="application/json"):
        instance = place.replace("%s", value)
        body = instance if media_type == "application/jsonlines" else f'{{"instances": [{instance}]}}'
        return client.post("/invocations", data=body.encode(), content_type=media_type)

    assert ask(good).status_code == 200, ask(good).text
    for value, media_type in itertools.product(VALUES, ("application/json", "application/jsonlines")):
        answer = ask(value, media_type)
        assert answer.status_code in (200, 400), (value[:100], answer.text)
        if answer.status_code == 400:
            detail = json.loads(answer.text)["detail"]
            assert detail.isprintable()
            assert len(detail) < 600, (value[:100], detail)
            assert "#quality_metric" not in detail


def wishes(n, **members):
    return [{"columns": {"user": f"u{i % 5}"}, "top_k": 1 + i % 9} | members for i in range(n)]


@pytest.mark.parametrize("media_type", ["application/json", "application/jsonlines"])
@pytest.mark.parametrize(("n", "items_together"), [(600, 100_000), (40, 10), (3, 0)])
def test_requests_for_items_in_parts_are_answered_as_one_by_one(client, media_type, n, items_together, monkeypatch):
    monkeypatch.setattr(requests, "ITEMS_TOGETHER", items_together)

    def ask(instances):
        lines = [json.dumps(each).encode() for each in instances]
        body = b"\n".join(lines) if media_type.endswith("lines") else b'{"instances":[%b]}' % b",".join(lines)
        return client.post("/invocations", data=body, content_type=media_type, headers={"Accept": "application/json"})

    alone = [json.loads(ask([each]).text)["predictions"][0] for each in wishes(45)]
    answer = ask(wishes(n))
    assert answer.status_code == 200
    assert json.loads(answer.text)["predictions"] == [alone[i % 45] for i in range(n)]
    refused = ask([*wishes(n), {"columns": {}, "top_k": 0}])
    assert (refused.status_code, f'instance {n}: "top_k" is 0' in json.loads(refused.text)["detail"]) == (400, True)


def test_a_request_may_ask_for_so_many_items(client, monkeypatch):
    """60,000 requests for a whole catalogue are 6 MB, and their answer may be any size."""
    monkeypatch.setattr(invocation, "MOST_ITEMS", 100)
    for top_k, status in ((5, 200), (6, 400), (10**18, 400)):
        instances = [each | {"top_k": top_k} for each in wishes(20)]
        answer = client.post("/invocations", json={"instances": instances})
        assert answer.status_code == status
        assert status == 200 or "asks for more than 100 items in all: send fewer" in json.loads(answer.text)["detail"]


@pytest.mark.parametrize("name", ["exclude", "filter"])
def test_long_lists_mean_what_their_texts_do(client, name):
    """Of texts and numbers, 7 as "7"; those that are no item are of no consequence."""
    others = [*range(20_000), *(f"g{i}" for i in range(20_000)), 1.5, True, 10**18]
    found = []
    for items in (["f1", " f2 ", *others], ["f1", "f2"]):
        value = items if name == "exclude" else {"film": items}
        answer = client.post("/invocations", json={"instances": [wishes(1, top_k=9, **{name: value})[0]]})
        assert answer.status_code == 200, answer.text
        found.append(json.loads(answer.text)["predictions"][0]["items"])
    assert found[0] == found[1]
    assert len(found[1]) == {"exclude": 6, "filter": 2}[name]
