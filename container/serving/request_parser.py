"""Parse bytes to requests: httptools (llhttp) with limits; requests to switch the protocol are declined.

A parser takes bytes and does not use sockets. It reports the head of a request, pieces of its
body, and its end to a receiver. Chunks that arrive together are one piece, however small they are. Everything between
and after chunks (extensions and trailers) is discarded, and limited like a head.
"""

import time
from typing import Protocol

import httptools

from container.serving.errors import HeadTooLargeError, MalformedRequestError

__all__ = ["LARGEST_HEAD", "Receiver", "RequestParser"]

#: Bytes of a request's line and headers.
LARGEST_HEAD = 64 * 2**10

_SWITCHING = (b"upgrade", b"http2-settings")


class Receiver(Protocol):
    """The receiver of a parser's events."""

    def head_came(self, parser: "RequestParser") -> None:
        """All of a head is there: the parser's attributes hold it."""

    def body_came(self, data: bytes) -> None:
        """Some of the body is there."""

    def request_came(self) -> None:
        """All of the request is there."""


class RequestParser:
    """The parser of a connection.

    Parameters
    ----------
    receiver : Receiver

    Attributes
    ----------
    head_begun : float
        When the head came of which only a part is there; 0 between heads.
    method, version : str
        Of the last head, such as ``POST`` and ``1.1``.
    target : bytes
        Its path and query.
    headers : list of (bytes, bytes)
    keep_alive : bool
        Whether the client wants the connection to stay open.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._asks_for_upgrade = False
        self._in_head = True
        # Of the head that comes, or, behind one, since the last bytes of the body.
        self._head_size = 0
        self._pieces: list[bytes] = []
        self.head_begun = 0.0
        self.begun = 0.0
        self.method = ""
        self.version = ""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises
        ------
        MalformedRequestError
            They are not HTTP/1 requests.
        HeadTooLargeError
        Exception
            What the receiver raised.
        """
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
            self._hand_on()
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            raise MalformedRequestError(f"the request is not HTTP/1.1: {error}") from None
        finally:
            self._pieces.clear()
        if self._head_size > LARGEST_HEAD:
            raise _too_large() if self._in_head else _trailers_too_large()

    def _hand_on(self) -> None:
        if self._pieces:
            data, self._pieces = b"".join(self._pieces), []
            self._head_size = 0
            self._receiver.body_came(data)

    def _decline_upgrade(self, rest: bytes) -> None:
        # A server that will not switch answers as if it had not been asked to (RFC 9110, 7.8). llhttp
        # stops there, and takes no body: another parser goes on, with a head that does not ask.
        self._asks_for_upgrade = False
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        if method == b"CONNECT":
            raise MalformedRequestError("CONNECT is not supported: this is not a proxy")
        lines = [b"%b %b HTTP/%b" % (method, self.target, version)]
        for name, value in self.headers:
            if name.lower() == b"connection":
                value = b", ".join(item for item in value.lower().split(b",") if item.strip() not in _SWITCHING)
            if name.lower() not in _SWITCHING:
                lines.append(name + b": " + value)
        self._parser = httptools.HttpRequestParser(self)
        self._in_head, self._head_size = True, 0
        self.feed(b"\r\n".join([*lines, b"", rest]))

    # --- callbacks of httptools --------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self.head_begun = self.begun = time.monotonic()
        self.target = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """Some of its target has come."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come, or a trailer."""
        if self._in_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """All of the head is there."""
        if len(self.target) + sum(len(name) + len(value) + 4 for name, value in self.headers) > LARGEST_HEAD:
            raise _too_large()
        parser = self._parser
        if parser.should_upgrade():
            self._asks_for_upgrade = True
            return
        if not self.target.startswith(b"/"):
            self.target = _origin_form(self.target)
        self.method, self.version = parser.get_method().decode(), parser.get_http_version()
        self.keep_alive = parser.should_keep_alive()
        self._in_head, self._head_size, self.head_begun = False, 0, 0.0
        self._receiver.head_came(self)

    def on_body(self, data: bytes) -> None:
        """Some of the body has come."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """All of a request is there."""
        if not self._asks_for_upgrade:
            self._hand_on()
            self._in_head, self._head_size = True, 0
            self._receiver.request_came()


def _too_large() -> HeadTooLargeError:
    return HeadTooLargeError(f"the request's line and headers have more than the {LARGEST_HEAD} bytes that are taken")


def _trailers_too_large() -> HeadTooLargeError:
    return HeadTooLargeError(
        f"the body has more than {LARGEST_HEAD} bytes between two chunks or after the last: send no trailers"
    )


def _origin_form(target: bytes) -> bytes:
    if target == b"*":
        return target
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise MalformedRequestError(f"the request's target is {target[:80]!r}, expected a path") from None
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")
