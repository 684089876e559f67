"""Where the bytes of a request's body wait until all of them are there.

A small body stays in the process that received it. A larger one goes, piece by piece as it comes, into an
anonymous file in memory (memfd_create(2), which needs no /dev/shm), whose descriptor another process can be
handed without a copy. One beyond `SPOOLED` goes to an unnamed file in the folder for temporary files, so that
an asynchronous inference of 1 GB takes disk and not memory.
"""

import os
import tempfile

__all__ = ["LIGHT", "SPOOLED", "RequestBody", "anonymous_file"]

#: Bytes up to which a body is small: parsing and scoring it takes a millisecond or two.
LIGHT = 64 * 2**10

#: Bytes from which on a body goes to the disk.
SPOOLED = 128 * 2**20


def anonymous_file() -> int:
    """Open a file in memory that goes when its last descriptor does; its descriptor.

    Raises
    ------
    OSError
        There are too many open files, or there is no memory.
    """
    return os.memfd_create("fm", os.MFD_CLOEXEC)


class RequestBody:
    """The bytes that have come so far.

    Attributes
    ----------
    size : int
        How many.
    descriptor : int or None
        The file that they are in; None while the body is small.
    """

    __slots__ = ("_on_disk", "_pieces", "descriptor", "size")

    def __init__(self) -> None:
        self.size = 0
        self.descriptor: int | None = None
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
        size = self.size + len(data)
        if size > LIGHT and self.descriptor is None:
            self.descriptor = anonymous_file()
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

    def content(self) -> bytes:
        """All of it, of a small body."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

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
