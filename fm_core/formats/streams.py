"""Files to chunks: read in order, in bounded memory, decompressed where they are gzip.

gzip is recognised by its magic, whatever the name; a record cannot begin with it.
"""

import os
import zlib
from collections.abc import Iterable, Iterator

from fm_core.errors import DataError

__all__ = ["CHUNK_BYTES", "decompressed", "open_chunks"]

# Large enough that a call is nothing, small enough to stay in a core's cache.
CHUNK_BYTES = 1 << 20

_GZIP_MAGIC = b"\x1f\x8b"


def open_chunks(path: str | os.PathLike[str], chunk_size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Read a file (or FIFO) in chunks, once, from its start to its end.

    Parameters
    ----------
    path : path-like
        Opened when the first chunk is asked for.
    chunk_size : int
        Most bytes of a chunk.

    Yields
    ------
    chunk : bytes
        Never empty.

    Raises
    ------
    DataError
        It is gzip and damaged or cut.
    """
    with open(path, "rb", buffering=0) as file:
        yield from decompressed(iter(lambda: file.read(chunk_size), b""), os.fspath(path), chunk_size)


def decompressed(chunks: Iterable[bytes], name: str = "", chunk_size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Pass chunks on, decompressed if the first bytes are those of gzip.

    Parameters
    ----------
    chunks : iterable of bytes
    name : str
        Of the source, for messages.
    chunk_size : int
        Most bytes of a decompressed chunk, however well it was compressed.
    """
    chunks = iter(chunks)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_GZIP_MAGIC):
            break
    if head.startswith(_GZIP_MAGIC):
        yield from _gunzip(head, chunks, name, chunk_size)
        return
    if head:
        yield head
    yield from chunks


def _gunzip(data: bytes, chunks: Iterator[bytes], name: str, chunk_size: int) -> Iterator[bytes]:
    """Decompress the members of a gzip stream, which may be several, zero-padded at the end."""
    member = None
    n_read = 0
    while True:
        if member is None:
            data = data.lstrip(b"\0") if n_read else data
            if data:
                member = zlib.decompressobj(wbits=31)
        if member is not None and data:
            before = len(data)
            try:
                out = member.decompress(data, chunk_size)
            except zlib.error as error:
                raise DataError(f"{_place(name)}the gzip data is damaged near byte {n_read}: {error}") from error
            data = member.unused_data if member.eof else member.unconsumed_tail
            n_read += before - len(data)
            if member.eof:
                member = None
            if out:
                yield out
            if data:
                continue
        data = next(chunks, b"")
        if not data:
            break
    if member is not None:
        raise DataError(f"{_place(name)}the gzip data ends at byte {n_read}, before its end mark; the file is cut")


def _place(name: str) -> str:
    return f"{name}: " if name else ""
