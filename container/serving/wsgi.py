"""WSGI from the server's side: the environment of a request, and the call of an app."""

import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from container.serving.spool import Spool

__all__ = ["SERVER", "App", "Called", "call", "content_length", "environment", "status_line"]

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

#: A WSGI app.
App = Any

#: What the environment of every request says of the server.
SERVER = {
    "wsgi.version": (1, 0),
    "wsgi.multithread": False,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


class Called(NamedTuple):
    """The answer of an app.

    Attributes
    ----------
    status : str
        Such as ``200 OK``.
    headers : list of (str, str)
    body : bytes or Spool
    """

    status: str
    headers: list[tuple[str, str]]
    body: bytes | Spool


def status_line(status: int) -> str:
    """A status as WSGI writes it: ``200 OK``."""
    return _STATUS_LINES[status]


def environment(
    method: str, target: bytes, version: str, headers: Iterable[tuple[bytes, bytes]], base: dict[str, Any]
) -> dict[str, Any]:
    """Make the environment of a request.

    Parameters
    ----------
    method : str
    target : bytes
        Path and query, as they came.
    version : str
        Of HTTP, such as ``1.1``.
    headers : iterable of (bytes, bytes)
        Names in any case. Those with an underscore are left out: WSGI could not tell them from others.
    base : dict
        What all requests of a connection have in common.
    """
    path, _, query = target.partition(b"?")
    environ = dict(base)
    environ["REQUEST_METHOD"] = method
    environ["PATH_INFO"] = (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1")
    environ["QUERY_STRING"] = query.decode("latin-1")
    environ["RAW_URI"] = target.decode("latin-1")
    environ["SERVER_PROTOCOL"] = f"HTTP/{version}"
    for name, value in headers:
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        text = value.decode("latin-1").strip(" \t")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def content_length(environ: dict[str, Any]) -> int | None:
    """The length of the body that the client announced; None: it did not."""
    text = environ.get("CONTENT_LENGTH")
    return int(text) if text and text.isdecimal() else None


def call(app: App, environ: dict[str, Any]) -> Called:
    """Call an app, and collect its whole answer; an answer in a `Spool` is not copied."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [status, headers]
        return written.append

    written: list[bytes] = []
    environ.setdefault("wsgi.errors", sys.stderr)
    parts = app(environ, start_response)
    if isinstance(parts, Spool):
        return Called(started[0], started[1], parts)
    try:
        if type(parts) is list and len(parts) == 1 and not written:
            body = parts[0]
        else:
            written.extend(parts)
            body = b"".join(written)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    return Called(started[0], started[1], body)
