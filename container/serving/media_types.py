"""Content-Type to decoder, and Accept to encoder.

Media types are matched without case. Of their parameters, only the header of text/csv matters.
"""

import functools

from container.serving.errors import NotAcceptableError, UnsupportedMediaTypeError
from container.serving.requests import DECODERS, Decoder, csv_decoder
from container.serving.responses import ENCODERS, Encoder
from fm_core.formats.registry import FORMATS

__all__ = ["decoder_of", "encoder_of"]

ALIASES = {alias: described.media_type for described in FORMATS.values() for alias in described.media_types[1:]}


def _essence(media_type: str) -> str:
    essence = media_type.partition(";")[0].strip().lower()
    return ALIASES.get(essence, essence)


def _parameters(media_type: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in media_type.split(";")[1:])
    return {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}


#: RFC 4180 has this parameter of the media type text/csv.
_HEADERS = {"present": True, "absent": False}


@functools.lru_cache(maxsize=256)
def decoder_of(content_type: str, *, in_pieces: bool = False) -> Decoder:
    """The decoder of a body with this Content-Type header.

    Parameters
    ----------
    content_type : str
    in_pieces : bool
        Whether the body may be a piece of a file, whose header only the first piece has.

    Raises
    ------
    UnsupportedMediaTypeError
        There is none; the message lists the supported types.
    """
    essence = _essence(content_type)
    found = DECODERS.get(essence)
    if found is None:
        what = f"Content-Type is {content_type[:80]!r}" if content_type else "the request has no Content-Type"
        raise UnsupportedMediaTypeError(
            f"{what}, which is not supported: set it to one of {', '.join(DECODERS)}, whichever the body is "
            "(in the SageMaker Python SDK, give the Predictor a serializer)"
        )
    is_csv = essence == FORMATS["csv"].media_type
    header = _parameters(content_type).get("header") if is_csv else None
    if header is None:
        return csv_decoder(None, in_pieces=True) if is_csv and in_pieces else found
    if header not in _HEADERS:
        raise UnsupportedMediaTypeError(
            f"Content-Type is {content_type[:80]!r}, expected header=present or header=absent in it, or no header="
        )
    return csv_decoder(_HEADERS[header])


@functools.lru_cache(maxsize=256)
def encoder_of(accept: str, default: str) -> Encoder:
    """The encoder of an answer for this Accept header.

    The accepted type with the highest q wins; among equals the first, and of those that a
    wildcard allows the default, if it is one of them.

    Parameters
    ----------
    accept : str
        Empty if the header is absent.
    default : str
        Media type to use if the client leaves the choice.

    Raises
    ------
    NotAcceptableError
        No accepted type is supported; the message lists the supported types.
    """
    order = sorted(ENCODERS.values(), key=lambda encoder: encoder.media_type != _essence(default))
    if order[0].media_type != _essence(default):
        raise NotAcceptableError(
            f"environment variable SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is {default[:80]!r}, expected one of "
            f"{', '.join(ENCODERS)}"
        )
    wanted = [_weighed(item) for item in accept.split(",") if item.strip()] or [("*/*", 1.0)]
    refused = {media_type for media_type, weight in wanted if weight == 0}
    for media_type, weight in sorted(wanted, key=lambda item: -item[1]):
        for encoder in order:
            if weight > 0 and encoder.media_type not in refused and _admits(media_type, encoder.media_type):
                return encoder
    raise NotAcceptableError(f"Accept is {accept[:80]!r}, which is not supported: accept one of {', '.join(ENCODERS)}")


def _weighed(item: str) -> tuple[str, float]:
    weight = 1.0
    for parameter in item.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    return _essence(item), weight if 0 <= weight <= 1 else 0.0


def _admits(wanted: str, media_type: str) -> bool:
    return wanted in (media_type, "*/*", "*", media_type.partition("/")[0] + "/*")
