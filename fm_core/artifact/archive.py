"""From a path to the members of the zip that a model file is, memory-mapped.

A model is found as itself, as the one model in a folder, or inside a `model.tar.gz`
(unpacked in memory, never to disk). Members that are stored are given as views of the
mapped file. Nothing found in a file is trusted: declared sizes are held against the
bytes that are there before memory is taken for them, and names are never used as paths.
"""

import contextlib
import gzip
import mmap
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fm_core.errors import ArtifactError

__all__ = ["MODEL_FILE", "Archive", "Member", "opened"]

#: The name that the built-in gives the file, and public recipes look for.
MODEL_FILE = "model_algo-1"
_MODEL_PREFIX = "model_"
_MODEL_TAR = "model.tar.gz"

_BLOCK_BYTES = 4 << 20

# The densest that deflate can be: what declares more is not telling the truth.
_MAX_RATIO = 1032

# What zipfile, tarfile and gzip raise on bytes that are not theirs.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


class _Content(mmap.mmap):
    """The bytes of the zip, as memory and as the file that zipfile reads."""

    def seekable(self) -> bool:  # mmap itself has it from Python 3.13 on
        return True


class Member(NamedTuple):
    """One member of the zip.

    Attributes
    ----------
    name : str
    data : memoryview of bytes
        Read-only.
    crc : int
        The checksum that `data` should have.
    """

    name: str
    data: memoryview
    crc: int

    def check_sum(self) -> None:
        """Read all the bytes and refuse them if they are not those that were written."""
        crc = 0
        for start in range(0, len(self.data), _BLOCK_BYTES):
            crc = zlib.crc32(self.data[start : start + _BLOCK_BYTES], crc)
        if crc != self.crc:
            raise ArtifactError(f"{self.name} is damaged: its checksum is {crc:08x}, expected {self.crc:08x}")


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator["Archive"]:
    """Open a model file; a failure inside the block becomes a sentence that starts with its path.

    Parameters
    ----------
    path : path
        A model file, a folder that holds one (or the `model.tar.gz` that does), or a `model.tar.gz`.

    Raises
    ------
    ArtifactError
    """
    path = Path(path)
    try:
        path = _model_file(path)
        with _naming_damage():
            archive = Archive(_content(path))
        yield archive
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error.__cause__
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}, expected a model file") from error
    except MemoryError as error:
        raise ArtifactError(f"{path}: the parameters do not fit in memory") from error


@contextlib.contextmanager
def _naming_damage() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(f"not a model file, or a damaged one: {reason}") from error


class Archive:
    """The members of a model file, by name."""

    def __init__(self, content: _Content) -> None:
        self._content = content
        self._zip = zipfile.ZipFile(content)  # type: ignore[call-overload]

    def member(self, name: str, max_size: int | None = None) -> Member:
        """Give a member: where it lies if it is stored, unpacked in memory if it is deflated."""
        with _naming_damage():
            if name not in self._zip.NameToInfo:
                found = ", ".join(sorted(self._zip.namelist())[:10]) or "nothing"
                raise ArtifactError(f"not a model file: it holds {found}, and no {name}")
            info = self._zip.getinfo(name)
            if max_size is not None and info.file_size > max_size:
                raise ArtifactError(f"{name} declares {info.file_size} bytes, expected at most {max_size}")
            if info.compress_type == zipfile.ZIP_STORED:
                return Member(name, self._stored(info), info.CRC)
            if info.compress_type == zipfile.ZIP_DEFLATED:
                return Member(name, self._deflated(info), info.CRC)
        raise ArtifactError(f"{name} is compressed by method {info.compress_type}, expected stored or deflated")

    def _stored(self, info: zipfile.ZipInfo) -> memoryview:
        self._zip.open(info).close()  # looks at the member's own header, and refuses encryption
        names, extra = struct.unpack_from("<HH", self._content, info.header_offset + 26)
        start = info.header_offset + 30 + names + extra
        end = start + info.file_size
        if end > len(self._content) or info.compress_size != info.file_size:
            raise ArtifactError(
                f"{info.filename} declares {info.file_size} bytes from byte {start} on, of which "
                f"{max(0, min(info.compress_size, len(self._content) - start))} are there: the file is cut short"
            )
        return memoryview(self._content)[start:end].toreadonly()

    def _deflated(self, info: zipfile.ZipInfo) -> memoryview:
        packed = min(info.compress_size, len(self._content))
        if info.file_size > _MAX_RATIO * packed + 64:
            raise ArtifactError(
                f"{info.filename} declares {info.file_size} bytes, more than {packed} compressed bytes can hold"
            )
        unpacked = memoryview(bytearray(info.file_size))
        with self._zip.open(info) as file:
            _fill(unpacked, file, info.filename)
        return unpacked.toreadonly()


def _model_file(path: Path) -> Path:
    """Find the model file of a folder; the path of a file is given back."""
    if not path.is_dir():
        return path
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    models = [name for name in names if name.startswith(_MODEL_PREFIX)]
    if not models:
        models = [name for name in names if name == _MODEL_TAR]
    if MODEL_FILE in models:
        models = [MODEL_FILE]
    if len(models) != 1:
        found = ", ".join((models or names)[:10]) or "no file"
        raise ArtifactError(f"the folder holds {found}, expected one model file such as {MODEL_FILE}")
    return path / models[0]


def _content(path: Path) -> _Content:
    """Give the bytes of the zip: the file, mapped, or the member of a tar, unpacked in memory."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        head = file.read(512) if stat.S_ISREG(status.st_mode) else b""
        if not head:
            raise ArtifactError("empty, or not a file, expected a model file")
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _from_tar(unpacked, _MAX_RATIO * status.st_size)
        if head[257:262] == b"ustar":
            return _from_tar(file, status.st_size)
        if not head.startswith(b"PK"):
            raise ArtifactError(f"not a model file: it starts with {head[:8]!r}, expected a zip or a tar.gz of one")
        return _Content(file.fileno(), 0, access=mmap.ACCESS_READ)


def _from_tar(file: BinaryIO | gzip.GzipFile, max_size: int) -> _Content:
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for entry in tar:
            if not entry.isfile() or not entry.name.rpartition("/")[2].startswith(_MODEL_PREFIX):
                continue
            if not 0 < entry.size <= max_size:
                raise ArtifactError(f"its member {entry.name!r} declares {entry.size} bytes, more than there can be")
            content = _Content(-1, entry.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            _fill(memoryview(content), tar.extractfile(entry), entry.name)
            return content
    raise ArtifactError(f"it holds no model file, expected one such as {MODEL_FILE}")


def _fill(content: memoryview, file: Any, name: str) -> None:
    at = 0
    while at < len(content):
        count = file.readinto(content[at : at + _BLOCK_BYTES])
        if not count:
            raise ArtifactError(f"{name!r} ends after {at} bytes of {len(content)}: the file is cut short")
        at += count
