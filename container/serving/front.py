"""The event loop that holds the connections of clients and never computes for long.

A request with a small body is answered in this process, which takes a millisecond or two. All others, with bodies
above 64 KB or a long computation, are handed over to the computing processes. So this process answers /ping at once,
whatever they do, and whatever clients do with its other connections. Each connection costs a little memory. If there
are too many of them, or bodies take too much memory, idle connections are closed first, then those of slow clients.
"""

import asyncio
import errno
import io
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from container.serving.connection import Connection
from container.serving.errors import OverloadedError, WorkerLostError, too_large
from container.serving.exchange import Answering, Exchange
from container.serving.handover import BODY, Handover, receive
from container.serving.load import Load
from container.serving.spool import LIGHT
from container.serving.wsgi import App, call
from fm_core.errors import ResourceError

__all__ = ["Front"]

_LOGGER = logging.getLogger(__name__)

#: Seconds between two looks at the deadlines of the connections.
_TICK = 0.2
#: A body of which nothing came for so many seconds makes room for others where memory is short.
_STALLED = 2.0


class Front:
    """The connections of one process.

    Parameters
    ----------
    app : callable
        WSGI. It is called here for small bodies.
    takes_long : callable
        Of the environment and the small body of a request: whether it is to be computed elsewhere.
    log : callable
        Of an environment and seconds: called after each answer.
    handover : Handover
    load : Load
    slot : int
        This process's among those of `load`.
    patience : float
        Seconds that a client may keep us waiting.
    largest_body : int
        Bytes.
    most_connections : int
    """

    def __init__(
        self,
        app: App,
        *,
        takes_long: Callable[[dict[str, Any], bytes], bool],
        log: Callable[[dict[str, Any], float], None],
        handover: Handover,
        load: Load,
        slot: int,
        patience: float,
        largest_body: int,
        most_connections: int,
    ) -> None:
        self.patience = patience
        self.is_stopping = False
        self._app = app
        self._takes_long = takes_long
        self._log = log
        self._handover = handover
        self._load = load
        self._slot = slot
        self._largest_body = largest_body
        self._most_connections = most_connections
        self._connections: set[Connection] = set()
        self._accepting: set[asyncio.Task[Any]] = set()
        self._waiting: dict[Exchange, socket.socket] = {}
        self._loop = asyncio.new_event_loop()
        self._listeners: Sequence[socket.socket] = ()

    def run(self, listeners: Sequence[socket.socket], alive: Callable[[], bool], drain_seconds: float) -> None:
        """Answer until `alive`, asked a few times a second, says no; then what is under way.

        Parameters
        ----------
        listeners : sequence of socket
        alive : callable
        drain_seconds : float
            At most so long after the end.
        """
        asyncio.set_event_loop(self._loop)
        self._listeners = listeners
        for listener in listeners:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._accept, listener)
        self._loop.run_until_complete(self._live(alive, drain_seconds))
        self._loop.close()

    async def _live(self, alive: Callable[[], bool], drain_seconds: float) -> None:
        while alive():
            await asyncio.sleep(_TICK)
            self._check()
        self.is_stopping = True
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        deadline = time.monotonic() + drain_seconds
        while time.monotonic() < deadline:
            for connection in list(self._connections):
                connection.stop()
            if not any(connection.is_busy for connection in self._connections):
                break
            await asyncio.sleep(0.02)
            alive()  # a heartbeat
            self._check()

    def _check(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.check(now)

    # --- connections -------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        # One at a time: the other processes get theirs.
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._make_room()
            return
        if len(self._connections) + len(self._accepting) >= self._most_connections:
            self._make_room()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._begin(client))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _begin(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: Connection(self), client)
        except OSError:  # gone already
            client.close()

    def _make_room(self) -> None:
        if self._connections:
            min(self._connections, key=Connection.expendable).evict()

    def opened(self, connection: Connection) -> None:
        """Know a connection."""
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    # --- requests ----------------------------------------------------------------------------

    def refuses(self, length: int) -> Exception | None:
        """Why a body of an announced length is not even read; None: it is."""
        if length > self._largest_body:
            return too_large(str(length), self._largest_body)
        if length > LIGHT and self._load.is_full:
            return _overloaded()
        return None

    def takes(self, exchange: Exchange, size: int) -> Exception | None:
        """Why the next bytes of a body are not taken; None: they are."""
        body = exchange.body
        if body.size + size > self._largest_body:
            return too_large("too many", self._largest_body)
        if body.size + size <= LIGHT:
            return None
        if body.size <= LIGHT and self._load.is_full:
            return _overloaded()
        if not self._load.has_room(size):
            self._evict_stalled()
            if not self._load.has_room(size):
                return _overloaded()
        return None

    def count(self, exchange: Exchange) -> None:
        """Count the memory that a body takes now."""
        held = exchange.body.in_memory
        self._load.add(self._slot, size=held - exchange.held)
        exchange.held = held

    def forget(self, exchange: Exchange) -> None:
        """Release the memory and the place of a request."""
        exchange.body.close()
        answering = self._waiting.pop(exchange, None)
        self._load.add(self._slot, requests=-int(answering is not None), size=-exchange.held)
        exchange.held = 0
        if answering is not None:
            self._loop.remove_reader(answering)
            answering.close()

    def answer(self, connection: Answering, exchange: Exchange) -> None:
        """Answer a request, now or later."""
        body, environ = exchange.body, exchange.environ
        content = bytes(body.content()) if body.descriptor is None else b""
        if body.descriptor is None and not self._takes_long(environ, content):
            environ["wsgi.input"] = io.BytesIO(content)
            environ[BODY] = content
            called = call(self._app, environ)
            connection.respond(exchange, called.status, called.headers, called.body)
            return
        if self._load.is_full:
            connection.refuse(exchange, _overloaded())
            return
        try:
            answering = self._handover.send(environ, content, body.descriptor)
        except BlockingIOError:
            connection.refuse(exchange, _overloaded())
            return
        except OSError as error:
            connection.refuse(exchange, ResourceError(f"the request could not be passed to a worker: {error.strerror}"))
            return
        self._load.add(self._slot, requests=1)
        self._waiting[exchange] = answering
        self._loop.add_reader(answering, self._answered, connection, exchange, answering)

    def _answered(self, connection: Answering, exchange: Exchange, answering: socket.socket) -> None:
        try:
            reply = receive(answering)
        except BlockingIOError:
            return
        except OSError as error:
            connection.refuse(exchange, ResourceError(f"the worker's answer could not be read: {error.strerror}"))
            return
        if reply is None:
            connection.refuse(
                exchange,
                WorkerLostError(
                    "the process that computed the answer died, probably because it ran out of memory: send fewer "
                    "rows at once"
                ),
            )
            return
        exchange.environ |= reply.noted
        connection.respond(exchange, reply.status, reply.headers, reply.body)
        connection.go_on()

    def tell(self, error: Exception) -> None:
        """Log an unhandled exception."""
        _LOGGER.error("unhandled exception in a request", exc_info=error)

    def log(self, exchange: Exchange) -> None:
        """Log an answered request."""
        self._log(exchange.environ, time.monotonic() - exchange.begun)

    def _evict_stalled(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.holds_stalled_body(now, _STALLED):
                connection.evict()


def _overloaded() -> OverloadedError:
    return OverloadedError("too many requests are running: try again in a second")
