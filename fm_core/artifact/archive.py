"""Open a model file: from a path to the members of its zip, memory-mapped.

A model is a file, the only model in a folder, or inside a `model.tar.gz` (unpacked in
memory, never to disk). Stored members are views of the mapped file. Nothing in a file is
trusted: every declared number is checked against the actual bytes and against the limits
before memory or time is spent (tar_reader.py, zip_reader.py), and names are never used as
paths.
"""

import contextlib
import mmap
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fm_core import arrays
from fm_core.artifact.limits import Limits
from fm_core.artifact.mapping import mapped
from fm_core.artifact.tar_reader import Found, Plain, Stream, Unpacked, find_file, find_model
from fm_core.artifact.zip_reader import DEFLATED, STORED, Entry, directory, unpacked
from fm_core.errors import ArtifactError, ResourceError, is_exhausted
from fm_core.printable import printable, quoted
from fm_core.small_json import object_of

__all__ = ["MODEL_FILE", "Archive", "Member", "content_beside", "model_folder", "opened", "opened_beside"]

#: The name that the built-in gives the file, and public recipes look for.
MODEL_FILE = "model_algo-1"
_MODEL_PREFIX = "model_"
_MODEL_TAR = "model.tar.gz"

#: Folders that a model may lie below the one that is named.
_DEEPEST = 4


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

    def check_sum(self, limits: Limits | None = None) -> None:
        """Read all the bytes, and refuse them if their checksum is wrong.

        Parameters
        ----------
        limits : Limits, optional
            Checked after each block.

        Raises
        ------
        ArtifactError
            The checksum is wrong.
        """
        crc = 0
        for piece in arrays.byte_blocks(self.data):
            if limits is not None:
                limits.check()
            crc = zlib.crc32(piece, crc)
        if crc != self.crc:
            raise ArtifactError(f"{self.name} is damaged: its checksum is {crc:08x}, expected {self.crc:08x}")


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], limits: Limits | None = None) -> Iterator["Archive"]:
    """Open a model file; a failure inside the block becomes a sentence that starts with its path.

    Parameters
    ----------
    path : path
        A model file, a folder that holds one (or the `model.tar.gz` that does), or a `model.tar.gz`.
    limits : Limits, optional

    Yields
    ------
    archive : Archive

    Raises
    ------
    ArtifactError
    ResourceError
        The model needs more memory than the limit.
    """
    limits = limits or Limits()
    with _told(Path(path)):
        file = _model_file(Path(path))
    with _told(file):
        yield Archive(_content(file, limits), limits)


@contextlib.contextmanager
def opened_beside(
    path: str | os.PathLike[str], name: str, most_bytes: int, limits: Limits | None = None
) -> Iterator["Archive | None"]:
    """Open another zip next to a model: in the model file's folder, or in the tar that has both.

    Parameters
    ----------
    path, name, most_bytes, limits
        As of `content_beside`.

    Yields
    ------
    archive : Archive or None
        None: there is no such file.

    Raises
    ------
    ArtifactError, ResourceError
        As `opened`.
    """
    limits = limits or Limits()
    with content_beside(path, name, most_bytes, limits) as content:
        yield None if content is None else Archive(content, limits)


@contextlib.contextmanager
def content_beside(
    path: str | os.PathLike[str], name: str, most_bytes: int, limits: Limits | None = None
) -> Iterator[mmap.mmap | memoryview | None]:
    """Return the bytes of another file next to a model: in the model file's folder, or in the tar that has both.

    Parameters
    ----------
    path : path
        As of `opened`.
    name : str
        Of the file.
    most_bytes : int
        Of the file.
    limits : Limits, optional

    Yields
    ------
    content : bytes-like or None
        None: there is no such file.

    Raises
    ------
    ArtifactError, ResourceError
        As `opened`.
    """
    limits = limits or Limits()
    with _told(Path(path)):
        model = _model_file(Path(path))
    with _told(model):
        head = _head(model)
    if head.startswith(b"PK"):
        file = model.with_name(name)
        with _told(file):
            yield _mapped(file, most_bytes) if file.is_symlink() or file.exists() else None
        return
    with _told(model.with_name(f"{model.name}: {name}")):
        yield _of_tar(model, head, limits, name, most_bytes)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Begin the sentence of whatever fails with a path."""
    shown = printable(str(path))
    try:
        yield
    except (ArtifactError, ResourceError) as error:
        raise type(error)(f"{shown}: {error}") from error.__cause__
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        if is_exhausted(error):
            raise ResourceError(f"{shown}: {reason}") from error
        raise ArtifactError(f"{shown}: {reason}, expected a model file") from error
    except MemoryError as error:
        raise ResourceError(f"{shown}: the parameters do not fit in memory") from error


class Archive:
    """The members of a model file, by name.

    Parameters
    ----------
    content : bytes-like
        The whole zip.
    limits : Limits, optional
    """

    def __init__(self, content: mmap.mmap | memoryview | bytes, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._content = memoryview(content).toreadonly()
        self._entries = directory(self._content)

    @property
    def names(self) -> set[str]:
        """Of its members."""
        return set(self._entries)

    def meta(self, max_size: int, kind: str = "") -> dict[str, Any]:
        """Read the JSON object of meta.json.

        Parameters
        ----------
        max_size : int
            Maximum bytes.
        kind : str
            The start of an error message.

        Returns
        -------
        meta : dict

        Raises
        ------
        ArtifactError
            It is not a JSON object, or is damaged or too large.
        """
        member = self.member("meta.json", max_size=max_size)
        member.check_sum()
        try:
            return object_of(bytes(member.data))
        except ValueError as error:
            raise ArtifactError(f"{kind}meta.json: {error}") from error

    def member(self, name: str, max_size: int | None = None) -> Member:
        """Return a member: a view of the file if it is stored, unpacked in memory if it is deflated.

        Parameters
        ----------
        name : str
        max_size : int, optional
            Maximum bytes.

        Returns
        -------
        member : Member

        Raises
        ------
        ArtifactError
            There is no such member, or it is too large or compressed in another way.
        """
        if name not in self._entries:
            found = ", ".join(printable(other, 80) for other in sorted(self._entries)[:10]) or "nothing"
            raise ArtifactError(f"not a model file: it holds {found}, but no {name}")
        entry = self._entries[name]
        if max_size is not None and entry.size > max_size:
            raise ArtifactError(f"{name} declares {entry.size} bytes, expected at most {max_size}")
        if entry.method == STORED:
            return Member(name, self._stored(entry), entry.crc)
        if entry.method == DEFLATED:
            return Member(name, unpacked(self._content, entry, self.limits), entry.crc)
        raise ArtifactError(f"{name} is compressed by method {entry.method}, expected stored or deflated")

    def _stored(self, entry: Entry) -> memoryview:
        end = entry.start + entry.size
        if end > len(self._content) or entry.packed != entry.size:
            raise ArtifactError(
                f"{entry.name} declares {entry.size} bytes from byte {entry.start} on, of which "
                f"{max(0, min(entry.packed, len(self._content) - entry.start))} are there: the file is truncated"
            )
        return self._content[entry.start : end]


def model_folder(path: Path) -> Path:
    """Find the folder of a model: the given one, or its only subfolder if it has no other entries, and so on.

    A ``model.tar.gz`` that was packed with its folder, or a prefix of S3 with one below it, comes so.

    Parameters
    ----------
    path : Path
        A folder, or a file, which is given back.

    Returns
    -------
    folder : Path

    Raises
    ------
    OSError
        It cannot be read.
    """
    found = path
    for _ in range(_DEEPEST):
        entries = [entry for entry in found.iterdir() if not entry.name.startswith(".")] if found.is_dir() else []
        if len(entries) != 1 or entries[0].is_symlink() or not entries[0].is_dir():
            return found
        found = entries[0]
    return found


def _model_file(path: Path) -> Path:
    """Find the model file of a folder; the path of a file is given back."""
    path = model_folder(path)
    if not path.is_dir():
        return path
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    models = [name for name in names if name.startswith(_MODEL_PREFIX)]
    if not models:
        models = [name for name in names if name == _MODEL_TAR]
    if MODEL_FILE in models:
        models = [MODEL_FILE]
    if len(models) != 1:
        found = ", ".join(printable(name, 80) for name in (models or names)[:10]) or "no file"
        raise ArtifactError(f"the folder holds {found}, expected one model file such as {MODEL_FILE}")
    return path / models[0]


def _head(path: Path) -> bytes:
    # Before it is opened: opening what is no file could wait for its other end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ArtifactError("empty, or not a file, expected a model file")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ArtifactError("empty, or not a file, expected a model file")
    return head


def _content(path: Path, limits: Limits) -> mmap.mmap | memoryview:
    """Return the bytes of the zip: the file, mapped, or the member of a tar, unpacked in memory."""
    head = _head(path)
    content = _of_tar(path, head, limits) if _is_tar(head) else None
    if content is not None:
        return content
    if not head.startswith(b"PK"):
        raise ArtifactError(f"not a model file: it starts with {quoted(head[:8])}, expected a zip or a tar.gz of one")
    return _mapped(path)


def _is_tar(head: bytes) -> bool:
    return head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar"


def _mapped(path: Path, most_bytes: int | None = None) -> memoryview:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or not facts.st_size:
        raise ArtifactError("empty, or not a file, expected a zip")
    if most_bytes is not None and facts.st_size > most_bytes:
        raise ArtifactError(f"it has {facts.st_size} bytes, expected at most {most_bytes}")
    with path.open("rb") as file:
        return mapped(file.fileno(), facts.st_size)


def _of_tar(
    path: Path, head: bytes, limits: Limits, name: str | None = None, most_bytes: int | None = None
) -> mmap.mmap | None:
    """Unpack the model of a tar, or a file of another name; None if there is no such file."""
    with path.open("rb") as file:
        stream: Stream = Unpacked(file, limits) if head.startswith(b"\x1f\x8b") else Plain(file)
        try:
            found = find_model(stream, limits) if name is None else find_file(stream, limits, lambda it: it == name)
            if found is None:
                return None
            if most_bytes is not None and found.size > most_bytes:
                raise ArtifactError(f"it has {found.size} bytes, expected at most {most_bytes}")
            return _unpacked(stream, found, limits)
        except zlib.error as error:
            raise ArtifactError(f"not a model file, or a damaged one: {error}") from error


def _unpacked(stream: Stream, found: Found, limits: Limits) -> mmap.mmap:
    limits.allow(found.size, quoted(found.name))
    content = mmap.mmap(-1, found.size, access=mmap.ACCESS_COPY)
    at = 0
    while at < found.size:
        limits.check()
        piece = stream.read(min(arrays.BLOCK_BYTES, found.size - at))
        if not piece:
            raise ArtifactError(f"{quoted(found.name)} ends after {at} bytes of {found.size}: the file is truncated")
        content[at : at + len(piece)] = piece
        at += len(piece)
    return content
