"""Standard output that is written whole, or an error that names it.

With PYTHONUNBUFFERED, which images like ours set, Python's own gives no sign of a write that the system has cut short,
as on a disk that is full; and without it, what is left is written after the exit status is settled.
"""

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fm_core.errors import ConfigError
from fm_core.printable import printable

__all__ = ["Sayer", "refuse_inputs", "standard_output", "whole_output"]

_NAME = "standard output"


class _Whole(io.FileIO):
    """The descriptor of standard output; its errors name it."""

    is_lost = False

    def write(self, data: Any) -> int:
        if self.is_lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            error.filename = _NAME
            raise


@contextlib.contextmanager
def whole_output() -> Iterator[None]:
    """Put another object in the place of `sys.stdout` for a while: what was written is out when the block ends.

    Raises
    ------
    OSError
        Not all of it could be written.
    """
    before = sys.stdout
    try:
        number = before.fileno()
    except (AttributeError, OSError):  # closed, or an object of a test's
        yield
        return
    before.flush()
    raw = _Whole(number, "wb", closefd=False)
    # what the terminal's encoding has not is escaped
    text = io.TextIOWrapper(io.BufferedWriter(raw), before.encoding, "backslashreplace", line_buffering=True)
    sys.stdout = text
    try:
        yield
        text.flush()
    except BaseException:
        with contextlib.suppress(OSError):  # the first failure is the one to tell of
            text.flush()
        raise
    finally:
        sys.stdout = before
        raw.is_lost = True  # what is left has been told of
        text.close()


class Sayer:
    """Prints progress lines; if they cannot be written, the work continues without them.

    What has not been written fails once more when `whole_output` ends, which makes the exit status.
    """

    def __init__(self) -> None:
        self._is_lost = False

    def __call__(self, text: str) -> None:
        """Print a line."""
        if self._is_lost:
            return
        try:
            print(printable(text, 1000), flush=True)
        except OSError:
            self._is_lost = True


def refuse_inputs(output: Path | None, *inputs: Path | None) -> None:
    """Refuse to write to what is read: it would be lost.

    Raises
    ------
    ConfigError
        The output is one of the inputs, by whatever name.
    """
    if output is None or not output.is_file():
        return
    for path in inputs:
        if path is not None and path.exists() and output.samefile(path):
            raise ConfigError(f"{output} is also the input and would be overwritten: name another output")


def standard_output() -> BinaryIO:
    """Give standard output for bytes: lines of UTF-8, which a terminal gets harmless, and anything else as they are.

    Raises
    ------
    ConfigError
        There is none.
    """
    if sys.stdout is None:
        raise ConfigError("standard output is closed, expected somewhere to write to: name a file with --output")
    return _Terminal(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer


class _Terminal(io.BytesIO):
    """A terminal: what is written to it moves no cursor, changes no colour and turns no direction."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out = out

    def write(self, data: Any) -> int:
        lines = bytes(data).decode(errors="backslashreplace").split("\n")
        self._out.write("\n".join(map(printable, lines)).encode())
        return len(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._out.flush()
