"""Files that can be read again from their start, including pipes: a pipe is read once, and stored while it is read.

Some formats are inspected before their rows are read. A pipe, a FIFO or a process substitution gives its bytes only
once, so they are stored in an unnamed file, from which the next reader starts.
"""

import io
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from fm_core.errors import ConfigError, DataError
from fm_core.formats.streams import CHUNK_BYTES, decompressed

__all__ = ["InputFile", "input_files", "total_size"]

#: Bytes of a pipe that are kept in memory; more of them are kept on disk.
_MOST_IN_MEMORY = 1 << 22


class InputFile:
    """A file of rows.

    Parameters
    ----------
    path : Path
        A file, or something that can be read once only.
    scratch : Path or None
        A folder for what comes through a pipe; None: the system's.

    Attributes
    ----------
    path : Path
    name : str
        For messages.
    size : int
        Bytes on disk; 0 where that is not known.

    Raises
    ------
    OSError
        There is nothing at the path.
    DataError
        It is a folder.
    """

    def __init__(self, path: Path, scratch: Path | None = None) -> None:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"{path} is a folder, expected a file: name the files in it")
        self.path = path
        self.name = str(path)
        self.identity = (status.st_dev, status.st_ino)
        self.can_be_reopened = stat.S_ISREG(status.st_mode)
        self.size = status.st_size if self.can_be_reopened else 0
        self._scratch = scratch
        self._source: IO[bytes] | None = None
        self._kept: IO[bytes] | None = None
        self._n_kept = 0

    def __str__(self) -> str:
        return self.name

    def chunks(self, update: Callable[[int], Any] = lambda _: None) -> Iterator[bytes]:
        """Read it from its start, decompressed.

        Parameters
        ----------
        update : callable
            Gets the number of bytes of each piece, as they are on disk.

        Yields
        ------
        piece : bytes
        """
        return decompressed(self._counted(update), self.name)

    def for_library(self) -> str | IO[bytes]:
        """Return what a reader that seeks can open, as those of Parquet and zip archives do."""
        if self.can_be_reopened:
            return self.name
        kept = self._begin()
        assert self._source is not None
        kept.seek(0, os.SEEK_END)
        shutil.copyfileobj(self._source, kept, CHUNK_BYTES)
        self._n_kept = kept.tell()
        return _Kept(kept)  # type: ignore[return-value]

    def _counted(self, update: Callable[[int], Any]) -> Iterator[bytes]:
        for chunk in self._read() if self.can_be_reopened else self._read_once():
            update(len(chunk))
            yield chunk

    def _read(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _read_once(self) -> Iterator[bytes]:
        kept = self._begin()
        assert self._source is not None
        at = 0
        while True:
            kept.seek(at)
            if at < self._n_kept:
                chunk = kept.read(min(CHUNK_BYTES, self._n_kept - at))
            else:
                chunk = self._source.read(CHUNK_BYTES)
                kept.write(chunk)
                self._n_kept += len(chunk)
            if not chunk:
                return
            at += len(chunk)
            yield chunk

    def _begin(self) -> IO[bytes]:
        if self._kept is None:
            folder = None if self._scratch is None else str(self._scratch)
            self._kept = tempfile.SpooledTemporaryFile(_MOST_IN_MEMORY, dir=folder)  # noqa: SIM115
            self._source = self.path.open("rb", buffering=0)
            weakref.finalize(self, self._source.close)
            weakref.finalize(self, self._kept.close)
        return self._kept


class _Kept(io.RawIOBase):
    """What was kept of a pipe, as a file of its own: a reader that closes it does not close what was kept."""

    def __init__(self, kept: IO[bytes]) -> None:
        self._kept = kept
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        before = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        if before is None:
            before = self._kept.seek(0, os.SEEK_END)
        self._at = max(0, before + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        self._kept.seek(self._at)
        data = self._kept.read(-1 if size is None else size)
        self._at += len(data)
        return data


def input_files(paths: Sequence[Path], scratch: Path | None = None) -> list[InputFile]:
    """Open paths as input files.

    Parameters
    ----------
    paths : sequence of Path
        Regular files, or pipes.
    scratch : Path, optional
        Folder for a copy of a pipe that is read more than once.

    Returns
    -------
    files : list of InputFile

    Raises
    ------
    ConfigError
        A pipe is there twice: its rows can be had once.
    OSError
        There is nothing at a path: said before a file has been read.
    """
    files = [InputFile(path, scratch) for path in paths]
    pipes = [file for file in files if not file.can_be_reopened]
    for i, file in enumerate(pipes):
        if file.identity in [other.identity for other in pipes[:i]]:
            raise ConfigError(f"{file} is given twice, but can be read only once: give it once")
    return files


def total_size(files: Iterable[InputFile]) -> int:
    """Return the number of bytes that files have on disk.

    Parameters
    ----------
    files : iterable of InputFile

    Returns
    -------
    n_bytes : int
        Pipes count as 0.
    """
    return sum(file.size for file in files)
