"""From the body of a request to the body of its answer: decode, score, encode."""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from container.serving.body import read_body
from container.serving.errors import NotAcceptableError
from container.serving.media_types import decoder_of, encoder_of
from container.serving.payloads import Predictions, RankedPredictions, Ranking, Recommended, Rows, Wishes
from container.serving.request_log import ROWS
from container.serving.responses import Encoder
from container.serving.served_model import ServedModel
from container.serving.settings import ServingSettings
from fm_core.analysis.explanation import explain
from fm_core.analysis.ranking import rank
from fm_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.model import Model

__all__ = ["Answer", "answered", "invoke"]

#: Pairs of features that the explanations of one request may have: less than a second of work.
_MOST_PAIRS = 2_000_000

#: Multiplications below which a prediction is not worth a second thread.
_WORTH_THREADS = 4_000_000


class Answer(NamedTuple):
    """What is answered to a request.

    Attributes
    ----------
    body : bytes
    status : int
    headers : list of (str, str)
    """

    body: bytes
    status: int
    headers: list[tuple[str, str]]


def answered(body: bytes, media_type: str) -> Answer:
    """The answer of a request that succeeded."""
    return Answer(body, 200, [("Content-Type", media_type), ("Content-Length", str(len(body)))])


def invoke(served: ServedModel, settings: ServingSettings, environ: dict[str, Any]) -> Answer:
    """Answer a request for predictions.

    Parameters
    ----------
    served : ServedModel
    settings : ServingSettings
    environ : dict
        Of WSGI; it gets the number of rows, for the log.

    Raises
    ------
    FMError
        Of errors.py or fm_core: the request is refused.
    """
    encoder = encoder_of(environ.get("HTTP_ACCEPT", ""), settings.default_accept)
    decode = decoder_of(environ.get("CONTENT_TYPE", ""))
    rows = decode(read_body(environ, settings.max_content_length), served.model.feature_dim, served.encoder)
    body = _scored(served, rows, encoder, settings.predict_threads, environ)
    return answered(body, encoder.media_type)


def _scored(
    served: ServedModel,
    rows: Rows | list[Ranking] | Wishes,
    encoder: Encoder,
    num_threads: int,
    environ: dict[str, Any],
) -> bytes:
    model = served.model
    if isinstance(rows, Wishes):
        environ[ROWS] = len(rows.instances)
        return _recommended(served, rows, encoder, num_threads)
    if isinstance(rows, Rows):
        environ[ROWS] = rows.batch.n_rows
        work = rows.batch.values.size * model.num_factors
        scores = model.predict(rows.batch, num_threads=num_threads if work > _WORTH_THREADS else 1)
        predictions = _predictions(model, scores, rows)
        if rows.explained:
            predictions = dataclasses.replace(predictions, explanations=_explanations(served, rows, encoder))
        return encoder.predictions(predictions)
    if encoder.rankings is None:
        raise NotAcceptableError(
            f"rankings cannot be written as {encoder.media_type}, expected Accept: application/json"
        )
    environ[ROWS] = sum(ranking.candidates.n_rows for ranking in rows)
    answers = []
    for ranking in rows:
        ranked = rank(model, ranking.context, ranking.candidates, ranking.top_k)
        answers.append(RankedPredictions(ranked.indices, _predictions(model, ranked.scores)))
    return encoder.rankings(answers)


def _recommended(served: ServedModel, wishes: Wishes, encoder: Encoder, num_threads: int) -> bytes:
    if encoder.recommendations is None:
        raise NotAcceptableError(
            f"recommendations cannot be written as {encoder.media_type}, expected Accept: application/json"
        )
    if served.recommender is None:
        raise DataError(
            "items were asked for, but the model has no catalogue: put the catalogue.csv that `fm catalogue` writes "
            'beside it, or send "candidates"'
        )
    work = len(served.recommender.catalogue) * served.model.num_factors
    found = served.recommender.recommend(wishes.instances, num_threads if work > _WORTH_THREADS else 1, what="instance")
    answers = []
    for each in found:
        why = dict(enumerate(each.explanations or []))
        answers.append(
            Recommended(each.columns, Predictions(each.scores, served.model.is_classifier, explanations=why))
        )
    return encoder.recommendations(answers)


def _explanations(served: ServedModel, rows: Rows, encoder: Encoder) -> dict[int, Any]:
    if encoder.rankings is None:
        raise NotAcceptableError(
            f"explanations cannot be written as {encoder.media_type}, expected Accept: application/json"
        )
    assert rows.batch.indptr is not None  # as instances are decoded
    n_features = np.diff(rows.batch.indptr)[list(rows.explained)]
    n_pairs = int((n_features * (n_features - 1) // 2).sum())
    if n_pairs > _MOST_PAIRS:
        raise DataError(
            f"explanations were asked for of rows with {n_pairs} pairs of features in all, more than {_MOST_PAIRS}: "
            "send fewer of them at once"
        )
    found = zip(rows.explained.items(), explain(served.model, rows.batch, rows.explained), strict=True)
    name = None if served.encoder is None else served.encoder.schema.feature_name
    return {row: explanation.as_document(top, name) for (row, top), explanation in found}


def _predictions(model: "Model", scores: "NDArray[np.float32]", rows: Rows | None = None) -> Predictions:
    finite = np.isfinite(scores)
    if not finite.all():
        raise DataError(f"the score of row {int(np.argmin(finite))} overflows float32: its values are too large")
    if rows is None:
        return Predictions(scores, model.is_classifier)
    return Predictions(scores, model.is_classifier, rows.uids, rows.metadatas)
