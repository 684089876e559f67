"""RecordIO framing without I/O, in plain Python: the specification of the framing in `_decode`.

A frame, little-endian::

    u32   magic 0xced7230a
    u32   continuation flag (top 3 bits), length (low 29 bits)
    u8[]  payload, `length` bytes
    u8[]  padding to a multiple of 4, any bytes; may be missing at the end of the data

Flag 0 is a whole record; 1, 2, ..., 2, 3 are the first, middle and last parts of one.
dmlc's writer splits where the magic stands in the payload, and drops it there: the magic
is put back between two parts.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from fm_core.errors import DataError
from fm_core.formats.recordio.faults import BadRecord, Fault

__all__ = ["MAGIC", "MAX_PART_BYTES", "MAX_RECORD_BYTES", "Frame", "Framer", "frame"]

MAGIC = 0xCED7230A
MAX_PART_BYTES = (1 << 29) - 1
# protobuf's own bound; a split record has no other.
MAX_RECORD_BYTES = (1 << 31) - 1

_HEADER = struct.Struct("<II")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


class Frame(NamedTuple):
    """A complete record: the bytes it carries, and where in the data its first frame begins."""

    payload: bytes
    offset: int


class Framer:
    """Cut a stream of bytes into records.

    Feed it chunks of any size; it keeps what is not complete, at most one record.

    Attributes
    ----------
    offset : int
        Byte at which the frame that is being read begins.
    """

    def __init__(self, max_record_bytes: int = MAX_RECORD_BYTES) -> None:
        self.offset = 0
        self._max_record_bytes = max_record_bytes
        self._buffer = bytearray()
        self._padding = 0
        self._parts: list[bytes] = []
        self._record_offset = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes, and yield the records that they complete; the caller must consume all of them.

        Parameters
        ----------
        data : bytes
            The next bytes of the stream.

        Yields
        ------
        frame : Frame

        Raises
        ------
        BadRecord
            A frame is broken; nothing can be read after it. Its place is `offset`.
        """
        self._buffer += data
        while True:
            skipped = min(self._padding, len(self._buffer))
            del self._buffer[:skipped]
            self._padding -= skipped
            self.offset += skipped
            if self._padding or len(self._buffer) < _HEADER.size:
                return
            flag, length = self._header()
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            part = bytes(self._buffer[_HEADER.size : end])
            if flag in (_WHOLE, _FIRST):
                self._record_offset = self.offset
            self._parts.append(part)
            payload = _HEADER.pack(MAGIC, 0)[:4].join(self._parts)
            if len(payload) > self._max_record_bytes:
                raise BadRecord(Fault.RECORD_LONG, len(payload), self._max_record_bytes)
            del self._buffer[:end]
            self.offset += end
            self._padding = -length % 4
            if flag in (_WHOLE, _LAST):
                self._parts.clear()
                yield Frame(payload, self._record_offset)

    def close(self) -> None:
        """Say that the data has ended.

        Raises
        ------
        BadRecord
            It ended inside a record.
        """
        if self._buffer or self._parts:
            declared = _HEADER.size
            if len(self._buffer) >= _HEADER.size:
                declared += self._header()[1]
            raise BadRecord(Fault.CUT, len(self._buffer), declared)

    def _header(self) -> tuple[int, int]:
        magic, word = _HEADER.unpack_from(self._buffer)
        if magic != MAGIC:
            raise BadRecord(Fault.MAGIC, magic)
        flag, length = word >> 29, word & MAX_PART_BYTES
        if self._parts and flag not in (_MIDDLE, _LAST):
            raise BadRecord(Fault.PART_MISSING, flag)
        if not self._parts and flag not in (_WHOLE, _FIRST):
            raise BadRecord(Fault.PART_WITHOUT_FIRST, flag)
        return flag, length


def frame(payload: bytes) -> bytes:
    """Frame one payload as a whole record, as SageMaker's own writers do.

    Parameters
    ----------
    payload : bytes

    Returns
    -------
    framed : bytes
        The payload with its header and padding.

    Raises
    ------
    DataError
        It has 2**29 bytes or more.
    """
    if len(payload) > MAX_PART_BYTES:
        raise DataError(f"the record has {len(payload)} bytes, expected at most {MAX_PART_BYTES}")
    return _HEADER.pack(MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)
