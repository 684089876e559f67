"""A request with its state, and the interface between a connection and its process."""

from typing import Any, Protocol

from container.serving.errors import Refusal
from container.serving.spool import Spool
from container.serving.wsgi import content_length

__all__ = ["Answering", "Exchange", "Owner"]


class Exchange:
    """A request, and what becomes of it.

    Attributes
    ----------
    environ : dict
        Of WSGI, without the body.
    body : Spool
    keep_alive : bool
        Whether the client wants the connection to stay open.
    refused : Refusal or None
        The answer, if it was made without the app.
    complete : bool
        Whether all of the body is there.
    begun : float
        When its first byte came.
    held : int
        Bytes of the body that count as held in memory.
    discarded : int
        Bytes of the body that were dropped.
    answering, answered : bool
        Whether the answer was asked for, and whether it was written.
    """

    __slots__ = (
        "answered", "answering", "begun", "body", "complete", "discarded", "environ", "held",
        "keep_alive", "refused",
    )  # fmt: skip

    def __init__(self, environ: dict[str, Any], keep_alive: bool, begun: float) -> None:
        self.environ = environ
        self.keep_alive = keep_alive
        self.begun = begun
        self.body = Spool()
        self.refused: Refusal | None = None
        self.complete = False
        self.answering = False
        self.answered = False
        self.held = 0
        self.discarded = 0

    @property
    def length(self) -> int | None:
        """See `wsgi.content_length`."""
        return content_length(self.environ)


class Answering(Protocol):
    """The interface of a connection for its owner."""

    def respond(self, exchange: Exchange, status: str, headers: list[tuple[str, str]], body: bytes | Spool) -> None:
        """Write an answer."""

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """Answer a request without the app."""

    def go_on(self) -> None:
        """Turn to the next request, after an answer that came later."""


class Owner(Protocol):
    """The interface of the owner of connections: `Front` in front.py.

    Attributes
    ----------
    patience : float
        Seconds that a client may keep us waiting.
    is_stopping : bool
        Whether no further request is taken.
    """

    patience: float
    is_stopping: bool

    def opened(self, connection: Any) -> None:
        """Know a connection."""

    def closed(self, connection: Any) -> None:
        """Forget a connection."""

    def refuses(self, length: int) -> Exception | None:
        """Why a body of an announced length is not even read; None: it is."""

    def takes(self, exchange: Exchange, size: int) -> Exception | None:
        """Why the next bytes of a body are not taken; None: they are."""

    def count(self, exchange: Exchange) -> None:
        """Count the memory that a body takes now."""

    def forget(self, exchange: Exchange) -> None:
        """Release the memory and the place of a request."""

    def answer(self, connection: "Answering", exchange: Exchange) -> None:
        """Answer a request, now or later, by its `respond` or `refuse`."""

    def log(self, exchange: Exchange) -> None:
        """Log an answered request."""

    def tell(self, error: Exception) -> None:
        """Log an unhandled exception."""
