"""Functions that some operating systems lack, each with a fallback.

All of them are only advice to the system, or have a plain fallback: a job gives the same bytes on every system.
"""

import contextlib
import os

__all__ = ["NEW_FILE", "forget_pages", "send_to_disk"]

#: Flags of os.open for a file that was not there: links are not followed, and Windows does not change its bytes.
NEW_FILE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def send_to_disk(descriptor: int) -> None:
    """Wait until the bytes of a file, and the metadata needed to read them, are on disk.

    Parameters
    ----------
    descriptor : int
        The descriptor of an open file.
    """
    getattr(os, "fdatasync", os.fsync)(descriptor)


def forget_pages(descriptor: int, offset: int = 0, size: int = 0) -> None:
    """Let the system begin to write some of a file's pages, and drop those that are on the disk.

    Parameters
    ----------
    descriptor : int
    offset, size : int
        In bytes; a size of 0 is everything from the offset on.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)
