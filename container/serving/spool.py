"""Buffers for bytes until all of them have arrived: the body of a request, and that of an answer.

A small buffer stays in its process. A larger one is written, piece by piece, to an anonymous file in
memory (memfd_create(2), which needs no /dev/shm), whose descriptor can be handed to another process without a
copy. Bytes beyond `SPOOLED` go to an unnamed file in the folder for temporary files, so that an asynchronous
inference of 1 GB uses disk and not memory.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator

__all__ = ["LIGHT", "SPOOLED", "Spool"]

#: Bytes up to which a body is small: parsing and scoring it takes a millisecond or two.
LIGHT = 64 * 2**10

#: Bytes from which on a body goes to the disk.
SPOOLED = 128 * 2**20

_PIECE = 2**20


class Spool:
    """The bytes that there are so far; an iterable of pieces of them.

    Parameters
    ----------
    descriptor : int, optional
        A file to begin with, which becomes this object's own.

    Attributes
    ----------
    size : int
        How many.
    descriptor : int or None
        The file that they are in; None while they are few.
    """

    __slots__ = ("_on_disk", "_pieces", "descriptor", "size")

    def __init__(self, descriptor: int | None = None) -> None:
        self.size = 0 if descriptor is None else os.fstat(descriptor).st_size
        self.descriptor = descriptor
        self._pieces: list[bytes] = []
        self._on_disk = False

    @property
    def in_memory(self) -> int:
        """The bytes that its file in memory has."""
        return 0 if self._on_disk or self.descriptor is None else self.size

    def append(self, data: bytes) -> None:
        """Add the next bytes.

        Raises
        ------
        OSError
            There are too many open files, or there is no room for more.
        """
        if not data:
            return
        size = self.size + len(data)
        if size > LIGHT and self.descriptor is None:
            self.descriptor = os.memfd_create("fm", os.MFD_CLOEXEC)
            for piece in self._pieces:
                _write(self.descriptor, piece)
            self._pieces.clear()
        if size > SPOOLED and not self._on_disk:
            self._spool()
        if self.descriptor is None:
            self._pieces.append(data)
        else:
            _write(self.descriptor, data)
        self.size = size

    def content(self) -> bytes | mmap.mmap:
        """All of them; where they are in a file, mapped."""
        if self.descriptor is not None:
            return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def read(self, at: int, size: int) -> bytes:
        """Give some of the bytes of a file, from one of them on."""
        assert self.descriptor is not None
        return os.pread(self.descriptor, size, at)

    def __iter__(self) -> Iterator[bytes]:
        if self.descriptor is None:
            yield from self._pieces
            return
        for at in range(0, self.size, _PIECE):
            yield self.read(at, _PIECE)

    def close(self) -> None:
        """Give up what it takes."""
        self._pieces.clear()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def _spool(self) -> None:
        assert self.descriptor is not None
        with tempfile.TemporaryFile() as file:
            on_disk = os.dup(file.fileno())
        offset = 0
        try:
            while offset < self.size:
                offset += os.sendfile(on_disk, self.descriptor, offset, self.size - offset)
        except OSError:
            os.close(on_disk)
            raise
        os.close(self.descriptor)
        self.descriptor = on_disk
        self._on_disk = True


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
