"""The app through Flask's client: addresses, statuses, scores; and no junk that gets a 500."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from container.serving.app import create_app
from container.serving.errors import NotAcceptableError
from container.serving.requests import DECODERS
from container.serving.responses import ENCODERS
from container.serving.settings import ServingSettings
from fm_core.model import Model
from tests.container.serving.conftest import FEATURE_DIM, make_model, slow_score
from tests.container.serving.records import answers, framed

JSON = "application/json"


def post(client, body, content_type=JSON, accept=None, **headers):
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    if accept:
        headers["Accept"] = accept
    return client.post("/invocations", data=body, content_type=content_type, headers=headers)


def sparse(features):
    return {"data": {"features": {"keys": list(features), "shape": [FEATURE_DIM], "values": list(features.values())}}}


ROWS = [{1: 2.0, 3: 0.5}, {}, {0: 1.0, 1: -1.0, 2: 0.25, 4: 3.0}, {4: 1.5}]


def test_ping_is_empty_and_fine(client):
    answer = client.get("/ping")
    assert (answer.status_code, answer.data) == (200, b"")


def test_scores_are_those_of_the_definition(client, classifier_client, model, classifier):
    body = {"instances": [sparse(row) for row in ROWS]}
    for each, its_model in ((client, model), (classifier_client, classifier)):
        predictions = post(each, body).json["predictions"]
        expected = [slow_score(its_model, row) for row in ROWS]
        assert [p["score"] for p in predictions] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_classifier_gives_a_label_of_0_or_1_and_a_regressor_none(client, classifier_client):
    body = {"instances": [sparse(row) for row in ROWS]}
    assert all(set(p) == {"score"} for p in post(client, body).json["predictions"])
    predictions = post(classifier_client, body).json["predictions"]
    assert [p["predicted_label"] for p in predictions] == [float(p["score"] >= 0.5) for p in predictions]
    assert {p["predicted_label"] for p in predictions} == {0.0, 1.0}, "both labels should occur in this test"


@pytest.mark.parametrize("body", [{"instances": [sparse(ROWS[0])]}, {"instances": [{"features": [1]}]}, b"", b"{"])
@pytest.mark.parametrize("headers", [{}, {"Accept": "text/csv"}, {"Accept": "image/png"},
                                     {"X-Amzn-SageMaker-Custom-Attributes": "trace=1"}])  # fmt: skip
def test_the_way_around_flask_gives_the_answer_of_the_view(client, body, headers):
    answer = post(client, body, **headers)
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    with client.application.test_request_context(
        "/invocations", method="POST", data=data, content_type=JSON, headers=headers
    ):
        by_flask = client.application.full_dispatch_request()
    assert (answer.status_code, answer.data, list(answer.headers)) == (
        by_flask.status_code, by_flask.data, list(by_flask.headers),
    )  # fmt: skip


def test_half_is_labelled_1():
    model = Model("binary_classifier", 0.0, np.zeros(5, np.float32), np.zeros((5, 1), np.float32))
    answer = post(create_app(model, ServingSettings()).test_client(), {"instances": [{"features": [0] * 5}]})
    assert answer.data == b'{"predictions":[{"score":0.5,"predicted_label":1.0}]}'


def test_every_format_in_gives_the_same_scores_in_every_format_out(classifier_client):
    dense = [[row.get(i, 0) for i in range(FEATURE_DIM)] for row in ROWS]
    bodies = {
        JSON: json.dumps({"instances": [{"features": row} for row in dense]}),
        "application/jsonlines": "\n".join(json.dumps(sparse(row)) for row in ROWS),
        "application/x-recordio-protobuf": b"".join(framed(row.values(), row.keys(), FEATURE_DIM) for row in ROWS),
        "text/csv": "\n".join(",".join(map(str, row)) for row in dense),
        "text/libsvm": "\n".join("1 " + " ".join(f"{i}:{x}" for i, x in row.items()) for row in ROWS),
    }
    assert bodies.keys() == DECODERS.keys()
    readers = {
        JSON: lambda data: [(p["score"], p["predicted_label"]) for p in json.loads(data)["predictions"]],
        "application/jsonlines": lambda data: [
            (p["score"], p["predicted_label"]) for p in map(json.loads, data.splitlines())
        ],
        "application/x-recordio-protobuf": lambda data: [
            (a["score"], a["predicted_label"]) for a, _, _ in answers(data)
        ],
        "text/csv": lambda data: [tuple(map(float, line.split(b","))) for line in data.splitlines()],
    }
    assert readers.keys() == ENCODERS.keys()
    expected = np.array(readers[JSON](post(classifier_client, bodies[JSON]).data), np.float32)
    for content_type, body in bodies.items():
        for accept, read in readers.items():
            answer = post(classifier_client, body, content_type, accept)
            assert answer.status_code == 200, answer.text
            assert answer.content_type == accept
            assert np.array(read(answer.data), np.float32) == pytest.approx(expected, rel=1e-6)


def test_uid_and_metadata_come_back_with_the_score(client):
    body = framed([1.0], [1], FEATURE_DIM, uid="user 7", metadata='{"k": "v"}') + framed([1.0], [2], FEATURE_DIM)
    recordio = "application/x-recordio-protobuf"
    found = answers(post(client, body, recordio, recordio).data)
    assert [(uid, metadata) for _, uid, metadata in found] == [("user 7", '{"k": "v"}'), ("", "")]
    assert all(set(labels) == {"score"} for labels, _, _ in found)


def test_accept_decides_and_the_setting_where_it_is_open(model):
    client = create_app(model, ServingSettings(default_accept="text/csv")).test_client()
    body = {"instances": [sparse({})]}
    assert post(client, body).content_type == "text/csv"
    assert post(client, body, accept="*/*").content_type == "text/csv"
    assert post(client, body, accept="application/json").content_type == JSON


def test_a_default_that_cannot_be_written_is_refused_at_the_start(model):
    with pytest.raises(NotAcceptableError, match="text/html"):
        create_app(model, ServingSettings(default_accept="text/html"))


def test_execution_parameters_are_the_settings(model):
    settings = ServingSettings(max_concurrent_transforms=3, max_payload_mb=7, batch_strategy="SINGLE_RECORD")
    answer = create_app(model, settings).test_client().get("/execution-parameters")
    assert answer.json == {"MaxConcurrentTransforms": 3, "MaxPayloadInMB": 7, "BatchStrategy": "SINGLE_RECORD"}


def test_custom_attributes_are_echoed_with_answers_and_refusals(client):
    name = "X-Amzn-SageMaker-Custom-Attributes"
    for body, status in (({"instances": []}, 200), (b"junk", 400)):
        answer = (
            client.post("/invocations", json=body, headers={name: "trace=7; a"})
            if status == 200
            else post(client, body, **{name: "trace=7; a"})
        )
        assert answer.status_code == status
        assert answer.headers[name] == "trace=7; a"
    assert name not in client.get("/ping").headers


@pytest.mark.parametrize(
    ("status", "sentence", "request_of"),
    [
        (400, "the body is empty", {"data": b"", "content_type": JSON}),
        (400, "the body is not valid JSON", {"data": b"{", "content_type": JSON}),
        (406, "Accept is 'image/png'", {"json": {"instances": []}, "headers": {"Accept": "image/png"}}),
        (413, "the body has 1001 bytes, more than the limit of 1000", {"data": b" " * 1001, "content_type": JSON}),
        (415, "application/octet-stream", {"data": b"x", "content_type": "application/octet-stream"}),
        (415, "no Content-Type", {"data": b"x"}),
    ],
)
def test_statuses_and_sentences(model, status, sentence, request_of):
    client = create_app(model, ServingSettings(max_content_length=1000)).test_client()
    answer = client.post("/invocations", **request_of)
    assert (answer.status_code, answer.content_type) == (status, JSON)
    assert answer.json.keys() == {"status", "title", "detail"}
    assert answer.json["status"] == status
    assert sentence in answer.json["detail"]
    assert "\n" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("get", "/metrics", 404), ("get", "/models", 404), ("post", "/ping", 405), ("get", "/invocations", 405)],
)
def test_other_addresses_and_methods(client, method, path, status):
    answer = getattr(client, method)(path)
    assert answer.status_code == status
    assert answer.json["status"] == status, "no page of HTML"
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_chunked_body_is_counted_too(model):
    client = create_app(model, ServingSettings(max_content_length=1000)).test_client()
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}
    send = {"content_type": JSON, "environ_overrides": environ}
    assert client.post("/invocations", data=b'{"instances":[]}' + b" " * 984, **send).status_code == 200
    assert client.post("/invocations", data=b'{"instances":[]}' + b" " * 985, **send).status_code == 413


def test_scores_beyond_float32_are_refused_by_row(client):
    body = {"instances": [sparse({1: 1.0}), sparse({0: 3e38, 1: 3e38, 2: 3e38})]}
    answer = post(client, body)
    assert answer.status_code == 400
    assert "row 1" in answer.text


def test_a_fault_of_ours_is_a_500_without_its_traceback(caplog):
    class Broken(Model):
        def predict(self, batch, num_threads=1):
            raise KeyError("secret detail")

    base = make_model()
    client = create_app(Broken("regressor", 0.0, base.w, base.V), ServingSettings()).test_client()
    answer = post(client, {"instances": [sparse({})]})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret detail" in caplog.text


def test_threads_are_used_for_large_bodies_only():
    used = []

    class Counting(Model):
        def predict(self, batch, num_threads=1):
            used.append(num_threads)
            return np.zeros(batch.n_rows, np.float32)

    model = Counting("regressor", 0.0, np.zeros(500_000, np.float32), np.zeros((500_000, 64), np.float32))
    client = create_app(model, ServingSettings(predict_threads=8)).test_client()
    post(client, {"instances": [{"keys": [1], "values": [1]}]})
    post(client, "\n".join([",".join(["1"] * 500_000)]), "text/csv")
    assert used == [1, 8]


# --- ranking ---------------------------------------------------------------------------------


def rank(client, *instances, accept=None):
    return post(client, {"instances": list(instances)}, accept=accept)


def test_ranking_equals_scoring_each_pair(classifier_client, classifier):
    context, candidates = {0: 1.0, 2: 0.5}, [{1: 1.0}, {3: 2.0, 4: 1.0}, {}, {4: -1.0}]
    instance = {"context": sparse(context), "candidates": [sparse(c) for c in candidates], "top_k": 3}
    (ranked,) = rank(classifier_client, instance).json["predictions"]
    scores = [slow_score(classifier, context | candidate) for candidate in candidates]
    best = sorted(range(4), key=lambda i: -scores[i])[:3]
    assert [c["index"] for c in ranked["candidates"]] == best
    assert [c["score"] for c in ranked["candidates"]] == pytest.approx([scores[i] for i in best], rel=1e-5)
    assert [c["predicted_label"] for c in ranked["candidates"]] == [float(scores[i] >= 0.5) for i in best]


def test_several_contexts_each_have_their_own_candidates(client):
    instance = {"context": sparse({0: 1.0}), "candidates": [sparse({1: 1.0})]}
    answer = rank(client, instance, instance | {"candidates": []}, accept="application/jsonlines")
    first, second = map(json.loads, answer.data.splitlines())
    assert len(first["candidates"]) == 1
    assert second == {"candidates": []}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"candidates": {}}, '"candidates" is not a list'),
        ({"top_k": 0}, '"top_k" is 0'),
        ({"top_k": True}, '"top_k" is True'),
        ({"context": 1}, "instance 0, context 0 is an integer"),
        ({"candidates": [{"keys": [9], "values": [1]}]}, "instance 0, candidate 0: key 9 is not below feature_dim=5"),
    ],
)
def test_a_ranking_that_cannot_be_read_is_refused(client, change, sentence):
    answer = rank(client, {"context": sparse({}), "candidates": [sparse({})]} | change)
    assert answer.status_code == 400
    assert sentence in answer.json["detail"]


def test_rankings_and_plain_instances_do_not_mix(client):
    ranking = {"context": sparse({}), "candidates": []}
    assert rank(client, ranking, sparse({})).status_code == 400
    assert rank(client, sparse({}), ranking).status_code == 400


def test_rankings_have_no_recordio_form(client):
    answer = rank(client, {"context": sparse({}), "candidates": []}, accept="application/x-recordio-protobuf")
    assert answer.status_code == 406


# --- junk ------------------------------------------------------------------------------------

LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREE = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["instances", "features", "data", "values", "keys", "shape", "context", "candidates", "top_k", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
GOOD = framed([1.0, 2.0], [1, 3], 5, uid="u")


def mangled(draw):
    body = bytearray(GOOD * draw(st.integers(1, 3)))
    for _ in range(draw(st.integers(0, 4))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)))])


BODY = st.one_of(
    st.binary(max_size=200),
    TREE.map(lambda tree: json.dumps(tree).encode()),
    st.lists(TREE, max_size=3).map(lambda trees: json.dumps({"instances": trees}).encode()),
    st.lists(TREE, max_size=3).map(lambda trees: b"\n".join(json.dumps(tree).encode() for tree in trees)),
    st.text("0123456789.,:eE+-_ nainf#\n", max_size=80).map(str.encode),
    st.composite(mangled)(),
)


@given(body=BODY, content_type=st.sampled_from(sorted(DECODERS)), accept=st.sampled_from(sorted(ENCODERS)))
@example(body=b'{"instances":[{"keys":[1],"values":[1]}]}', content_type=JSON, accept="text/csv")
def test_no_body_is_a_fault_of_ours(client, body, content_type, accept):
    answer = post(client, body, content_type, accept)
    assert answer.status_code in (200, 400, 406), answer.text
    if answer.status_code == 200 and accept == JSON and b"candidates" not in body:
        assert all(np.isfinite(p["score"]) for p in answer.json["predictions"])
    if answer.status_code != 200:
        assert answer.text
        assert len(answer.text) < 1024


@given(accept=st.text(max_size=60), content_type=st.text(max_size=60))
def test_no_header_is_a_fault_of_ours(client, accept, content_type):
    environ = {"HTTP_ACCEPT": accept, "CONTENT_TYPE": content_type}
    answer = client.post("/invocations", data=b'{"instances":[]}', environ_overrides=environ)
    assert answer.status_code in (200, 400, 406, 415)
