"""Media types: one table from type to decoder, one from type to encoder.

A decoder makes `Rows` (or a `Ranking`) of a body, by the model's schema where it names columns; an encoder makes
a body of `Predictions` (or of rankings). Media types are matched without case, and of their
parameters only the header of text/csv counts.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from container.serving.errors import NotAcceptableError, UnsupportedMediaTypeError
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats import decode_rows, encode_predictions
from fm_core.formats.requests.instances import decode_instances
from fm_core.formats.requests.named_columns import decode_named, decode_named_csv
from fm_core.formats.requests.text import decode_csv, decode_libsvm
from fm_core.formats.tables.encoder import Encoder as ColumnEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DECODERS",
    "ENCODERS",
    "Decoder",
    "Encoder",
    "Predictions",
    "RankedPredictions",
    "Ranking",
    "Rows",
    "decoder_of",
    "encoder_of",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a request and, where the format has them, what names each row.

    Attributes
    ----------
    batch : Batch
    uids, metadatas : sequence of (str, bytes or None), or None
        Echoed as they came.
    explained : mapping of int to int
        The rows whose scores are to be explained, each with how many shares of a kind are wanted.
    """

    batch: Batch
    uids: Sequence[Any] | None = None
    metadatas: Sequence[Any] | None = None
    explained: Mapping[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Predictions:
    """What the rows of a request got.

    Attributes
    ----------
    scores : ndarray of float32, shape (n_rows,)
        Finite.
    with_labels : bool
        Whether each row has a `predicted_label` too: 1 if its score is at least 0.5, else 0.
    uids, metadatas : sequence of (str, bytes or None), or None
    explanations : mapping of int to dict
        Of some rows.
    """

    scores: "NDArray[np.float32]"
    with_labels: bool
    uids: Sequence[Any] | None = None
    metadatas: Sequence[Any] | None = None
    explanations: Mapping[int, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Ranking:
    """A context and the candidates to be ranked for it.

    Attributes
    ----------
    context : Batch
        One row.
    candidates : Batch
    top_k : int or None
        None: all of them.
    """

    context: Batch
    candidates: Batch
    top_k: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class RankedPredictions:
    """The best candidates of a `Ranking`, best first.

    Attributes
    ----------
    indices : ndarray of int64, shape (n,)
        Positions among the request's candidates.
    predictions : Predictions
    """

    indices: "NDArray[np.int64]"
    predictions: Predictions


#: How many features, and pairs, an explanation lists if the request does not say.
_SHARES = 10

#: Of a body, the model's feature_dim, and what encodes columns where the model has a schema.
Decoder = Callable[[bytes, int, ColumnEncoder | None], Rows | list[Ranking]]


@dataclasses.dataclass(frozen=True, slots=True)
class Encoder:
    """How an answer of one media type is written.

    Attributes
    ----------
    media_type : str
    predictions : callable
        Predictions to bytes.
    rankings : callable or None
        A list of rankings to bytes; None: this format has no way to write them, nor explanations.
    """

    media_type: str
    predictions: Callable[[Predictions], bytes]
    rankings: Callable[[list[RankedPredictions]], bytes] | None = None


# --- requests --------------------------------------------------------------------------------


def _parse(text: bytes, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # Its position counts characters, not bytes; only what stands there is wanted.
        found = text.decode(errors="replace")[error.pos :][:12]
        hint = ""
        if found.lstrip("-").lower().startswith(("nan", "inf")):
            hint = "; JSON has no NaN and no Infinity: send finite numbers only"
        raise DataError(f"{where} is not valid JSON: {error}{hint}") from None


def _decode_json(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Rows | list[Ranking]:
    document = _parse(body, "the body")
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list):
        raise DataError('the body is JSON, but not an object with a list of "instances": {"instances": [...]}')
    return _decode_instances(instances, feature_dim, body, columns)


def _decode_jsonlines(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Rows | list[Ranking]:
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    return _decode_instances(
        [_parse(line, f"instance {row}") for row, line in enumerate(lines)], feature_dim,
        body, columns,
    )  # fmt: skip


def _decode_instances(
    instances: list[Any], feature_dim: int, body: bytes, columns: ColumnEncoder | None
) -> Rows | list[Ranking]:
    # An instance with candidates asks for a ranking, and then every one does.
    if instances and isinstance(instances[0], dict) and "candidates" in instances[0]:
        return [
            _decode_ranking(instance, f"instance {row}", feature_dim, columns) for row, instance in enumerate(instances)
        ]
    batch = _decode_rows(instances, feature_dim, columns, "instance")
    return Rows(batch, explained=_explained(instances)) if _may_ask_why(body) else Rows(batch)


def _decode_rows(
    instances: list[Any], feature_dim: int, columns: ColumnEncoder | None, what: str, *, partial: bool = False
) -> Batch:
    # An instance with named columns has every other one have them.
    if not (instances and isinstance(instances[0], dict) and "columns" in instances[0]):
        return decode_instances(instances, feature_dim=feature_dim, what=what)
    if columns is None:
        raise DataError(
            f'{what} 0 has "columns", but the model has no schema: put the schema.json that `fm convert` wrote '
            "beside it, or send feature ids"
        )
    return decode_named(instances, columns, what=what, partial=partial)


def _may_ask_why(body: bytes) -> bool:
    # A request is seldom written with an x, and one letter is looked for a hundred times faster than a word.
    return b"x" in body and b'"explain"' in body


def _explained(instances: list[Any]) -> dict[int, int]:
    """Find the instances with ``"configuration": {"explain": true}``, or a number in place of true."""
    found = {}
    for row, instance in enumerate(instances):
        configuration = instance.get("configuration")
        wanted = configuration.get("explain") if isinstance(configuration, dict) else None
        if wanted is None or wanted is False:
            continue
        if wanted is not True and (type(wanted) is not int or wanted < 1):
            raise DataError(
                f'instance {row}: "explain" is {str(wanted)[:40]}, expected true, false or an integer of at least 1'
            )
        found[row] = _SHARES if wanted is True else wanted
    return found


def _decode_ranking(instance: Any, where: str, feature_dim: int, columns: ColumnEncoder | None) -> Ranking:
    if not isinstance(instance, dict) or not {"context", "candidates"} <= instance.keys():
        raise DataError(f'{where} lacks "context" or "candidates", expected both in every instance if in any')
    candidates, top_k = instance["candidates"], instance.get("top_k")
    if not isinstance(candidates, list):
        raise DataError(f'{where}: "candidates" is not a list of instances')
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise DataError(f'{where}: "top_k" is {str(top_k)[:40]}, expected an integer of at least 1')
    return Ranking(
        _decode_rows([instance["context"]], feature_dim, columns, f"{where}, context", partial=True),
        _decode_rows(candidates, feature_dim, columns, f"{where}, candidate", partial=True),
        top_k,
    )


def _decode_recordio(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Rows:
    return Rows(*decode_rows(body, feature_dim=feature_dim))


def _decode_csv(
    body: bytes, feature_dim: int, columns: ColumnEncoder | None = None, header: bool | None = None
) -> Rows:
    batch = None if columns is None else decode_named_csv(body, columns, header=header)
    return Rows(decode_csv(body, feature_dim=feature_dim) if batch is None else batch)


#: RFC 4180 has this parameter of the media type text/csv.
_HEADERS = {"present": True, "absent": False}


def _decode_libsvm(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Rows:
    return Rows(decode_libsvm(body, feature_dim=feature_dim))


DECODERS: dict[str, Decoder] = {
    "application/json": _decode_json,
    "application/jsonlines": _decode_jsonlines,
    "application/x-recordio-protobuf": _decode_recordio,
    "text/csv": _decode_csv,
    "text/libsvm": _decode_libsvm,
}


# --- answers ---------------------------------------------------------------------------------


def _numbers(array: "NDArray[np.float32]") -> list[bytes]:
    # The shortest decimal that reads back as the same float32, for example 0.1.
    text: bytes = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",") if len(array) else []


def _labels(predictions: Predictions) -> list[bytes]:
    # As the built-in prints them.
    return [b"1.0" if score >= 0.5 else b"0.0" for score in predictions.scores.tolist()]


def _objects(predictions: Predictions) -> list[bytes]:
    """One JSON object for each row."""
    scores = _numbers(predictions.scores)
    if predictions.with_labels:
        pairs = zip(scores, _labels(predictions), strict=True)
        objects = [b'{"score":%b,"predicted_label":%b}' % pair for pair in pairs]
    else:
        objects = [b'{"score":%b}' % score for score in scores]
    for row, explanation in predictions.explanations.items():
        objects[row] = b'%b,"explanation":%b}' % (objects[row][:-1], orjson.dumps(explanation))
    return objects


def _ranked_objects(rankings: list[RankedPredictions]) -> list[bytes]:
    objects = []
    for ranked in rankings:
        found = _objects(ranked.predictions)
        numbered = (b'{"index":%d,%b' % (index, item[1:]) for index, item in zip(ranked.indices, found, strict=True))
        objects.append(b'{"candidates":[%b]}' % b",".join(numbered))
    return objects


def _json(objects: list[bytes]) -> bytes:
    return b'{"predictions":[%b]}' % b",".join(objects)


def _encode_recordio(predictions: Predictions) -> bytes:
    labels = (predictions.scores >= 0.5).astype(np.float32) if predictions.with_labels else None
    body: bytes = encode_predictions(predictions.scores, labels, predictions.uids, predictions.metadatas)
    return body


def _encode_csv(predictions: Predictions) -> bytes:
    scores = _numbers(predictions.scores)
    if not predictions.with_labels:
        return b"\n".join(scores)
    return b"\n".join(map(b",".join, zip(scores, _labels(predictions), strict=True)))


# Lines end where the next begins: batch transform's AssembleWith=Line adds the last newline itself.
ENCODERS: dict[str, Encoder] = {
    encoder.media_type: encoder
    for encoder in (
        Encoder("application/json", lambda p: _json(_objects(p)), lambda r: _json(_ranked_objects(r))),
        Encoder("application/jsonlines", lambda p: b"\n".join(_objects(p)), lambda r: b"\n".join(_ranked_objects(r))),
        Encoder("application/x-recordio-protobuf", _encode_recordio),
        Encoder("text/csv", _encode_csv),
    )
}

#: Amazon's documentation writes the type this way too.
ALIASES = {"x-recordio-protobuf": "application/x-recordio-protobuf"}


# --- choosing --------------------------------------------------------------------------------


def _essence(media_type: str) -> str:
    essence = media_type.partition(";")[0].strip().lower()
    return ALIASES.get(essence, essence)


def _parameters(media_type: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in media_type.split(";")[1:])
    return {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}


@functools.lru_cache(maxsize=256)
def decoder_of(content_type: str) -> Decoder:
    """The decoder of a body with this Content-Type header.

    Raises
    ------
    UnsupportedMediaTypeError
        There is none; the message lists those there are.
    """
    essence = _essence(content_type)
    found = DECODERS.get(essence)
    if found is None:
        what = f"Content-Type is {content_type[:80]!r}" if content_type else "the request has no Content-Type"
        raise UnsupportedMediaTypeError(
            f"{what}, which is not supported: set it to one of {', '.join(DECODERS)}, whichever the body is "
            "(in the SageMaker Python SDK, give the Predictor a serializer)"
        )
    header = _parameters(content_type).get("header") if essence == "text/csv" else None
    if header is None:
        return found
    if header not in _HEADERS:
        raise UnsupportedMediaTypeError(
            f"Content-Type is {content_type[:80]!r}, expected header=present or header=absent in it, or no header="
        )
    return functools.partial(_decode_csv, header=_HEADERS[header])


@functools.lru_cache(maxsize=256)
def encoder_of(accept: str, default: str) -> Encoder:
    """The encoder of an answer for this Accept header.

    The accepted type with the highest q wins; among equals the first, and of those that a
    wildcard admits the default, where it is one of them.

    Parameters
    ----------
    accept : str
        Empty if the header is absent.
    default : str
        Media type to use where the client leaves the choice.

    Raises
    ------
    NotAcceptableError
        Nothing acceptable can be written; the message lists what can.
    """
    order = sorted(ENCODERS.values(), key=lambda encoder: encoder.media_type != _essence(default))
    if order[0].media_type != _essence(default):
        raise NotAcceptableError(f"media type {default!r} is not supported, expected one of {', '.join(ENCODERS)}")
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
