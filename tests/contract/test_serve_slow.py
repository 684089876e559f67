"""/ping while clients do their worst: silent, half-sent, slow, many, large."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import struct
import threading
import time

import pytest

from fm_core.artifact.model_file import save_model
from tests.container.serving.conftest import make_model
from tests.container.serving.records import framed
from tests.contract.serving import detail, serving

#: Seconds: half of what SageMaker gives a ping, and a hundred times what one takes.
IN_TIME = 1.0

POST = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/jsonlines\r\n"
LINE = b'{"keys":[1],"values":[1]}\n'


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "model").mkdir()
    save_model(root / "model/model_algo-1", make_model(), {})
    return root


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    with serving(root, tmp_path_factory.mktemp("log"), SAGEMAKER_BATCH="true") as server:
        yield server


def slowest_ping(server, n=20):
    """Seconds of the slowest of some pings, each on a connection of its own."""
    slowest = 0.0
    for _ in range(n):
        start = time.monotonic()
        assert server.ask("GET", "/ping")[0] == 200
        slowest = max(slowest, time.monotonic() - start)
    return slowest


@contextlib.contextmanager
def clients(server, n, sent=b"", receive_buffer=None):
    """Some connections on which something was sent, and nothing is read."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(n):
            client = stack.enter_context(contextlib.closing(socket.socket()))
            if receive_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.settimeout(30)
            client.connect(("127.0.0.1", server.port))
            client.sendall(sent)
            made.append(client)
        yield made


CLIENTS = {
    "silent": (200, b""),
    "half a line": (50, b"GET /pi"),
    "half a head": (50, POST + b"Content-Le"),
    "half a body": (50, POST + b"Content-Length: 1000\r\n\r\n{"),
    "half a large body": (50, POST + b"Content-Length: 1000000\r\n\r\n" + LINE * 5_000),
    "half a chunk": (50, POST + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n{"),
    "HTTP/1.0, lingering": (50, b"GET /ping HTTP/1.0\r\n\r\n"),
    "many sent ahead": (50, b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n" * 1000),
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_pings_are_answered_whatever_others_do(server, kind):
    with clients(server, *CLIENTS[kind]):
        assert slowest_ping(server) < IN_TIME


def test_pings_are_answered_while_nobody_reads(server):
    rows = LINE * 20_000
    sent = POST + b"Content-Length: %d\r\n\r\n" % len(rows) + rows
    with clients(server, 20, sent, receive_buffer=4096):
        assert slowest_ping(server, 50) < IN_TIME


RECORDIO = "application/x-recordio-protobuf"
LARGE = {
    "application/json": lambda: b'{"instances":[' + b",".join([b'{"features":[1,2,3,4,5]}'] * 600_000) + b"]}",
    "application/jsonlines": lambda: b'{"features":[1,2,3,4,5]}\n' * 600_000,
    RECORDIO: lambda: framed([2.0, 0.5], [1, 3], 5) * 400_000,
    "text/csv": lambda: b"1,2,3,4,5\n" * 1_000_000,
    "text/libsvm": lambda: b"0:1 1:2 3:4\n" * 800_000,
}  # fmt: skip


@pytest.mark.parametrize("content_type", LARGE)
def test_pings_are_answered_while_every_worker_computes(server, content_type):
    body = LARGE[content_type]()
    assert len(body) > 9_000_000
    answers = []
    work = [
        threading.Thread(target=lambda: answers.append(server.invoke(body, content_type, "text/csv")))
        for _ in range(2)
    ]  # fmt: skip
    for thread in work:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in work):
        slowest = max(slowest, slowest_ping(server, 1))
    assert [status for status, _, _ in answers] == [200, 200]
    assert slowest < IN_TIME


# --- deadlines -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty(root, tmp_path_factory):
    with serving(
        root, tmp_path_factory.mktemp("log"), SAGEMAKER_BATCH="true", FM_CLIENT_TIMEOUT_SECONDS="0.5"
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (POST + b"Content-Le", "the headers were not complete after 0.5 s"),
        (POST + b"Content-Length: 1000\r\n\r\n{", "1 bytes of 1000 of the body arrived in "),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n{", "1 bytes of the body arrived in "),
    ],
)
def test_a_client_that_stalls_is_told_and_hung_up_on(hasty, sent, said):
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=30) as client:
        client.sendall(sent)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 408
        assert said in detail((answer.status, answer.headers, answer.read()))
        assert client.recv(1) == b""


def test_a_client_that_does_not_read_is_hung_up_on(hasty):
    rows = LINE * 600_000  # the kernel holds several MB of an answer
    sent = POST + b"Content-Length: %d\r\n\r\n" % len(rows) + rows
    with clients(hasty, 1, sent, receive_buffer=4096) as (client,):
        client.recv(1)  # the answer has begun
        time.sleep(1.5)  # the client does nothing: there is no condition to wait for
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(1 << 20):
                received += len(piece)
        assert received < 600_000 * len('{"score":0.1},')


# --- room ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("begins_to_read", [False, True])
def test_an_answer_to_nobody_is_dropped_without_a_line_for_each_piece(server, begins_to_read, is_reset):
    def scored():
        return [line for line in server.requests if line["path"] == "/invocations"]

    before, n_before = server.stderr, len(scored())
    body = LINE * 200_000  # whose answer is of many pieces
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            client.shutdown(socket.SHUT_WR)  # nothing is read that could say that we are gone
            if begins_to_read:
                assert client.recv(1000)
            if is_reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait_for(lambda: b"fm_requests_under_way 0" in server.ask("GET", "/metrics")[2])
    if begins_to_read or not is_reset:  # a reset takes with it what of the body has not been read
        server.wait_for(lambda: len(scored()) == n_before + 3)
    assert {line["status"] for line in scored()[n_before:]} <= {200}
    assert server.stderr == before


def test_a_full_queue_is_told_at_once(root, tmp_path):
    variables = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": 1, "FM_SERVER_QUEUE": 1}
    body = b'{"features":[1,2,3,4,5]}\n' * 1_000_000
    with serving(root, tmp_path, **variables) as server:
        answers = []
        first = threading.Thread(
            target=lambda: answers.append(server.invoke(body, "application/jsonlines", "text/csv"))
        )
        with server.computing() as computing:
            first.start()
            computing()
        small = LINE * 10_000

        def refused():
            with server.connect() as connection:
                started = time.monotonic()
                connection.request("POST", "/invocations", small, {"Content-Type": "application/jsonlines"})
                answer = connection.getresponse()
                content = answer.read()
                if answer.status == 200:
                    return False
                assert time.monotonic() - started < IN_TIME
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                assert "too many requests" in detail((answer.status, answer.headers, content))
                connection.request("POST", "/invocations", LINE, {"Content-Type": "application/jsonlines"})
                assert connection.getresponse().status == 200, "small ones do not wait"
                return True

        server.wait_for(refused)
        first.join()
        assert answers[0][0] == 200
        server.wait_for(lambda: not refused())


def test_more_clients_than_open_files_do_not_keep_others_out(root, tmp_path):
    variables = {"SAGEMAKER_MODEL_SERVER_WORKERS": 1}
    with serving(root, tmp_path, limits={resource.RLIMIT_NOFILE: 256}, **variables) as server, clients(server, 400):
        assert slowest_ping(server) < IN_TIME
        assert server.invoke(LINE * 10_000, "application/jsonlines")[0] == 200
        with clients(server, 100, POST + b"Content-Length: 1000000\r\n\r\n" + LINE * 5_000):
            assert slowest_ping(server) < IN_TIME
            assert server.invoke(LINE * 10_000, "application/jsonlines")[0] == 200
    assert "Traceback" not in server.stderr


def test_a_worker_that_dies_over_a_request_is_a_507(root, tmp_path):
    body = b'{"features":[1,2,3,4,5]}\n' * 400_000
    variables = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": 1}
    with serving(root, tmp_path, **variables) as server:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(server.invoke(body, "application/jsonlines")))
        with server.computing() as computing:
            asking.start()
            os.kill(computing(), signal.SIGKILL)
        asking.join()
        assert answers[0][0] == 507
        assert "died" in detail(answers[0])
        assert server.invoke(body, "application/jsonlines", "text/csv")[0] == 200
        assert json.loads(server.ask("GET", "/execution-parameters")[2])
