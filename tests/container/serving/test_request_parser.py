"""Bytes become requests, however they are cut, and within bounds."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from container.serving.errors import HeadTooLargeError, MalformedRequestError
from container.serving.request_parser import LARGEST_HEAD, RequestParser

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
REQUESTS = [
    (b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", b"/ping", True, b"")),
    (b"POST /a?b=c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", ("POST", b"/a?b=c", True, b"hello")),
    (b"POST /a HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 3\r\n\r\nabc", ("POST", b"/a", True, b"abc")),
    (
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
        ("POST", b"/a", True, b"abcde"),
    ),
    (b"GET http://a:80/b?c HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", b"/b?c", True, b"")),
]
LAST = (b"GET /x HTTP/1.0\r\n\r\n", ("GET", b"/x", False, b""))


class Seen:
    def __init__(self):
        self.requests = []

    def head_came(self, parser):
        self.head = (parser.method, parser.target, parser.keep_alive)
        self.body = b""

    def body_came(self, data):
        self.body += data

    def request_came(self):
        self.requests.append((*self.head, self.body))


def parse(pieces):
    seen = Seen()
    parser = RequestParser(seen)
    for piece in pieces:
        parser.feed(piece)
    return seen.requests, parser


@given(
    order=st.lists(st.integers(0, len(REQUESTS) - 1), max_size=6),
    cuts=st.lists(st.integers(0, 600), max_size=8).map(sorted),
)
@example(order=[2], cuts=list(range(200)))
@example(order=[0, 1, 2, 3, 4], cuts=[])
def test_requests_are_the_same_however_they_are_cut(order, cuts):
    wanted = [REQUESTS[i] for i in order] + [LAST]
    data = b"".join(text for text, _ in wanted)
    bounds = [0, *[min(cut, len(data)) for cut in cuts], len(data)]
    found, parser = parse(data[a:b] for a, b in itertools.pairwise(bounds) if b > a)
    assert found == [request for _, request in wanted]
    assert not parser.head_begun


def test_a_head_that_has_begun_is_known():
    _, parser = parse([b"GET /pi"])
    assert parser.head_begun > 0


@pytest.mark.parametrize(
    "text",
    [
        b"hello\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET nothing HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ],
)
def test_what_is_no_request_is_refused(text):
    with pytest.raises(MalformedRequestError):
        parse([text])


@pytest.mark.parametrize("size", [1, 1000, 10**9])
@pytest.mark.parametrize(
    "text",
    [
        b"GET /" + b"x" * LARGEST_HEAD + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * LARGEST_HEAD + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * (LARGEST_HEAD // 5) + b"\r\n",
    ],
)
def test_a_head_is_bounded(text, size):
    with pytest.raises(HeadTooLargeError, match="more than the 65536 bytes"):
        parse(text[at : at + size] for at in range(0, len(text), size))


def test_what_the_receiver_raises_comes_out():
    class Full(Seen):
        def body_came(self, data):
            raise MemoryError("full")

    with pytest.raises(MemoryError, match="full"):
        RequestParser(Full()).feed(REQUESTS[1][0])


CHUNKED = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
AROUND = {
    "trailers": CHUNKED + b"2\r\nab\r\n0\r\n" + b"A: b\r\n" * (LARGEST_HEAD // 3),
    "a trailer": CHUNKED + b"2\r\nab\r\n0\r\nA: " + b"b" * 2 * LARGEST_HEAD,
    "an extension": CHUNKED + b"2;" + b"x" * 2 * LARGEST_HEAD,
    "a size": CHUNKED + b"0" * 2 * LARGEST_HEAD,
}


@pytest.mark.parametrize("size", [1000, 65536])
@pytest.mark.parametrize("text", AROUND.values(), ids=AROUND)
def test_what_stands_around_chunks_is_bounded_as_a_head_is_and_not_kept(text, size):
    seen = Seen()
    parser = RequestParser(seen)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    with pytest.raises(HeadTooLargeError, match="65536 bytes between two chunks or after the last"):
        any(map(parser.feed, pieces))
    assert len(parser.headers) <= 1
    assert not seen.requests


def test_chunks_that_come_together_are_one_piece():
    pieces = []

    class Keeps(Seen):
        def body_came(self, data):
            pieces.append(data)

    seen = Keeps()
    parser = RequestParser(seen)
    parser.feed(CHUNKED + b"1\r\na\r\n" * 5000)
    parser.feed(b"1\r\nb\r\n" * 5000 + b"0\r\n\r\n" + REQUESTS[0][0])
    assert pieces == [b"a" * 5000, b"b" * 5000]
    assert len(seen.requests) == 2
