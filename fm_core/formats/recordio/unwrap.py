"""Remove the extra RecordIO frame that wraps each object of a stream.

SageMaker's ``RecordWrapperType: RecordIO`` puts a frame around every object of a channel.
If the objects are bare Records, that frame is the framing that the decoder expects, and is kept.
If they are RecordIO files themselves, the frame is removed. The two cannot be confused:
no protobuf message of the Record schema begins with the magic number.

Only the first bytes of an object are kept, whatever its length.
"""

import struct
from collections.abc import Iterable, Iterator

from fm_core.errors import DataError
from fm_core.formats.recordio.framing import MAGIC, MAX_PART_BYTES

__all__ = ["unwrap"]

_HEADER = struct.Struct("<II")
_MAGIC_BYTES = struct.pack("<I", MAGIC)
_FIRST, _MIDDLE, _LAST = 1, 2, 3
_CHUNK = 1 << 18


def unwrap(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Take the outer frames off a stream, where objects are RecordIO files.

    Parameters
    ----------
    chunks : iterable of bytes-like
        The wrapped stream. One without outer frames comes out as it is, so does what is broken:
        the decoder says what is wrong with it.

    Yields
    ------
    chunk : bytes
        The stream the decoder reads.

    Raises
    ------
    DataError
        The stream ends inside an outer frame.
    """
    kept = bytearray()
    for piece in _pieces(_Stream(chunks)):
        kept += piece
        if len(kept) >= _CHUNK:
            yield bytes(kept)
            kept.clear()
    if kept:
        yield bytes(kept)


def _pieces(stream: "_Stream") -> Iterator[bytes]:
    wraps_frames = False
    while header := stream.take(_HEADER.size):
        magic, word = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, 0)
        if magic != MAGIC:
            yield header
            yield from stream.pieces(None)
            return
        flag, length = word >> 29, word & MAX_PART_BYTES
        begins = stream.offset
        start = stream.take(min(length, 4))
        if flag not in (_MIDDLE, _LAST):
            # A writer that splits where the magic stands leaves nothing before a magic at the very start.
            wraps_frames = start == _MAGIC_BYTES or (flag == _FIRST and length == 0)
        if not wraps_frames:
            yield header
        elif flag in (_MIDDLE, _LAST):
            yield _MAGIC_BYTES
        yield start
        yield from stream.pieces(length - len(start))
        arrived = stream.offset - begins
        if arrived < length and wraps_frames:
            raise DataError(
                f"byte {begins}: the frame around an object declares {length} bytes, the data ends after {arrived}"
            )
        padding = stream.take(-length % 4)
        if not wraps_frames:
            yield padding


class _Stream:
    """Bytes by number, out of chunks of any size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.offset = 0
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def take(self, length: int) -> bytes:
        """The next bytes, fewer at the end."""
        return b"".join(self.pieces(length))

    def pieces(self, length: int | None) -> Iterator[bytes]:
        """The next bytes as they come; all that are left without a length."""
        while length is None or length > 0:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._rest = memoryview(chunk)
                continue
            piece = self._rest[:length].tobytes()
            self._rest = self._rest[len(piece) :]
            self.offset += len(piece)
            if length is not None:
                length -= len(piece)
            yield piece
