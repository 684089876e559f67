"""What one operating system has and another has not, each said once.

All of it is advice, or has a plain way where it is missing: a job gives the same bytes on every system.
"""

import contextlib
import os
from pathlib import Path

__all__ = ["NEW_FILE", "forget_pages", "free_memory", "send_to_disk", "usable_cores"]

#: Flags of os.open for a file that was not there: links are not followed, and Windows does not change its bytes.
NEW_FILE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def usable_cores() -> int:
    """The processors that this process may run on; where the system does not say, those there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """The bytes that the system could give without swapping; without bound where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 2**63


def send_to_disk(descriptor: int) -> None:
    """Wait until a file's bytes, and what is needed to read them, are on the disk."""
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
