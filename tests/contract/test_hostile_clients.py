"""Clients that send what no client has to send: bounded in memory and time, and nobody else waits for it."""

import gzip
import re
import socket
import time
from pathlib import Path

import pytest

from fm_core.artifact.model_file import save_model
from tests.container.serving.conftest import make_model
from tests.contract.serving import detail, serving

HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SENT = 8 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "model").mkdir()
    save_model(root / "model/model_algo-1", make_model(), {})
    with serving(root, root, SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:
        yield server


def peak(process):
    return int(re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process}/status").read_text())[1]) >> 10


FLOODS = {
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n" * 8192, b"431"),
    "one trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nX-A: ", b"b" * 65536, b"431"),
    "an extension of a chunk": (CHUNKED + b"2;", b"e" * 65536, b"431"),
    "a chunk's size": (CHUNKED, b"0" * 65536, b"431"),
    "chunks of one byte": (CHUNKED, b"1\r\n \r\n" * 8192, None),
    "empty lines": (b"", b"\r\n" * 32768, b"431"),
    "one header": (b"GET /ping HTTP/1.1\r\nX: ", b"a" * 65536, b"431"),
    "headers": (b"GET /ping HTTP/1.1\r\n", b"X: a\r\n" * 8192, b"431"),
    "a target": (b"GET /", b"a" * 65536, b"431"),
    "requests ahead": (b"", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 2000, b"404"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_takes_no_memory_and_nobody_elses_time(server, name):
    head, piece, status = FLOODS[name]
    before = max(map(peak, server.workers))
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.5) as client:
        client.sendall(head)
        sent, slowest = 0, 0.0
        while sent < SENT:
            try:
                client.sendall(piece)
            except OSError:  # it was told, or has to wait
                break
            sent += len(piece)
            if sent % (1 << 20) < len(piece):
                started = time.monotonic()
                assert server.ask("GET", "/ping")[0] == 200
                slowest = max(slowest, time.monotonic() - started)
        if status is not None:
            client.settimeout(20)
            assert client.recv(100).startswith(b"HTTP/1.1 " + status)
    assert slowest < 1, f"/ping took {slowest:.2f} s"
    assert max(map(peak, server.workers)) < before + 10
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize(
    ("packed", "status", "sentence"),
    [
        (gzip.compress(b"") * 200_000, 400, "the body is gzip of more than 4906 members: compress it as one"),
        (gzip.compress(bytes(1 << 28)), 413, "the body has too many bytes"),
    ],
)
def test_gzip_is_bounded_in_what_it_makes_and_in_how_it_is_made(server, packed, status, sentence):
    before = max(map(peak, server.workers))
    answer = server.invoke(packed, Content_Encoding="gzip")
    assert answer[0] == status
    assert detail(answer).startswith(sentence)
    assert max(map(peak, server.workers)) < before + 40
