"""Handover of slow requests from the processes that hold connections to those that compute.

A pair of sockets is the queue: a process with a request sends it into one end, and any free computing process
receives it from the other; the kernel delivers each message to only one of them. A body is passed
as the descriptor of its file, and so is a large answer. Each message carries the socket for
its answer. If the process that took a request dies, that socket closes, and the sender notices.
"""

import contextlib
import io
import marshal
import mmap
import os
import select
import socket
from typing import Any, NamedTuple

from container.serving.spool import LIGHT, Spool
from container.serving.wsgi import SERVER, Called

__all__ = ["BODY", "Handover", "Reply", "Task", "receive"]

#: The key of the WSGI environment under which a body stands as a buffer, beside the stream ``wsgi.input``.
BODY = "fm.body"

#: More than the head of a request and a small body together.
_MESSAGE = 192 * 2**10


class Reply(NamedTuple):
    """The answer to a request that was handed over.

    Attributes
    ----------
    status : str
    headers : list of (str, str)
    body : bytes or Spool
    noted : dict
        What the app left in the environment, for the log.
    """

    status: str
    headers: list[tuple[str, str]]
    body: bytes | Spool
    noted: dict[str, Any]


class Handover:
    """The queue, made before the processes are forked."""

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._in.setblocking(False)
        self._out.setblocking(False)

    def send(self, environ: dict[str, Any], body: bytes, descriptor: int | None) -> socket.socket:
        """Hand a request over.

        Parameters
        ----------
        environ : dict
            Of WSGI; only its texts go along.
        body : bytes
            A small body.
        descriptor : int or None
            The file of a large one.

        Returns
        -------
        socket
            Readable when there is an answer: then `receive` it. Close it to give up.

        Raises
        ------
        OSError
            The queue is full, or there are too many open files.
        """
        texts = {name: value for name, value in environ.items() if type(value) is str}
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            descriptors = [theirs.fileno()] + ([] if descriptor is None else [descriptor])
            socket.send_fds(self._in, [marshal.dumps((texts, body))], descriptors)
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        mine.setblocking(False)
        return mine

    def take(self, seconds: float) -> "Task | None":
        """Take the next request; None after a timeout."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return None
        try:
            message, descriptors, _, _ = socket.recv_fds(self._out, _MESSAGE, 2)
        except BlockingIOError:  # another process was quicker
            return None
        # Without room for descriptors the kernel drops them: the sender sees its socket close.
        return Task(message, descriptors) if descriptors else None

    def close(self) -> None:
        """Close both ends in this process."""
        self._in.close()
        self._out.close()


def receive(answering: socket.socket) -> Reply | None:
    """Receive the answer that has come; None if the computing process died."""
    try:
        message, descriptors, _, _ = socket.recv_fds(answering, _MESSAGE, 1)
    except ConnectionError:
        return None
    if not message:
        return None
    status, headers, noted, body = marshal.loads(message)
    return Reply(status, headers, Spool(descriptors[0]) if descriptors else body, noted)


class Task:
    """A request in the hands of a computing process.

    Attributes
    ----------
    environ : dict
        Of WSGI, with the body as ``wsgi.input`` and, a buffer, under `BODY`.
    """

    def __init__(self, message: bytes, descriptors: list[int]) -> None:
        self.environ: dict[str, Any]
        self.environ, self._small = marshal.loads(message)
        self._answering = socket.socket(fileno=descriptors[0])
        self._descriptors = descriptors[1:]
        self._body: mmap.mmap | None = None

    def open(self) -> None:
        """Make the body readable.

        Raises
        ------
        OSError
            There is no room for it among the addresses of this process.
        """
        if self._descriptors:
            self._body = mmap.mmap(self._descriptors[0], 0, access=mmap.ACCESS_READ)
        body = self._small
        self.environ |= {
            **SERVER,
            "wsgi.input": io.BytesIO(body) if self._body is None else self._body,
            BODY: body if self._body is None else self._body,
        }

    @property
    def is_wanted(self) -> bool:
        """Whether the client still waits for the answer."""
        poll = select.poll()
        poll.register(self._answering, 0)  # a hang-up is told in any case
        return not poll.poll(0)

    def answer(self, called: Called) -> None:
        """Send the answer.

        Raises
        ------
        OSError
            There is no memory for it.
        """
        noted = {name: value for name, value in self.environ.items() if name.startswith("fm.") and name != BODY}
        body = called.body
        try:
            if isinstance(body, bytes) and len(body) > LIGHT:
                large, body = body, Spool()
                body.append(large)
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                if isinstance(body, bytes):
                    self._answering.sendall(marshal.dumps((called.status, called.headers, noted, body)))
                else:
                    assert body.descriptor is not None  # an answer that comes as a `Spool` is in a file: invocation.py
                    message = marshal.dumps((called.status, called.headers, noted, None))
                    socket.send_fds(self._answering, [message], [body.descriptor])
        finally:
            if isinstance(body, Spool):
                body.close()

    def close(self) -> None:
        """Release its resources; without an answer, the sender is notified that there is none."""
        self.environ.clear()
        self._answering.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        if self._body is not None:
            with contextlib.suppress(BufferError):  # a traceback may hold a view of it; it goes with that
                self._body.close()
