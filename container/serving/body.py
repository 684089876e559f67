"""The body of a request for a view: complete, within the limit, decompressed.

This project's server puts it into the environment as a buffer; other servers provide a stream.
"""

import contextlib
import mmap
import zlib
from collections.abc import Iterator
from typing import Any

from container.serving.errors import UnsupportedMediaTypeError, too_large
from container.serving.handover import BODY
from container.serving.spool import Spool
from container.serving.wsgi import content_length
from fm_core.errors import DataError

__all__ = ["open_body"]

_PIECE = 2**18
_FIRST_PIECE = 2**9

#: Members that a gzip of no bytes may have; one more for each kilobyte. Each takes some microseconds to begin.
_MOST_MEMBERS = 1000


@contextlib.contextmanager
def open_body(environ: dict[str, Any], limit: int) -> Iterator[bytes | mmap.mmap]:
    """Give the body of a request.

    Parameters
    ----------
    environ : dict
        Of WSGI.
    limit : int
        The largest body, in bytes after decompression.

    Raises
    ------
    PayloadTooLargeError
        There are more.
    UnsupportedMediaTypeError
        Its content encoding is not supported.
    DataError
        There are none, or fewer than announced; or they are damaged.
    """
    coding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if coding not in _CODINGS:
        raise UnsupportedMediaTypeError(
            f"Content-Encoding is {coding[:80]!r}, which is not supported: send the body uncompressed, or compressed "
            "with gzip"
        )
    body = environ[BODY] if BODY in environ else _read(environ, limit)
    if not len(body):
        raise DataError("the body is empty, expected at least one row")
    if coding in ("", "identity"):
        yield body
        return
    with contextlib.closing(Spool()) as unpacked:
        _unpack(body, limit, unpacked)
        content = unpacked.content()
        if not content:
            raise DataError("the body is empty, expected at least one row")
        try:
            yield content
        finally:
            if isinstance(content, mmap.mmap):
                with contextlib.suppress(BufferError):  # a traceback may hold a view of it; it goes with that
                    content.close()


_CODINGS = ("", "identity", "gzip", "x-gzip")


def _unpack(body: bytes | mmap.mmap, limit: int, unpacked: Spool) -> None:
    try:
        at = n_members = 0
        while at < len(body):  # members, one after the other
            n_members += 1
            if n_members > _MOST_MEMBERS + len(body) // 1024:
                raise DataError(f"the body is gzip of more than {n_members - 1} members: compress it as one")
            # zlib copies what a member leaves of a piece: pieces grow with it, as in fm_core/formats/streams.py.
            member, size = zlib.decompressobj(wbits=31), _FIRST_PIECE
            while not member.eof:
                piece = member.unconsumed_tail or body[at : at + size]
                if not piece:
                    raise DataError("the body is truncated gzip data")
                if not member.unconsumed_tail:
                    at += len(piece)
                    size = min(2 * size, _PIECE)
                unpacked.append(member.decompress(piece, _PIECE))
                if unpacked.size > limit:
                    raise too_large("too many", limit)
            at -= len(member.unused_data)
    except zlib.error as error:
        raise DataError(f"Content-Encoding is gzip, but the body is not: {error}") from None


def _read(environ: dict[str, Any], limit: int) -> bytes:
    stream, length = environ["wsgi.input"], content_length(environ)
    if length is None:  # chunked, or none
        body: bytes = stream.read(limit + 1) if environ.get("wsgi.input_terminated") else b""
    else:
        body = stream.read(length) if length <= limit else b""
    if max(length or 0, len(body)) > limit:
        raise too_large(length or "too many", limit)
    if len(body) < (length or 0):
        raise DataError(f"the body ends after {len(body)} bytes, expected Content-Length: {length}")
    return body
