"""Predictions become bodies of answers: one table from media type to encoder."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import orjson

from container.serving.payloads import Predictions, RankedPredictions, Recommended
from fm_core.formats import encode_predictions
from fm_core.formats.text.numbers import decimals

if TYPE_CHECKING:
    pass

__all__ = ["ENCODERS", "Encoder"]


@dataclasses.dataclass(frozen=True, slots=True)
class Encoder:
    """How an answer of one media type is written.

    Attributes
    ----------
    media_type : str
    predictions : callable
        Predictions to bytes.
    rankings, recommendations : callable or None
        A list of rankings, or of what was recommended, to bytes; None: this format has no way to write them, nor
        explanations.
    """

    media_type: str
    predictions: Callable[[Predictions], bytes]
    rankings: Callable[[list[RankedPredictions]], bytes] | None = None
    recommendations: Callable[[list[Recommended]], bytes] | None = None


def _labels(predictions: Predictions) -> list[bytes]:
    # As the built-in prints them.
    return [b"1.0" if score >= 0.5 else b"0.0" for score in predictions.scores.tolist()]


def _objects(predictions: Predictions) -> list[bytes]:
    """One JSON object for each row."""
    scores = decimals(predictions.scores)
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


def _recommended_objects(recommended: list[Recommended]) -> list[bytes]:
    objects = []
    for of_request in recommended:
        found = zip(of_request.columns, _objects(of_request.predictions), strict=True)
        items = (b'{"columns":%b,%b' % (orjson.dumps(columns), item[1:]) for columns, item in found)
        objects.append(b'{"items":[%b]}' % b",".join(items))
    return objects


def _json(objects: list[bytes]) -> bytes:
    return b'{"predictions":[%b]}' % b",".join(objects)


def _encode_recordio(predictions: Predictions) -> bytes:
    labels = (predictions.scores >= 0.5).astype(np.float32) if predictions.with_labels else None
    body: bytes = encode_predictions(predictions.scores, labels, predictions.uids, predictions.metadatas)
    return body


def _encode_csv(predictions: Predictions) -> bytes:
    scores = decimals(predictions.scores)
    if not predictions.with_labels:
        return b"\n".join(scores)
    return b"\n".join(map(b",".join, zip(scores, _labels(predictions), strict=True)))


# Lines end where the next begins: batch transform's AssembleWith=Line adds the last newline itself.
ENCODERS: dict[str, Encoder] = {
    encoder.media_type: encoder
    for encoder in (
        Encoder(
            "application/json",
            lambda p: _json(_objects(p)),
            lambda r: _json(_ranked_objects(r)),
            lambda r: _json(_recommended_objects(r)),
        ),
        Encoder(
            "application/jsonlines",
            lambda p: b"\n".join(_objects(p)),
            lambda r: b"\n".join(_ranked_objects(r)),
            lambda r: b"\n".join(_recommended_objects(r)),
        ),
        Encoder("application/x-recordio-protobuf", _encode_recordio),
        Encoder("text/csv", _encode_csv),
    )
}
