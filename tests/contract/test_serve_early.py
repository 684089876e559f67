"""Answers that come before their time: the connection is usable afterwards, or closed in an orderly way."""

import http.client
import json
import socket

import pytest

from fm_core.artifact.model_file import save_model
from tests.container.serving.conftest import make_model
from tests.contract.serving import detail, serving

JSON = "application/json"
GOOD = b'{"instances":[{"keys":[1],"values":[1]}]}'
LIMIT = 6 * 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "model").mkdir()
    save_model(root / "model/model_algo-1", make_model(), {})
    with serving(root, root) as server:
        yield server


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    with serving(root, root, SAGEMAKER_MULTI_MODEL="true") as server:
        yield server


def on_one_connection(port, *requests):
    """Answers to (method, path, body, headers) in turn; a connection that is lost is not made again."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    connection.auto_open = 0
    try:
        for method, path, body, headers in requests:
            connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
            answer = connection.getresponse()
            yield answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def chunks(size):
    return (b" " * min(65536, size - at) for at in range(0, size, 65536))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [10, 70_000, 300_000, LIMIT - 1, LIMIT + 1, 3 * LIMIT])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/invocations", {"Content-Type": "application/octet-stream"}, 415),
        ("/invocations", {"Content-Type": JSON, "Accept": "image/png"}, 406),
        ("/nothing", {"Content-Type": JSON}, 404),
        ("/ping", {"Content-Type": JSON}, 405),
    ],
)
def test_after_a_refused_body_the_connection_goes_on(server, path, headers, status, size, chunked):
    body = chunks(size) if chunked else b" " * size
    headers = headers | ({"Transfer-Encoding": "chunked"} if chunked else {})
    refused, answered = on_one_connection(
        server.port,
        ("POST", path, body, headers),
        ("POST", "/invocations", GOOD, {"Content-Type": JSON}),
    )
    assert refused[0] == (status if size <= LIMIT else 413)
    assert detail(refused)
    assert answered[0] == 200


@pytest.mark.parametrize("size", [10, 100_000, LIMIT - 1])
def test_after_a_model_that_is_not_loaded_the_connection_goes_on(models, size):
    refused, answered = on_one_connection(
        models.port,
        ("POST", "/models/a/invoke", b" " * size, {"Content-Type": JSON}),
        ("GET", "/models", None, {}),
    )
    assert (refused[0], answered[0]) == (404, 200)
    assert "POST /models loads it" in detail(refused)


def raw(port, *pieces, end=False):
    """All that comes back, until the server closes, for bytes that are sent as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        for piece in pieces:
            client.sendall(piece)
        if end:
            client.shutdown(socket.SHUT_WR)
        found = b""
        while piece := client.recv(65536):
            found += piece
    return found


def answers(found):
    """(status, headers, body) of each answer among some bytes."""
    while found:
        head, _, rest = found.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("Content-Length", 0))
        yield int(first.split()[1]), headers, rest[:size]
        found = rest[size:]


POST = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "end", "said"),
    [
        (b"hello\r\n\r\n", False, "not HTTP/1.1"),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nBroken header\r\n\r\n", False, "not HTTP/1.1"),
        (CHUNKED + b"xyz\r\n", False, "not HTTP/1.1"),
        (CHUNKED + b"5\r\nhello more", False, "not HTTP/1.1"),
        (CHUNKED + b"ffffffffffffffffffff\r\n", False, "not HTTP/1.1"),
        (CHUNKED + b"5\r\nhel", True, "the request ends within its body"),
        (POST + b"Content-Length: 10\r\n\r\nhel", True, "the request ends within its body"),
        (POST + b"Content-Le", True, "the request ends within its head"),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", False, "not HTTP/1.1"),
        (POST + b"Content-Length: -1\r\n\r\n", False, "not HTTP/1.1"),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", False, "not HTTP/1.1"),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", False, "not HTTP/1.1"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", False, "CONNECT is not supported"),
        (b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", False, "more than the 65536 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"X-A: " + b"x" * 70_000 + b"\r\n\r\n", False, "more than the 65536 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"X-A: x\r\n" * 300_000, False, "more than the 65536 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_connection_closed(server, sent, end, said):
    ((status, headers, body),) = answers(raw(server.port, sent, end=end))
    assert status == (431 if "65536" in said else 400)
    assert headers["Connection"] == "close"
    assert said in json.loads(body)["detail"]
    server.wait_for(lambda: server.requests and said in server.requests[-1].get("error", ""))


def test_requests_before_the_broken_one_are_answered_first(server):
    good = POST + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    found = list(answers(raw(server.port, good * 3 + b"broken\r\n\r\n")))
    assert [status for status, _, _ in found] == [200, 200, 200, 400]


def test_requests_sent_ahead_are_answered_in_their_order(server):
    lines = b"".join(b'{"keys":[1],"values":[%d]}\n' % row for row in range(20_000))
    large = POST.replace(b"json", b"jsonlines") + b"Content-Length: %d\r\n\r\n" % len(lines) + lines
    ping = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    found = list(answers(raw(server.port, ping + large + ping + large + last)))
    assert [status for status, _, _ in found] == [200, 200, 200, 200, 404]
    assert found[1][2] == found[3][2]
    assert len(json.loads(b"[" + found[1][2].replace(b"}\n", b"},\n") + b"]")) in (1, 20_000)


def test_a_body_too_large_to_be_read_is_refused_at_once(server):
    sent = POST + b"Content-Length: 1000000000000\r\n\r\n" + b"x" * 1_000_000
    ((status, headers, body),) = answers(raw(server.port, sent))
    assert (status, headers["Connection"]) == (413, "close")
    assert "1000000000000 bytes, more than the limit of 6291456" in json.loads(body)["detail"]


def test_who_asks_before_sending_is_told(server):
    expect = b"Expect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(POST + expect + b"Content-Length: %d\r\n\r\n" % len(GOOD))
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(GOOD)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    found = list(answers(raw(server.port, POST + expect + b"Content-Length: 7000000\r\n\r\n")))
    assert [(status, headers["Connection"]) for status, headers, _ in found] == [(413, "close")]


def test_http_1_0_is_answered_and_closed(server):
    ((status, headers, _),) = answers(raw(server.port, b"GET /ping HTTP/1.0\r\n\r\n"))
    assert (status, headers["Connection"]) == (200, "close")


def test_head_has_no_body(server):
    found = raw(server.port, b"HEAD /execution-parameters HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 200 OK")
    assert found.endswith(b"\r\n\r\n")


def test_an_upgrade_is_declined_and_the_request_answered(server):
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    head = POST + upgrade + b"Content-Length: %d\r\n\r\n" % len(GOOD)
    last = b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    found = list(answers(raw(server.port, head + GOOD + last)))
    assert [status for status, _, _ in found] == [200, 200]


def test_a_target_may_be_a_whole_address(server):
    sent = b"GET http://a:8080/ping?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ((status, _, _),) = answers(raw(server.port, sent))
    assert status == 200
