"""Errors of a request, and the one table from exception class to HTTP status."""

from werkzeug.exceptions import HTTPException

from fm_core.errors import ArtifactError, DataError, FMError, ResourceError

__all__ = [
    "ModelExistsError",
    "ModelNotLoadedError",
    "NotAcceptableError",
    "PayloadTooLargeError",
    "UnsupportedMediaTypeError",
    "answer_to",
]


class UnsupportedMediaTypeError(FMError):
    """The body is of a media type that is not read."""


class NotAcceptableError(FMError):
    """The client accepts no media type that is written."""


class PayloadTooLargeError(FMError):
    """The body is larger than the limit."""


class ModelNotLoadedError(FMError):
    """No model of this name is loaded."""


class ModelExistsError(FMError):
    """A model of this name is loaded already."""


#: The first class that an exception is an instance of decides.
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (DataError, 400),
    (ModelNotLoadedError, 404),
    (NotAcceptableError, 406),
    (ModelExistsError, 409),
    (PayloadTooLargeError, 413),
    (UnsupportedMediaTypeError, 415),
    (ArtifactError, 500),
    (ResourceError, 507),
    (MemoryError, 507),
)


def answer_to(error: Exception) -> tuple[int, str] | None:
    """The status and the sentence that tell a client of an error; None if it is a bug of ours."""
    if isinstance(error, HTTPException):  # Flask's own: no such path (404), no such method (405)
        return error.code or 500, error.description or error.name
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return status, str(error) or "not enough memory for this request: send fewer rows at once"
    return None
