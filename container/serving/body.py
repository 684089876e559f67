"""The body of a request, from gunicorn's stream in one read and within bounds."""

from typing import IO, Any

from container.serving.errors import PayloadTooLargeError
from fm_core.errors import DataError

__all__ = ["read_body"]

#: How much of a body that is too large is read for the sake of an orderly answer, and in what pieces.
_DISCARDED, _PIECE = 256 * 2**20, 2**20


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
    # From the server itself, in one call: Flask would read, and the server copy, 64 KB at a time, and
    # what a chunked body has beyond the limit would be cut off in silence.
    stream, length = environ["wsgi.input"], _content_length(environ)
    if length is None:  # chunked, or none
        body: bytes = stream.read(limit + 1) if environ.get("wsgi.input_terminated") else b""
    else:
        body = stream.read(length) if length <= limit else b""
    if max(length or 0, len(body)) > limit:
        _discard(stream)
        raise PayloadTooLargeError(
            f"the body has {length or 'too many'} bytes, more than the {limit} that are taken: "
            "send fewer rows at once, or set MAX_CONTENT_LENGTH in the container's environment"
        )
    if len(body) < (length or 0):
        raise DataError(f"the body ends after {len(body)} bytes, expected Content-Length: {length}")
    if not body:
        raise DataError("the body is empty, expected at least one row")
    return body


def _content_length(environ: dict[str, Any]) -> int | None:
    text = environ.get("CONTENT_LENGTH")
    return int(text) if text and text.isdecimal() else None


def _discard(stream: IO[bytes]) -> None:
    # A client that is still sending when the connection closes does not get to read the answer.
    for _ in range(_DISCARDED // _PIECE):
        if not stream.read(_PIECE):
            return
