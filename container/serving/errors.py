"""Errors of a request, the table from exception class to HTTP status, and the form of an error response.

The shape is that of RFC 9457, "Problem Details", in plain JSON:
``{"status": 400, "title": "Bad Request", "detail": "the body is empty, expected at least one row"}``.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

import orjson
from werkzeug.exceptions import HTTPException

from fm_core.errors import ArtifactError, DataError, FMError, ResourceError, is_exhausted
from fm_core.printable import printable

__all__ = [
    "STATUSES",
    "HeadTooLargeError",
    "MalformedRequestError",
    "ModelExistsError",
    "ModelNotLoadedError",
    "NotAcceptableError",
    "OverloadedError",
    "PayloadTooLargeError",
    "Refusal",
    "RequestTimeoutError",
    "UnsupportedMediaTypeError",
    "WorkerLostError",
    "internal_error",
    "refusal_of",
    "too_large",
]


class UnsupportedMediaTypeError(FMError):
    """The media type of the body is not supported."""


class NotAcceptableError(FMError):
    """The client accepts no supported media type."""


class PayloadTooLargeError(FMError):
    """The body is larger than the limit."""


class MalformedRequestError(FMError):
    """The bytes received are not an HTTP request."""


class HeadTooLargeError(FMError):
    """The head of a request is larger than the limit."""


class RequestTimeoutError(FMError):
    """The client was too slow."""


class OverloadedError(FMError):
    """The maximum number of requests is running."""


class WorkerLostError(FMError):
    """The process that computed an answer died."""


class ModelNotLoadedError(FMError):
    """No model of this name is loaded."""


class ModelExistsError(FMError):
    """A model of this name is loaded already."""


#: The first class that an exception is an instance of decides.
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (DataError, 400),
    (MalformedRequestError, 400),
    (ModelNotLoadedError, 404),
    (NotAcceptableError, 406),
    (RequestTimeoutError, 408),
    (ModelExistsError, 409),
    (PayloadTooLargeError, 413),
    (UnsupportedMediaTypeError, 415),
    (HeadTooLargeError, 431),
    (ArtifactError, 500),
    (OverloadedError, 503),
    (ResourceError, 507),
    (WorkerLostError, 507),
    (MemoryError, 507),
)

#: What Flask says at length.
_PLAIN = {
    404: "unknown address: GET / lists all addresses",
    405: "this address does not support the method: GET / lists all addresses",
}

#: Characters of a sentence, before escapes.
_LONGEST_DETAIL = 2000

#: Seconds after which a client that was refused for want of room may come again.
_RETRY_AFTER = "1"


class Refusal(NamedTuple):
    """The response that reports an error to a client.

    Attributes
    ----------
    status : int
    headers : list of (str, str)
    body : bytes
    detail : str
        The sentence in it.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    detail: str

    @property
    def is_urgent(self) -> bool:
        """Whether it is sent before the body arrives, so that the client need not send it."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE


def refusal_of(error: Exception) -> Refusal | None:
    """Return the response to an error; None if the error is a bug of this program."""
    if isinstance(error, HTTPException):  # Flask's own: no such path, no such method
        status = error.code or 500
        return _refusal(status, _PLAIN.get(status, error.description or error.name), error.get_headers())
    if isinstance(error, OSError) and is_exhausted(error):
        error = ResourceError(f"not enough resources for this request: {error.strerror}")
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return _refusal(status, str(error) or "not enough memory for this request: send fewer rows at once")
    return None


def internal_error() -> Refusal:
    """Return the response to a bug of this program."""
    return _refusal(500, "internal error; the container's log has the traceback")


def _refusal(status: int, detail: str, headers: Iterable[tuple[str, str]] = ()) -> Refusal:
    detail = printable(detail, _LONGEST_DETAIL)
    body = orjson.dumps({"status": status, "title": HTTPStatus(status).phrase, "detail": detail})
    own = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        own.append(("Retry-After", _RETRY_AFTER))
    kept = [(name, value) for name, value in headers if name == "Allow"]
    return Refusal(status, own + kept, body, detail)


def too_large(size: int | str, limit: int) -> PayloadTooLargeError:
    """The error of a body above the limit."""
    return PayloadTooLargeError(
        f"the body has {size} bytes, more than the limit of {limit}: "
        "send fewer rows at once, or set MAX_CONTENT_LENGTH in the container's environment"
    )
