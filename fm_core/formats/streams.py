"""Files to chunks: read in order, in bounded memory, decompressed where they are gzip.

gzip is recognised by its magic, whatever the name; a record cannot begin with it.
"""

import codecs
import itertools
import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from fm_core.errors import ConfigError, DataError
from fm_core.given import check_kind
from fm_core.printable import quoted

__all__ = ["CHUNK_BYTES", "Sink", "Source", "decompressed", "open_chunks", "pieces_of", "transcoded"]

# Large enough that a call is nothing, small enough to stay in a core's cache.
CHUNK_BYTES = 1 << 20

#: Of a request's body, so short that Python's lock is free again within milliseconds, whatever a column's reader does.
PIECE_BYTES = 1 << 18

_GZIP_MAGIC = b"\x1f\x8b"
#: Compressions that are not read: how they begin, and what undoes them.
_OTHERS = {
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    b"BZh": ("bzip2", "bzip2 -dc"),
    b"\xfd7zXZ\x00": ("xz", "xz -dc"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -dc"),
}
#: Behind "BZh" and a digit stands this, or at the end of nothing its like.
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
_LONGEST_MAGIC = 10
#: Bytes handed to zlib at the beginning of a gzip member.
_FIRST_PIECE = 512


class Sink(Protocol):
    """What rows are written to: a file, or what compresses for one."""

    def write(self, data: bytes, /) -> object:
        """Append bytes.

        Parameters
        ----------
        data : bytes

        Returns
        -------
        n : any
            Not used.
        """


#: Bytes of a chunk, at most.
_MOST_AT_ONCE = 1 << 30


class Source(NamedTuple):
    """One stream of bytes, and its name.

    Attributes
    ----------
    name : str
        For messages: a path, mostly.
    chunks : iterable of bytes-like
        The bytes, cut anywhere. A chunk must not change until the next one is asked for.
    """

    name: str
    chunks: Iterable[Any]


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
    check_kind("chunk_size", chunk_size, int, "an integer")
    if not 0 < chunk_size <= _MOST_AT_ONCE:
        raise ConfigError(f"chunk_size is {quoted(chunk_size)}, expected 1 to {_MOST_AT_ONCE}")
    with pathlib.Path(path).open("rb", buffering=0) as file:
        yield from decompressed(iter(lambda: file.read(chunk_size), b""), os.fspath(path), chunk_size)


def pieces_of(body: Any, size: int = PIECE_BYTES) -> Iterator[Any]:
    """Divide bytes in memory into chunks, so that a reader never processes all of them at once.

    Parameters
    ----------
    body : bytes-like
    size : int
        Bytes of a chunk.

    Returns
    -------
    chunks : iterator of bytes-like
    """
    return (body[at : at + size] for at in range(0, len(body), size))


def transcoded(chunks: Iterable[bytes], encoding: str | None, name: str = "") -> Iterator[bytes]:
    """Pass chunks of text on as UTF-8.

    Parameters
    ----------
    chunks : iterable of bytes
    encoding : str or None
        That of the text; None: it is UTF-8 already.
    name : str
        Of the source, for messages.

    Yields
    ------
    chunk : bytes
        UTF-8.

    Raises
    ------
    DataError
        The text is in another encoding.
    """
    if encoding is None:
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    n_read = 0
    for chunk in itertools.chain(chunks, [b""]):
        try:
            text = decoder.decode(bytes(chunk), not chunk)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{_place(name)}the text is not {encoding}: {error.reason} after byte {n_read + error.start}"
            ) from None
        n_read += len(chunk)
        if text:
            yield text.encode()


def decompressed(chunks: Iterable[bytes], name: str = "", chunk_size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Pass chunks on, decompressed if the first bytes are those of gzip.

    Parameters
    ----------
    chunks : iterable of bytes
    name : str
        Of the source, for messages.
    chunk_size : int
        Most bytes of a decompressed chunk, however well it was compressed.

    Yields
    ------
    chunk : bytes
    """
    chunks = iter(chunks)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _LONGEST_MAGIC:
            break
    if head.startswith(_GZIP_MAGIC):
        yield from _gunzip(itertools.chain([head], chunks), name, chunk_size)
        return
    _refuse_others(head, name)
    if head:
        yield head
    yield from chunks


def _refuse_others(head: bytes, name: str) -> None:
    for magic, (what, command) in _OTHERS.items():
        if head.startswith(magic) and (what != "bzip2" or head[4:10] in _BZIP2_BLOCKS):
            raise DataError(
                f"{_place(name)}the data is compressed by {what}, expected gzip or none: "
                f"decompress it first ({command})"
            )


def _gunzip(chunks: Iterable[bytes], name: str, chunk_size: int) -> Iterator[bytes]:
    """Decompress the members of a gzip stream, which may be several, zero-padded at the end."""
    member = None
    n_read = 0
    for chunk in chunks:
        data, at = memoryview(chunk), 0
        # zlib copies what a member leaves of a piece. So a member begins with a small one, and pieces grow
        # with it: what is copied stays in proportion to what is read, also of members of a few bytes.
        size = _FIRST_PIECE
        while at < len(data):
            if member is None:
                # The first byte of a member is not zero, so nothing but padding is lost here.
                begin = bytes(data[at : at + size])
                at += len(begin) - len(begin.lstrip(b"\0"))
                if not begin.strip(b"\0"):
                    size *= 2
                    continue
                member, size = zlib.decompressobj(wbits=31), _FIRST_PIECE
            piece = data[at : at + size]
            try:
                out = member.decompress(piece, chunk_size)
            except zlib.error as error:
                raise DataError(f"{_place(name)}the gzip data is damaged after byte {n_read + at}: {error}") from error
            if out:
                yield out
            at += len(piece) - len(member.unused_data if member.eof else member.unconsumed_tail)
            size *= 2
            if member.eof:
                member, size = None, _FIRST_PIECE
        n_read += len(data)
    if member is not None:
        raise DataError(
            f"{_place(name)}the gzip data ends at byte {n_read}, before its end mark; the file is truncated"
        )


def _place(name: str) -> str:
    return f"{name}: " if name else ""
