"""The list of loaded models, the same for every process: a file of changes, appended under one lock.

A process reads new changes before it uses the list; without changes this costs one stat(2), so the thousandth model
costs as little as the first. A process that is killed leaves complete lines and perhaps a partial last line, which the
next writer removes; the system releases its lock. When most lines are of unloaded models, the writer replaces the file
with a new one.
"""

import contextlib
import dataclasses
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson

__all__ = ["Entry", "ModelList"]

#: Lines that a file may have beside four for each loaded model.
_MOST_LINES = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One loaded model.

    Attributes
    ----------
    name : str
    url : str
        As the client wrote it.
    path : str
        The path of the url, with links resolved.
    size : int
        Bytes of its files.
    slot : int
        Its place in the table of times of last use.
    serial : int
        Never used twice, so a model loaded again under its old name is told from the first.
    """

    name: str
    url: str
    path: str
    size: int
    slot: int
    serial: int


class ModelList:
    """The loaded models.

    Made before the processes are forked.

    Parameters
    ----------
    folder : Path
        Of our own; empty, or that of another list, which is then the same.

    Attributes
    ----------
    entries : dict of Entry
        By name, as of the last `refresh`.
    size : int
        Bytes of all of them.
    next_serial, next_slot : int
        Those of the next model.
    gone : set of int
        Serials of models that went since somebody emptied it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "models"
        self._lock_path = folder / "lock"
        self._lock_path.touch()
        self._guard = threading.RLock()
        self._file = -1
        self.gone: set[int] = set()
        self.entries: dict[str, Entry] = {}
        self.size = self.next_serial = 0
        if self._path.exists():
            self._open()
            self._read()
        else:
            self._write_anew()

    @property
    def next_slot(self) -> int:
        """The place of the next model."""
        return self._free_slots[-1] if self._free_slots else self._n_slots

    def refresh(self) -> None:
        """Read what other processes have changed."""
        seen = os.stat(self._path)  # noqa: PTH116 - on each request; Path would be slower
        if seen.st_ino == self._inode and seen.st_size == self._offset:
            return
        with self._guard:
            if seen.st_ino != self._inode:
                before = {entry.serial for entry in self.entries.values()}
                self._open()
                self._read()
                self.gone |= before - {entry.serial for entry in self.entries.values()}
            else:
                self._read()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock of all processes, with everything read."""
        with self._guard, self._lock_path.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refresh()
            yield

    def add(self, entry: Entry) -> None:
        """Add a model, under the lock.

        Raises
        ------
        OSError
            There is no room for it.
        """
        self._append(["+", *dataclasses.astuple(entry)])

    def remove(self, name: str) -> None:
        """Take a model out, under the lock.

        Raises
        ------
        OSError
            There is no room to write it down.
        """
        self._append(["-", name])

    def _append(self, change: list[str | int]) -> None:
        if self._n_lines > _MOST_LINES + 4 * len(self.entries):
            self._write_anew()
        # What a process that was killed has left.
        os.ftruncate(self._file, self._offset)
        line = orjson.dumps(change) + b"\n"
        try:
            written = os.pwrite(self._file, line, self._offset)
            while written < len(line):
                written += os.pwrite(self._file, line[written:], self._offset + written)
        except OSError:
            os.ftruncate(self._file, self._offset)
            raise
        self._read()

    def _write_anew(self) -> None:
        new = self._path.with_suffix(".new")
        lines = [orjson.dumps([self.next_serial])]
        lines += [orjson.dumps(["+", *dataclasses.astuple(entry)]) for entry in self.entries.values()]
        new.write_bytes(b"\n".join(lines) + b"\n")
        new.replace(self._path)
        self._open()
        self._read()

    def _open(self) -> None:
        # As long as it is open, no other file gets its number.
        opened = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        if self._file >= 0:
            os.close(self._file)
        self._file = opened
        self._inode = os.fstat(opened).st_ino
        self._offset = self._n_lines = self._n_slots = self.next_serial = self.size = 0
        self._free_slots: list[int] = []
        self.entries = {}

    def _read(self) -> None:
        size = os.fstat(self._file).st_size - self._offset
        # pread(2): processes share the offset of a file that was opened before they were forked.
        new = os.pread(self._file, max(0, size), self._offset)
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._apply(orjson.loads(line))
        self._offset += len(whole)

    def _apply(self, change: list[str | int]) -> None:
        self._n_lines += 1
        if change[0] == "+":
            entry = Entry(*change[1:])  # type: ignore[arg-type]
            self.entries[entry.name] = entry
            self.size += entry.size
            self.next_serial = max(self.next_serial, entry.serial + 1)
            if entry.slot >= self._n_slots:
                self._free_slots += range(self._n_slots, entry.slot)
                self._n_slots = entry.slot + 1
            elif self._free_slots[-1] == entry.slot:
                self._free_slots.pop()
            else:
                self._free_slots.remove(entry.slot)
        elif change[0] == "-":
            entry = self.entries.pop(str(change[1]))
            self.size -= entry.size
            self._free_slots.append(entry.slot)
            self.gone.add(entry.serial)
        else:
            self.next_serial = int(change[0])
