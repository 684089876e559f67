"""Encode predictions as bodies of answers: one table from media type to encoder."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import orjson

from container.serving.payloads import Predictions, RankedPredictions, Recommended
from fm_core.formats import encode_predictions
from fm_core.formats.text.numbers import decimals

__all__ = ["ENCODERS", "Encoder"]


@dataclasses.dataclass(frozen=True, slots=True)
class Encoder:
    """The encoder of answers in one media type: its parts, and the bytes around and between them.

    Attributes
    ----------
    media_type : str
    rows : callable
        Some predictions to bytes.
    rankings, recommendations : callable or None
        A list of rankings, or of what was recommended, to bytes; None: this format has no way to write them, nor
        explanations and standard deviations.
    opening, between, closing : bytes
    """

    media_type: str
    rows: Callable[[Predictions], bytes]
    rankings: Callable[[list[RankedPredictions]], bytes] | None = None
    recommendations: Callable[[list[Recommended]], bytes] | None = None
    opening: bytes = b""
    between: bytes = b""
    closing: bytes = b""

    def document(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Give the pieces of an answer with these parts; parts without rows are empty."""
        yield self.opening
        is_first = True
        for part in parts:
            if part:
                yield part if is_first else self.between + part
                is_first = False
        yield self.closing


def _labels(predictions: Predictions) -> list[bytes]:
    # As the built-in prints them.
    return [b"1.0" if score >= 0.5 else b"0.0" for score in predictions.scores.tolist()]


def _objects(predictions: Predictions) -> list[bytes]:
    """One JSON object for each row."""
    scores = decimals(predictions.scores)
    if predictions.with_labels:
        pairs = zip(scores, _labels(predictions), strict=True)
        objects = [b'{"score":%b,"predicted_label":%b}' % pair for pair in pairs]
        if predictions.classes:
            names = [b',"predicted_class":%b}' % orjson.dumps(name) for name in predictions.classes]
            is_second = (predictions.scores >= 0.5).tolist()
            objects = [item[:-1] + names[second] for item, second in zip(objects, is_second, strict=True)]
    else:
        objects = [b'{"score":%b}' % score for score in scores]
    if predictions.std is not None:
        for row, std in zip(predictions.spread, decimals(predictions.std), strict=True):
            objects[row] = b'%b,"std":%b}' % (objects[row][:-1], std)
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
def _joined(media_type: str, opening: bytes, between: bytes, closing: bytes) -> Encoder:
    return Encoder(
        media_type,
        lambda predictions: between.join(_objects(predictions)),
        lambda rankings: between.join(_ranked_objects(rankings)),
        lambda recommended: between.join(_recommended_objects(recommended)),
        opening,
        between,
        closing,
    )


ENCODERS: dict[str, Encoder] = {
    encoder.media_type: encoder
    for encoder in (
        _joined("application/json", b'{"predictions":[', b",", b"]}"),
        _joined("application/jsonlines", b"", b"\n", b""),
        Encoder("application/x-recordio-protobuf", _encode_recordio),
        Encoder("text/csv", _encode_csv, between=b"\n"),
    )
}
