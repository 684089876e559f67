"""One client's connection: HTTP/1.1 in, HTTP/1.1 out, and a deadline for everything that the client has to do.

httptools parses the bytes. A request is an `Exchange`, created when its head has arrived and answered when its body
has; pipelined requests wait for their turn. Everything for which the server waits on the client has a deadline
that the front checks a few times a second: the next request (`KEEP_ALIVE` seconds), the rest of a head,
the next bytes of a body, the reading of an answer (the setting FM_CLIENT_TIMEOUT_SECONDS for each). Bodies and
answers must also move at `LEAST_RATE` bytes a second, so a client cannot stretch one forever.

An early refusal reads and discards what the client still sends, up to `DISCARDED` bytes. So the client can read
the answer whatever it does, and its next request finds the connection usable. A connection that cannot be used any
more is closed in order: first this side, then, after the client's side or `LINGER` seconds, completely.
"""

import asyncio
import contextlib
import functools
import time
from collections import deque
from email.utils import formatdate
from typing import Any

from container.serving.errors import (
    MalformedRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    internal_error,
    refusal_of,
)
from container.serving.exchange import Exchange, Owner
from container.serving.request_log import BYTES_IN, BYTES_OUT, ERROR, STATUS
from container.serving.request_parser import RequestParser
from container.serving.spool import Spool
from container.serving.wsgi import SERVER, environment, status_line

__all__ = ["Connection"]

#: Seconds that a connection may be idle: longer than the pause between a client's requests, so that it need
#: not connect again.
KEEP_ALIVE = 75.0
#: Seconds after the end of an answer that closes a connection.
LINGER = 2.0
#: Bytes a second that a client has to send or take, on average.
LEAST_RATE = 1000.0
#: Bytes of a body that is not wanted which are read for the sake of an orderly answer.
DISCARDED = 256 * 2**20

_PIECE = 256 * 2**10


class Connection(asyncio.Protocol):
    """The protocol of one connection.

    Parameters
    ----------
    owner : Owner
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(self)
        self._base: dict[str, Any] = {}
        self._exchanges: deque[Exchange] = deque()
        self._receiving: Exchange | None = None
        self._deaf = False  # nothing more is parsed: what comes is dropped
        self._lingers = False
        self._ahead = b""  # what the client sent ahead, not yet parsed
        self._had_turn = False
        self._waits_for_turn = False
        self._reading_paused = False
        self._writing_paused = False
        self._unsent: Spool | None = None
        self._unsent_at = 0
        self._moved = 0.0  # when bytes went in or out last
        self._write_begun = 0.0
        self._written = 0
        self._waiting_to_go = 0

    # --- what the front asks -----------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no request is running or partly received."""
        return not self._exchanges and not self._parser.head_begun and not self._unsent

    def expendable(self) -> tuple[int, float]:
        """A key that orders connections: if there are too many, the first is closed.

        First those that only linger, then idle ones, then slow heads and bodies, and last those that wait for an
        answer.
        """
        if self._lingers:
            rank = 0
        elif self.is_idle:
            rank = 1
        elif self._parser.head_begun and not self._exchanges:
            rank = 2
        elif self._exchanges and not self._exchanges[0].complete:
            rank = 3
        else:
            rank = 4
        return rank, self._moved

    @property
    def is_busy(self) -> bool:
        """Whether a client waits for something that is not yet computed or sent."""
        if self._transport is None:
            return False
        return bool(self._exchanges) or self._transport.get_write_buffer_size() > 0

    def holds_stalled_body(self, now: float, seconds: float) -> bool:
        """Whether it has part of a body, and has received nothing of it for a given time."""
        receiving = self._receiving
        return receiving is not None and receiving.held > 0 and now - self._moved > seconds

    def check(self, now: float) -> None:
        """Close the connection, with an answer where one is due, if the client is too slow."""
        patience = self._owner.patience
        transport = self._transport
        if transport is None:
            return
        unsent = transport.get_write_buffer_size() + (self._unsent.size - self._unsent_at if self._unsent else 0)
        if unsent:
            if unsent != self._waiting_to_go:
                self._moved, self._waiting_to_go = now, unsent
            gone = self._written - unsent
            if now - self._moved > patience or self._too_slow(now, self._write_begun, gone):
                transport.abort()
        elif self._lingers:
            if now - self._moved > LINGER or now - self._write_begun > LINGER + patience:
                transport.abort()
        elif self._reading_paused:
            pass  # the client waits for us
        elif self._receiving is not None:
            came = self._receiving.body.size + self._receiving.discarded
            if now - self._moved > patience or self._too_slow(now, self._receiving.begun, came):
                self._give_up(self._receiving, came, now)
        elif self._parser.head_begun:
            if now - self._parser.head_begun > patience:
                self._refuse_input(RequestTimeoutError(f"the headers were not complete after {patience:g} s"))
        elif not self._exchanges and now - self._moved > KEEP_ALIVE:
            transport.close()

    def _too_slow(self, now: float, begun: float, size: int) -> bool:
        return now - begun > self._owner.patience + size / LEAST_RATE

    def _give_up(self, exchange: Exchange, came: int, now: float) -> None:
        expected = "" if exchange.length is None else f" of {exchange.length}"
        self._refuse_input(
            RequestTimeoutError(
                f"{came} bytes{expected} of the body arrived in {now - exchange.begun:.0f} s, then nothing: "
                "send it faster"
            )
        )

    def evict(self) -> None:
        """Close the connection, because others need its memory."""
        receiving = self._receiving
        if receiving is not None:
            self._refuse_input(RequestTimeoutError("the body arrived too slowly while others waited: send it again"))
        elif self._transport is not None:
            self._transport.abort()

    def stop(self) -> None:
        """Close the connection as soon as no request is running."""
        if self.is_idle and self._transport is not None:
            self._transport.close()

    # --- what comes --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_PIECE)
        self._moved = time.monotonic()
        server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._base = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
            "REMOTE_ADDR": client[0] if client else "",
            "wsgi.url_scheme": "http",
            **SERVER,
        }
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._transport = None
        if self._unsent is not None:  # the client has gone without it
            self._exchanges[0].environ[BYTES_OUT] = self._unsent_at
            self._release_answer()
            self._answered(self._exchanges[0])
        for exchange in self._exchanges:
            self._owner.forget(exchange)
        self._exchanges.clear()
        self._receiving = None
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes."""
        self._moved = time.monotonic()
        self._had_turn = False
        self._parse(self._ahead + data if self._ahead else data)

    def _parse(self, data: bytes) -> None:
        self._ahead = b""
        while data and not self._deaf and self._transport is not None:
            if len(self._exchanges) > 1:  # a client that sends ahead waits
                self._ahead = data
                break
            # In pieces, so that a client does not make us parse hundreds of requests before their turn comes.
            size = self._parsed_at_once()
            piece, data = (data, b"") if len(data) <= size else (data[:size], data[size:])
            try:
                self._parser.feed(piece)
            except Exception as error:
                self._refuse_input(error)
        waits = bool(self._ahead) and not self._deaf
        if waits != self._reading_paused and self._transport is not None:
            self._reading_paused = waits
            if waits:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _parsed_at_once(self) -> int:
        receiving = self._receiving
        if receiving is None:
            return 1024
        length = receiving.length
        return 65536 if length is None else max(1, length - receiving.body.size - receiving.discarded)

    def eof_received(self) -> bool:
        """The client sends no more; it may still read."""
        if self._deaf or (not self._exchanges and not self._parser.head_begun):
            return False
        if self._receiving is not None or self._parser.head_begun:
            where = "head" if self._receiving is None else "body"
            self._refuse_input(MalformedRequestError(f"the request ends within its {where}"))
        self._deaf = True
        for exchange in self._exchanges:
            exchange.keep_alive = False
        return True

    # What the parser tells.

    def head_came(self, parser: RequestParser) -> None:
        """All of a head is there."""
        environ = environment(parser.method, parser.target, parser.version, parser.headers, self._base)
        exchange = Exchange(environ, parser.keep_alive, parser.begun)
        self._exchanges.append(exchange)
        self._receiving = exchange
        length = exchange.length
        error = self._owner.refuses(length or 0)
        asks = "HTTP_EXPECT" in environ and bool(length or "HTTP_TRANSFER_ENCODING" in environ)
        if error is not None:
            if asks:  # the client may send the body or not: nobody could tell where its next request begins
                exchange.keep_alive = False
            self.refuse(exchange, error)
        elif asks and len(self._exchanges) == 1 and parser.version == "1.1" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def body_came(self, data: bytes) -> None:
        """Some of the body is there."""
        exchange = self._receiving
        if exchange is None:
            return
        if exchange.refused is None:
            error = self._owner.takes(exchange, len(data))
            if error is None:
                try:
                    exchange.body.append(data)
                    self._owner.count(exchange)
                    return
                except (OSError, MemoryError) as failure:
                    error = failure
            self.refuse(exchange, error)
        exchange.discarded += len(data)
        if exchange.discarded > DISCARDED and not exchange.complete:
            self._hang_up(exchange)

    def request_came(self) -> None:
        """All of a request is there."""
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.complete = True
            if self._had_turn:
                self._ask_for_turn()
            else:
                self._had_turn = True
                self.go_on()

    # --- what goes ---------------------------------------------------------------------------

    def go_on(self) -> None:
        """Answer the first request, if it is there and its turn has come."""
        if not self._exchanges or self._transport is None:
            return
        exchange = self._exchanges[0]
        if not exchange.answering:
            refused = exchange.refused
            if refused is not None:
                if exchange.complete or not exchange.keep_alive or refused.is_urgent:
                    exchange.answering = True
                    self.respond(exchange, status_line(refused.status), refused.headers, refused.body)
            elif exchange.complete:
                exchange.answering = True
                self._owner.answer(self, exchange)
        if exchange.answered and (exchange.complete or not exchange.keep_alive):
            self._exchanges.popleft()
            if not exchange.keep_alive:
                self._linger()
            elif self._exchanges or self._ahead:
                self._ask_for_turn()

    def _ask_for_turn(self) -> None:
        # The other connections have theirs before the next request of this one.
        if not self._waits_for_turn:
            self._waits_for_turn = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._waits_for_turn = False
        self._had_turn = True
        self.go_on()
        if self._ahead:
            self._parse(self._ahead)

    def respond(self, exchange: Exchange, status: str, headers: list[tuple[str, str]], body: bytes | Spool) -> None:
        """Write an answer; the front calls `go_on` after one that it gave later."""
        self._owner.forget(exchange)
        if self._transport is None:
            if isinstance(body, Spool):
                body.close()
            return
        if self._owner.is_stopping:
            exchange.keep_alive = False
        head = _head(status, headers, exchange)
        if exchange.environ["REQUEST_METHOD"] == "HEAD":
            body = b""
        if isinstance(body, bytes) and len(body) > _PIECE:
            large, body = body, Spool()
            body.append(large)
        size = len(body) if isinstance(body, bytes) else body.size
        self._moved = self._write_begun = time.monotonic()
        self._waiting_to_go = 0
        self._written = self._transport.get_write_buffer_size() + len(head) + size
        exchange.environ[STATUS], exchange.environ[BYTES_OUT] = int(status[:3]), size
        if isinstance(body, bytes):
            self._transport.write(head + body)
            self._answered(exchange)
            return
        self._unsent, self._unsent_at = body, 0
        self._transport.write(head)
        self._write_more()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """The client has read."""
        self._writing_paused = False
        if self._unsent is not None:
            self._write_more()
            self.go_on()

    def _write_more(self) -> None:
        unsent = self._unsent
        while unsent is not None and not self._writing_paused and self._transport is not None:
            if self._transport.is_closing():
                return  # the client is gone, as connection_lost will say; each piece would be a line of asyncio's
            if self._unsent_at == unsent.size:
                self._release_answer()
                self._answered(self._exchanges[0])
                return
            piece = unsent.read(self._unsent_at, _PIECE)
            self._unsent_at += len(piece)
            self._transport.write(piece)

    def _release_answer(self) -> None:
        if self._unsent is not None:
            self._unsent.close()
            self._unsent = None

    def _answered(self, exchange: Exchange) -> None:
        exchange.answered = True
        exchange.environ[BYTES_IN] = exchange.body.size + exchange.discarded
        self._owner.log(exchange)

    # --- what is refused ---------------------------------------------------------------------

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """Answer a request without the app, and drop what comes of its body."""
        exchange.refused = refusal_of(error)
        if exchange.refused is None:
            exchange.refused = internal_error()
            self._owner.tell(error)
        exchange.environ[ERROR] = exchange.refused.detail
        exchange.answering = exchange.answered
        self._owner.forget(exchange)
        if isinstance(error, PayloadTooLargeError) and (exchange.length or 0) > DISCARDED:
            self._hang_up(exchange)
        else:
            self.go_on()

    def _hang_up(self, exchange: Exchange) -> None:
        """Answer now, and read nothing more."""
        exchange.keep_alive = False
        exchange.complete = True
        self._receiving = None
        self._deaf = True
        self.go_on()

    def _refuse_input(self, error: Exception) -> None:
        """Answer what cannot be read, after what could, and read nothing more."""
        exchange = self._receiving
        if exchange is None:
            # A head that could not be read: of what it asked for, at most the target is known.
            environ = dict(self._base)
            environ |= {"REQUEST_METHOD": "", "PATH_INFO": self._parser.target[:200].decode("latin-1")}
            environ |= {"QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}
            exchange = Exchange(environ, False, self._parser.head_begun or time.monotonic())
            self._exchanges.append(exchange)
        self._parser.head_begun = 0.0
        self._deaf = True
        self._receiving = None
        exchange.keep_alive = False
        exchange.complete = True
        if exchange.answered:  # before its body had come
            self.go_on()
            return
        self.refuse(exchange, error)

    def _linger(self) -> None:
        """Close our end; the client's has some time."""
        assert self._transport is not None
        self._deaf = self._lingers = True
        self._moved = self._write_begun = time.monotonic()
        self._parse(b"")
        with contextlib.suppress(OSError):  # the client is gone
            self._transport.write_eof()


@functools.lru_cache(maxsize=2)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _head(status: str, headers: list[tuple[str, str]], exchange: Exchange) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Date: {_date(int(time.time()))}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not exchange.keep_alive:
        lines.append("Connection: close")
    elif exchange.environ["SERVER_PROTOCOL"] == "HTTP/1.0":
        lines.append("Connection: keep-alive")
    text = "\r\n".join(lines)
    return text.encode("latin-1", "replace") + b"\r\n\r\n"
