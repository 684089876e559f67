"""The tables of requests, answers and statuses in docs/reference/contract.md, over sockets."""

import contextlib
import json
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest

from container.serving.requests import DECODERS
from container.serving.responses import ENCODERS
from fm_core.artifact.model_file import save_model
from tests.container.serving.conftest import make_model, slow_score
from tests.container.serving.records import answers, framed
from tests.contract.serving import detail, serving

JSON, LINES, RECORDIO = "application/json", "application/jsonlines", "application/x-recordio-protobuf"

ROW = {1: 2.0, 3: 0.5}
BODIES = {
    JSON: json.dumps({"instances": [{"data": {"features": {"keys": [1, 3], "shape": [5], "values": [2, 0.5]}}}]}),
    LINES: json.dumps({"features": [0, 2, 0, 0.5, 0]}),
    RECORDIO: framed([2.0, 0.5], [1, 3], 5),
    "text/csv": "0,2,0,0.5,0",
    "text/libsvm": "1 1:2 3:0.5",
}
READERS = {
    JSON: lambda body: json.loads(body)["predictions"][0]["score"],
    LINES: lambda body: json.loads(body)["score"],
    RECORDIO: lambda body: answers(body)[0][0]["score"],
    "text/csv": lambda body: float(body.split(b",")[0]),
}


@pytest.fixture(scope="module")
def model():
    return make_model("binary_classifier")


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("ml")
    (root / "model").mkdir()
    save_model(root / "model/model_algo-1", model, {})
    with serving(root, tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.mark.parametrize("accept", ENCODERS)
@pytest.mark.parametrize("content_type", DECODERS)
def test_every_format_comes_in_and_goes_out(server, model, content_type, accept):
    status, headers, body = server.invoke(BODIES[content_type], content_type, accept)
    assert (status, headers["Content-Type"]) == (200, accept)
    assert READERS[accept](body) == pytest.approx(slow_score(model, ROW), rel=1e-5)


REFUSED = {
    "an empty body": (400, JSON, None, b"", "empty"),
    "no JSON": (400, JSON, None, b"{", "not valid JSON"),
    "NaN": (400, JSON, None, b'{"instances":[{"features":[NaN]}]}', "no NaN"),
    "deep nesting": (400, JSON, None, b"[" * 1_000_000, "not valid JSON"),
    "a key too high": (400, JSON, None, b'{"instances":[{"keys":[5],"values":[1]}]}', "feature_dim=5"),
    "another width": (400, "text/csv", None, b"1,2", "line 1: found 2 columns"),
    "a cut record": (400, RECORDIO, None, framed([1.0], [1], 5)[:-5], "record 0"),
    "no acceptable type": (406, JSON, "image/png", BODIES[JSON], "accept one of"),
    "too large": (413, JSON, None, b" " * (6 * 2**20 + 1), "more than the limit of 6291456"),
    "octet-stream": (415, "application/octet-stream", None, b"x", "set it to one of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_a_status_and_a_sentence(server, case):
    expected, content_type, accept, sent, sentence = REFUSED[case]
    workers = server.workers
    answer = server.invoke(sent, content_type, accept)
    assert answer[0] == expected
    assert sentence in detail(answer)
    assert server.workers == workers


def test_the_largest_body_is_taken(server):
    body = BODIES[JSON].encode()
    status, _, answer = server.invoke(body + b" " * (6 * 2**20 - len(body)))
    assert (status, len(json.loads(answer)["predictions"])) == (200, 1)


@pytest.mark.parametrize(("method", "path", "expected"), [("GET", "/no", 404), ("DELETE", "/invocations", 405)])
def test_other_addresses_and_methods(server, method, path, expected):
    assert server.ask(method, path)[0] == expected


def test_a_chunked_body_is_read_whole_and_bounded(server):
    def pieces(n):
        yield BODIES[JSON].encode()
        for _ in range(n):
            yield b" " * 2**20

    assert server.invoke(pieces(2))[0] == 200
    assert server.invoke(pieces(7))[0] == 413
    assert server.ask("GET", "/ping")[0] == 200


def test_several_requests_on_one_connection_refusals_between(server):
    with server.connect() as connection:
        for body, expected in ((BODIES[JSON], 200), ("{", 400), (BODIES[JSON], 200)):
            connection.request("POST", "/invocations", body, {"Content-Type": JSON})
            answer = connection.getresponse()
            assert answer.status == expected
            answer.read()


@pytest.mark.parametrize(
    "sent",
    [
        b"junk\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nContent-Type: application/json\r\n\r\nab",
        b"GET /" + b"a" * 100_000,
    ],
)
def test_broken_http_leaves_the_server_alive(server, sent):
    workers = server.workers
    # Hung up on in the midst of it, or before: a socket without a peer cannot be shut down.
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as client,
        contextlib.suppress(ConnectionError),
    ):
        client.sendall(sent)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert server.ask("GET", "/ping")[0] == 200
    assert server.workers == workers


def test_ten_million_instances_are_refused_and_the_worker_lives(model, tmp_path):
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model/model_algo-1", model, {})
    with serving(tmp_path, tmp_path, SAGEMAKER_BATCH="true", SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:
        workers = server.workers
        answer = server.invoke(b'{"instances":[' + b"1," * 10_000_000 + b"1]}")
        assert (answer[0], detail(answer)[:24]) == (400, "instance 0 is an integer")
        assert server.workers == workers
        for worker in workers:
            status_file = Path(f"/proc/{worker}/status").read_text()
            high_water = next(line for line in status_file.splitlines() if line.startswith("VmHWM"))
            assert int(high_water.split()[1]) < 600_000, "kB"


def test_the_builtins_own_model_scores_its_test_set_as_its_log_says(shared, tmp_path):
    run = shared / "reference_runs/ml100k_reg_k64_e50_b1000"
    (tmp_path / "model").mkdir()
    with tarfile.open(f"{run}.model.tar.gz") as archive:
        archive.extractall(tmp_path / "model", filter="data")
    records = (run.parent / (run.name + ".test.protobuf")).read_bytes()
    labels = np.array([label["values"] for label, _, _ in answers(records)])
    with serving(tmp_path, tmp_path) as server:
        status, _, body = server.invoke(records, RECORDIO, "text/csv")
    scores = np.array(body.split(), np.float64)
    assert (status, len(scores)) == (200, 20_000)
    assert np.sqrt(np.mean((scores - labels) ** 2)) == pytest.approx(1.00026, abs=5e-6)
