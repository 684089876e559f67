"""SIGTERM and SIGINT set a flag, and wake a thread that waits for data.

SageMaker stops a job with SIGTERM and kills it 120 seconds later. The solver polls the
flag between batches. A read that waits for a FIFO also watches a pipe, into
which the signal handler writes, so it returns at once and not at the next tick.

A process whose work is done ends by `end`.
"""

import contextlib
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

__all__ = ["Interrupted", "StopRequest", "end"]


class Interrupted(Exception):
    """Waiting for data was interrupted because the job has to stop."""


class StopRequest:
    """Whether the job was asked to stop.

    A second signal is ignored: the first one's work, saving the model, goes on.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._asked = 0.0
        self._wake_reader, self._wake_writer = os.pipe()

    def __call__(self) -> bool:
        """Tell whether it was."""
        return bool(self.signal_name)

    def seconds(self) -> float:
        """How long ago that was; 0 if it was not."""
        return time.monotonic() - self._asked if self() else 0.0

    def install(self) -> None:
        """Take over SIGTERM and SIGINT; to be called from the main thread."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def ignore_more(self) -> None:
        """Let no further signal change the exit code: while it ends, Python gives up its handlers."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.request(signal.Signals(number).name)

    def request(self, name: str) -> None:
        """Ask for the stop. Safe inside a signal handler."""
        if not self.signal_name:
            self._asked = time.monotonic()
            self.signal_name = name
            os.write(self._wake_writer, b"!")  # never read, so the pipe stays readable from now on

    def wait(self, seconds: float, descriptor: int | None = None) -> bool:
        """Wait until a file descriptor has something to read.

        Parameters
        ----------
        seconds : float
            At most so long.
        descriptor : int, optional
            Without one this is a sleep.

        Returns
        -------
        ready : bool
            False if the time ran out.

        Raises
        ------
        Interrupted
            The job was asked to stop, before the call or during it.
        """
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + seconds
        while True:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if self():
                raise Interrupted
            if ready or time.monotonic() >= deadline:
                return bool(ready)

    def close(self) -> None:
        """Free the wake-up's descriptors; a request made later is only a flag."""
        os.close(self._wake_reader)
        os.close(self._wake_writer)


def end(status: int) -> NoReturn:
    """End the process now, with its log written.

    Python's own end takes every object down first, .04 s of a job, and unwinds threads: one that
    waits in PyTorch, for a host that is lost, would abort the process.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(status)
