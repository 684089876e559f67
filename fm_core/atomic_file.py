"""Write a file so that it never exists half-written, and no link redirects the writing.

The bytes go to a new file, created exclusively: a link or file with its temporary name is removed, and never followed
or written to. The new file has the mode `MODE` minus the process's umask. It replaces only a regular file: a device, a
pipe or a folder of that name is never replaced, whatever permissions the process has.
"""

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fm_core.system import NEW_FILE, forget_pages

__all__ = ["MODE", "atomic_files", "atomic_write", "check_replaceable", "check_writable", "temporary_path"]

#: Of files that are written: everybody may read them, as platforms do that take them away under another user.
MODE = 0o644

#: How often what lies in the way is removed.
_ATTEMPTS = 5

#: Pieces of at least so many bytes set out for the disk when they are written.
_LARGE = 1 << 20


class _SetsOut(io.FileIO):
    """A file whose large pieces are on their way to the disk from when they are written, and whose errors name it.

    So what `fsync` waits for has begun long before, and a large file takes as long as the disk, not
    as the memory and then the disk.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: Any) -> int:
        try:
            count = super().write(data)
        except OSError as error:
            error.filename = str(self._path)
            raise
        if count >= _LARGE:
            # Before it drops pages that are on disk, which these are not, Linux begins to write the others.
            forget_pages(self.fileno(), self.tell() - count, count)
        return count


def temporary_path(path: Path, suffix: str = ".tmp") -> Path:
    """Return the name under which a file is written until it is complete, in the same folder.

    One name per file, so that what a killed process left is overwritten by the next one.

    Parameters
    ----------
    suffix : str
        What the name ends with.

    Returns
    -------
    temporary : Path
    """
    return path.with_name(f".{path.name}{suffix}")


@contextlib.contextmanager
def atomic_write(path: Path, suffix: str = ".tmp") -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name `path` when the block ends, whole and on disk.

    If the block, or anything after it, fails or is interrupted, nothing is left of it
    and `path` is what it was.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    suffix : str
        What the temporary name ends with.

    Yields
    ------
    file : binary file, seekable

    Raises
    ------
    OSError
        It cannot be made or written, or `path` is something else than a file.
    """
    check_replaceable(path)
    temporary = temporary_path(path, suffix)
    try:
        with io.BufferedWriter(_SetsOut(_created(temporary), path)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        # The first failure is the one to tell of.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Give an empty folder whose files go to `folder` when the block ends: all are written before one has its name.

    If the block fails, nothing is left of it, and `folder` and what it holds are what they were.

    Parameters
    ----------
    folder : Path
        May not exist yet; files of other names that it holds stay.

    Yields
    ------
    folder : Path
        Beside the other, on the same file system.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun = temporary_path(folder.absolute(), ".folder.tmp")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir()
    try:
        yield begun
        folder.mkdir(exist_ok=True)
        for file in begun.iterdir():
            file.replace(folder / file.name)
        _sync_folder(folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def check_replaceable(path: Path) -> None:
    """Refuse a name that stands for something else than a file, or a link to one.

    Raises
    ------
    OSError
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # there is none, or a link to none
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, expected the name of a file", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(
            errno.EINVAL, "it is a device or a pipe, which a file cannot be put in the place of: name a file", str(path)
        )


def check_writable(path: Path) -> None:
    """Create a file at `path`, an unused name, and remove it.

    Raises
    ------
    OSError
        It cannot be made.
    """
    os.close(_created(path))
    path.unlink()


def _created(path: Path) -> int:
    """Make a file that was not there, and give its descriptor."""
    for _ in range(_ATTEMPTS):
        try:
            return os.open(path, NEW_FILE, MODE)
        except FileExistsError:  # what a killed process left, or a link that somebody put there
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    raise FileExistsError(errno.EEXIST, "it reappears whenever it is removed", str(path))


def _sync_folder(folder: Path) -> None:
    # Some network file systems cannot; the file itself is on disk and named by now.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
