"""The directory of a zip, and the bytes of its members: every number is held against the file before it is used.

zipfile is not used for reading: it makes an object for every entry of a directory, ten times as large as the entry.
Layout, little endian (PKWARE's APPNOTE.TXT, 4.3)::

    member     PK 03 04 | version flags method time date: 5 * u16 | crc packed size: 3 * u32 | n m: 2 * u16 | name extra
               | the bytes
    directory  PK 01 02 | made version flags method time date: 6 * u16 | crc packed size: 3 * u32
               | n m comment disk inner: 5 * u16 | outer offset: 2 * u32 | name extra comment
    end        PK 05 06 | disk first_disk here total: 4 * u16 | size offset: 2 * u32 | n: u16 | comment

In files of 4 GiB or more the end has all ones, and before it stand a locator (PK 06 07 | u32 | offset: u64 | u32) of an
end with 64-bit numbers (PK 06 06); an entry has them in the extra field 1.
"""

import struct
import zlib
from typing import NamedTuple

from fm_core.artifact.limits import Limits
from fm_core.artifact.tar_reader import MAX_RATIO
from fm_core.errors import ArtifactError
from fm_core.printable import quoted

__all__ = ["Entry", "directory", "unpacked"]

STORED, DEFLATED = 0, 8

#: Entries and bytes of the directory of a model file, which has three.
_MOST_ENTRIES, _MOST_DIRECTORY = 1000, 1 << 20

_END, _LOCATOR, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_ENTRY, _LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 0xFFFF
_IS_ENCRYPTED = 0x1
_PIECE = 1 << 20


class Entry(NamedTuple):
    """One member.

    Attributes
    ----------
    name : str
    method : int
        0: stored; 8: deflated.
    crc : int
    packed, size : int
        Bytes in the file, and unpacked.
    start : int
        Where its bytes begin.
    """

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int


def directory(data: memoryview) -> dict[str, Entry]:
    """Read the directory.

    Parameters
    ----------
    data : memoryview of bytes
        The whole file.

    Returns
    -------
    entries : dict of str to Entry
        By name.

    Raises
    ------
    ArtifactError
        It is no zip, or a damaged one, or of more members than a model file has.
    """
    n_entries, size, offset, end = _end(data)
    if n_entries > _MOST_ENTRIES or size > _MOST_DIRECTORY:
        raise ArtifactError(f"its directory has {n_entries} members in {size} bytes, expected those of a model file")
    if offset + size > end:
        raise _damage(f"its directory begins at byte {offset} and has {size} bytes, of {end}")
    entries: dict[str, Entry] = {}
    at = offset
    for _ in range(n_entries):
        entry, at = _entry(data, at, offset + size)
        if entry.name in entries:
            raise _damage(f"two members are named {quoted(entry.name)}")
        entries[entry.name] = entry
    return entries


def _damage(what: str) -> ArtifactError:
    return ArtifactError(f"not a model file, or a damaged one: {what}")


def _end(data: memoryview) -> tuple[int, int, int, int]:
    """Entries, size and offset of the directory, and where it has to end."""
    first = max(0, len(data) - _END.size - _LONGEST_COMMENT)
    tail = bytes(data[first:])
    at = len(tail)
    while True:
        at = tail.rfind(b"PK\5\6", 0, at + 3 if at < len(tail) else at)
        if at < 0:
            raise _damage("the end record of a zip is missing: it is truncated, or not a zip")
        if at + _END.size <= len(tail):
            found = _END.unpack_from(tail, at)
            if at + _END.size + found[-1] == len(tail):
                break
    _, disk, first_disk, here, total, size, offset, _ = found
    if (disk, first_disk) != (0, 0) or here != total:
        raise _damage("it is one part of a zip in several parts")
    end = first + at
    if total == 0xFFFF or size == 0xFFFFFFFF or offset == 0xFFFFFFFF:
        return _end64(data, end)
    return total, size, offset, end


def _end64(data: memoryview, end: int) -> tuple[int, int, int, int]:
    if end < _LOCATOR.size:
        raise _damage("it needs a ZIP64 locator, and has none")
    mark, _, at, _ = _LOCATOR.unpack_from(data, end - _LOCATOR.size)
    if mark != b"PK\6\7" or at + _END64.size > end:
        raise _damage("its ZIP64 locator points outside the file")
    mark, _, _, _, disk, first_disk, here, total, size, offset = _END64.unpack_from(data, at)
    if mark != b"PK\6\6" or (disk, first_disk) != (0, 0) or here != total:
        raise _damage("its ZIP64 locator does not point to an end record")
    return total, size, offset, at


def _entry(data: memoryview, at: int, end: int) -> tuple[Entry, int]:
    """One entry of the directory, with its own header looked at, and where the next one begins."""
    if at + _ENTRY.size > end:
        raise _damage("its directory ends inside an entry")
    fields = _ENTRY.unpack_from(data, at)
    mark, flags, method, crc, packed, size = fields[0], fields[3], fields[4], *fields[7:10]
    n_name, n_extra, n_comment = fields[10:13]
    offset = fields[16]
    names = at + _ENTRY.size
    if mark != b"PK\1\2" or names + n_name + n_extra + n_comment > end:
        raise _damage("its directory has an invalid entry")
    raw = bytes(data[names : names + n_name])
    extra = bytes(data[names + n_name : names + n_name + n_extra])
    packed, size, offset = _large(extra, size, packed, offset)
    name = raw.decode("utf-8" if flags & 0x800 else "cp437", errors="replace")
    if flags & _IS_ENCRYPTED:
        raise _damage(f"{quoted(name)} is encrypted")
    start = _start(data, offset, raw, name)
    return Entry(name, method, crc, packed, size, start), names + n_name + n_extra + n_comment


def _large(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The numbers that an entry has in the extra field 1 where they do not fit 32 bits."""
    values = [size, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, n = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wanted = [i for i, value in enumerate(values) if value == 0xFFFFFFFF]
            if n < 8 * len(wanted) or at + 4 + n > len(extra):
                raise _damage("an entry lacks numbers of 64 bits that it needs")
            for place, i in enumerate(wanted):
                (values[i],) = struct.unpack_from("<Q", extra, at + 4 + 8 * place)
            break
        at += 4 + n
    size, packed, offset = values
    return packed, size, offset


def _start(data: memoryview, offset: int, raw: bytes, name: str) -> int:
    """Where the bytes of a member begin, behind a header of its own."""
    if offset + _LOCAL.size > len(data):
        raise _damage(f"{quoted(name)} begins at byte {offset} of {len(data)}")
    fields = _LOCAL.unpack_from(data, offset)
    n_name, n_extra = int(fields[9]), int(fields[10])
    names = offset + _LOCAL.size
    if fields[0] != b"PK\3\4" or bytes(data[names : names + n_name]) != raw:
        raise _damage(f"{quoted(name)} has a header that differs from the directory")
    if fields[2] & _IS_ENCRYPTED:
        raise _damage(f"{quoted(name)} is encrypted")
    return names + n_name + n_extra


def unpacked(data: memoryview, entry: Entry, limits: Limits) -> memoryview:
    """Decompress a deflated member in memory.

    Parameters
    ----------
    data : memoryview
        The whole archive.
    entry : Entry
    limits : Limits
        Of memory and time.

    Returns
    -------
    content : memoryview
        Read-only, of ``entry.size`` bytes.

    Raises
    ------
    ArtifactError
        It declares more than it can hold, or is damaged.
    ResourceError
        It declares more than memory may be taken for.
    """
    packed = data[entry.start : entry.start + entry.packed]
    if entry.size > MAX_RATIO * len(packed) + 64:
        raise ArtifactError(
            f"{entry.name} declares {entry.size} bytes, more than {len(packed)} compressed bytes can hold"
        )
    limits.allow(entry.size, entry.name)
    content = memoryview(bytearray(entry.size))
    decompressor, at, taken = zlib.decompressobj(-15), 0, 0
    rest: bytes | memoryview = b""
    while at < entry.size:
        limits.check()
        if not rest:
            rest, taken = packed[taken : taken + _PIECE], taken + _PIECE
            if not rest:
                break
        try:
            piece = decompressor.decompress(rest, min(_PIECE, entry.size - at))
        except zlib.error as error:
            raise _damage(str(error)) from error
        rest = decompressor.unconsumed_tail
        content[at : at + len(piece)] = piece
        at += len(piece)
        if decompressor.eof:
            break
    if at < entry.size:
        raise ArtifactError(f"{quoted(entry.name)} ends after {at} bytes of {entry.size}: the file is truncated")
    return content.toreadonly()
