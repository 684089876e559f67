"""The body of a request, as a view reads it."""

from typing import Any

from container.serving.errors import too_large
from container.serving.handover import BODY
from fm_core.errors import DataError

__all__ = ["read_body"]


def read_body(environ: dict[str, Any], limit: int) -> bytes:
    """Read the body of a request.

    Parameters
    ----------
    environ : dict
        Of WSGI.
    limit : int
        Bytes that are taken.

    Raises
    ------
    PayloadTooLargeError
        There are more.
    DataError
        There are none, or fewer than announced.
    """
    found = environ.get(BODY)
    if found is not None:  # our own server has it, and has looked at its length
        if not len(found):
            raise _empty()
        return found if isinstance(found, bytes) else bytes(found)
    stream, length = environ["wsgi.input"], _content_length(environ)
    if length is None:  # chunked, or none
        body: bytes = stream.read(limit + 1) if environ.get("wsgi.input_terminated") else b""
    else:
        body = stream.read(length) if length <= limit else b""
    if max(length or 0, len(body)) > limit:
        raise too_large(length or "too many", limit)
    if len(body) < (length or 0):
        raise DataError(f"the body ends after {len(body)} bytes, expected Content-Length: {length}")
    if not body:
        raise _empty()
    return body


def _empty() -> DataError:
    return DataError("the body is empty, expected at least one row")


def _content_length(environ: dict[str, Any]) -> int | None:
    text = environ.get("CONTENT_LENGTH")
    return int(text) if text and text.isdecimal() else None
