"""The only model in a tar, or in a gzip of one: each header and size is checked against the actual bytes.

A tar is a sequence of 512-byte blocks: a header, then the bytes of the member, padded. Only the model is kept. Other
members are skipped, names longer than a header's field are read up to the maximum length of a name, and every step
checks the limits. tarfile is not used, because it reads headers of any length into memory, and skips as many bytes as
a header declares.
"""

import os
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple, Protocol

from fm_core.artifact.limits import Limits
from fm_core.errors import ArtifactError
from fm_core.printable import quoted

__all__ = ["Found", "Plain", "Stream", "Unpacked", "find_file", "find_model"]

_BLOCK = 512
_PIECE, _FIRST_PIECE = 1 << 20, 512
_MODEL_PREFIX = "model_"

#: Members of an archive, and bytes of a header that holds a long name: a path has at most 4,096.
_MOST_MEMBERS, _MOST_NAME = 10_000, 64 << 10

#: Members that a gzip of no bytes may have; one more for each kilobyte, as each takes some microseconds to begin.
_MOST_GZIP_MEMBERS = 1000

#: The densest that deflate can be: what declares more is not telling the truth.
MAX_RATIO = 1032

_FILES = (b"0", b"\0", b"7")
_LONG_NAME, _LONG_LINK, _PAX, _GLOBAL_PAX = b"L", b"K", b"x", b"g"


class Stream(Protocol):
    """Sequential bytes; no more of them are in memory than were requested."""

    #: The most bytes that there can be.
    size: int

    def read(self, n: int) -> bytes:
        """Read bytes.

        Parameters
        ----------
        n : int

        Returns
        -------
        data : bytes
            At most `n` bytes; fewer only at the end.
        """

    def skip(self, n: int) -> None:
        """Skip bytes that must exist.

        Parameters
        ----------
        n : int
        """


class Plain:
    """An uncompressed file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def read(self, n: int) -> bytes:
        """See `Stream.read`."""
        return self._file.read(n)

    def skip(self, n: int) -> None:
        """See `Stream.skip`."""
        if n > self.size - self._file.tell():
            raise ArtifactError(f"a member declares {n} bytes more than the file has: the file is truncated")
        self._file.seek(n, os.SEEK_CUR)


class Unpacked:
    """A gzip file, unpacked a piece at a time.

    zlib copies what it leaves of a piece. So no piece is larger than what is wanted, and those of a member begin small:
    what is copied stays in proportion to the file.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._packed, self._at, self._most = b"", 0, _FIRST_PIECE
        self._decompressor = zlib.decompressobj(wbits=31)
        size = os.fstat(file.fileno()).st_size
        self._members_left = _MOST_GZIP_MEMBERS + size // 1024
        self.size = MAX_RATIO * size

    def read(self, n: int) -> bytes:
        """See `Stream.read`."""
        pieces, left = [], n
        while left:
            piece = self._some(min(left, _PIECE))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def skip(self, n: int) -> None:
        """See `Stream.skip`."""
        left = n
        while left:
            piece = self._some(min(left, _PIECE))
            if not piece:
                raise ArtifactError(f"a member declares {left} bytes more than the file has: the file is truncated")
            left -= len(piece)

    def _some(self, n: int) -> bytes:
        """Give at least one byte and at most `n`; none at the end."""
        while True:
            self._limits.check()
            if self._at == len(self._packed):
                self._packed, self._at = self._file.read(_PIECE), 0
            if self._decompressor.eof and not self._begin_member():
                if not self._packed:
                    return b""
                continue
            piece = self._packed[self._at : self._at + min(self._most, max(n, _FIRST_PIECE))]
            data = self._decompressor.decompress(piece, n)
            rest = self._decompressor.unused_data if self._decompressor.eof else self._decompressor.unconsumed_tail
            self._at += len(piece) - len(rest)
            self._most = min(2 * self._most, _PIECE)
            if data:
                return data
            if not piece and not self._decompressor.eof:
                raise ArtifactError(
                    "not a model file, or a damaged one: the gzip data ends before its end mark, the file is truncated"
                )

    def _begin_member(self) -> bool:
        """Begin the next member, unless all that is there are zeros, with which some writers pad."""
        while self._at < len(self._packed):
            begin = self._packed[self._at : self._at + _FIRST_PIECE]
            self._at += len(begin) - len(begin.lstrip(b"\0"))
            if begin.strip(b"\0"):
                break
        else:
            return False
        self._members_left -= 1
        if not self._members_left:
            raise ArtifactError("not a model file: it has very many gzip members, expected one")
        self._decompressor, self._most = zlib.decompressobj(wbits=31), _FIRST_PIECE
        return True


class Found(NamedTuple):
    """A model in an archive, at whose first byte the stream is.

    Attributes
    ----------
    name : str
    size : int
    """

    name: str
    size: int


def find_model(stream: Stream, limits: Limits) -> Found:
    """Skip to the first file whose name starts with ``model_``.

    Parameters
    ----------
    stream : Stream
    limits : Limits

    Returns
    -------
    found : Found

    Raises
    ------
    ArtifactError
        There is none, or the archive is damaged, or no archive, or of more members than an artifact has.
    """
    found = find_file(stream, limits, lambda name: name.startswith(_MODEL_PREFIX))
    if found is None:
        raise ArtifactError("it holds no model file, expected one such as model_algo-1")
    return found


def find_file(stream: Stream, limits: Limits, is_wanted: Callable[[str], bool]) -> Found | None:
    """Step to the first file whose name, without its folders, is wanted.

    Parameters
    ----------
    stream : Stream
        Of the archive's bytes; afterwards it stands at the file's first byte.
    limits : Limits
        Of time.
    is_wanted : callable
        Whether a file of this name, without folders, is wanted.

    Returns
    -------
    found : Found or None
        None: there is none.

    Raises
    ------
    ArtifactError
        The archive is damaged, is not an archive, or has more members than an artifact has.
    """
    long_name: str | None = None
    long_size: int | None = None
    for _ in range(_MOST_MEMBERS):
        limits.check()
        header = stream.read(_BLOCK)
        if not header or header == bytes(_BLOCK):
            return None
        name, size, kind = _header(header)
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _GLOBAL_PAX):
            if size > _MOST_NAME:
                raise ArtifactError(f"a member's name declares {size} bytes, expected at most {_MOST_NAME}")
            said = stream.read(_padded(size))
            if len(said) != _padded(size):
                raise ArtifactError("it ends inside a member's name: the file is truncated")
            if kind == _LONG_NAME:
                long_name = _text(said[:size].partition(b"\0")[0])
            elif kind == _PAX:
                long_name, long_size = _extended(said[:size], long_name, long_size)
            continue
        name = name if long_name is None else long_name
        size = size if long_size is None else long_size
        long_name = long_size = None
        if kind in _FILES and is_wanted(name.rpartition("/")[2]) and not name.endswith("/"):
            if not 0 < size <= stream.size:
                raise ArtifactError(f"its member {quoted(name)} declares {size} bytes, more than the file can hold")
            return Found(name, size)
        if kind in _FILES or kind not in b"123456":  # links, devices, folders and pipes have no bytes
            stream.skip(_padded(size))
    raise ArtifactError(f"it holds more than {_MOST_MEMBERS} members before the file that is needed")


def _header(block: bytes) -> tuple[str, int, bytes]:
    """Name, size and kind of a member."""
    if len(block) != _BLOCK:
        raise ArtifactError("not a model file, or a damaged one: it ends inside a header")
    checksum = _number(block[148:156])
    if checksum != sum(block[:148]) + 8 * 32 + sum(block[156:]):
        raise ArtifactError("not a model file, or a damaged one: the checksum of a header is wrong")
    name, prefix = block[:100].partition(b"\0")[0], block[345:500].partition(b"\0")[0]
    if prefix and block[257:263] == b"ustar\0":
        name = prefix + b"/" + name
    return _text(name), _number(block[124:136]), block[156:157]


def _number(field: bytes) -> int:
    """A number in octal, or, as GNU writes those that are too large, in base 256."""
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        if field[0] != 0x80:
            raise ArtifactError("not a model file, or a damaged one: a header has a negative number")
        return value
    digits = field.partition(b"\0")[0].strip()
    if not all(digit in b"01234567" for digit in digits):
        raise ArtifactError("not a model file, or a damaged one: a header has an invalid number")
    return int(digits or b"0", 8)


def _extended(records: bytes, name: str | None, size: int | None) -> tuple[str | None, int | None]:
    """The path and the size that a pax header has, ``length key=value`` a line."""
    while records:
        length, blank, _ = records.partition(b" ")
        n = int(length) if blank and length.isdigit() and len(length) < 7 else 0
        key, is_there, value = records[len(length) + 1 : n - 1].partition(b"=")
        if not is_there or not len(length) + 2 < n <= len(records):
            raise ArtifactError("not a model file, or a damaged one: a header has an invalid record")
        if key == b"path":
            name = _text(value)
        elif key == b"size" and value.isdigit() and len(value) < 20:
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise ArtifactError("it has sparse members, expected plain ones")
        records = records[n:]
    return name, size


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
