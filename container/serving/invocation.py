"""From the body of a request to the body of its answer: decode, score, encode."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from container.serving.body import open_body
from container.serving.errors import NotAcceptableError
from container.serving.media_types import decoder_of, encoder_of
from container.serving.payloads import Predictions, RankedPredictions, Ranking, Recommended, Rows, Wishes
from container.serving.request_log import ROWS
from container.serving.requests import Payload
from container.serving.responses import Encoder
from container.serving.served_model import ServedModel
from container.serving.settings import ServingSettings
from container.serving.spool import Spool
from fm_core.analysis.explanation import MOST_PAIRS, explain
from fm_core.analysis.ranking import rank, ranked_rows
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.given import check_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["MOST_ITEMS", "Answer", "OnScores", "answered", "invoke"]


#: Items that are recommended in all in the answer to one request, which is a hundred times as long as that may be.
MOST_ITEMS = 5_000_000

#: Multiplications below which a prediction is not worth a second thread.
_WORTH_THREADS = 4_000_000


class Answer(NamedTuple):
    """What is answered to a request.

    Attributes
    ----------
    body : bytes or Spool
    status : int
    headers : list of (str, str)
    """

    body: bytes | Spool
    status: int
    headers: list[tuple[str, str]]


def answered(body: bytes | Spool, media_type: str) -> Answer:
    """The answer of a request that succeeded."""
    size = body.size if isinstance(body, Spool) else len(body)
    return Answer(body, 200, [("Content-Type", media_type), ("Content-Length", str(size))])


#: Called with the scores that are given, whether they are probabilities, and whether they are of rows (or of what was
#: ranked).
OnScores = Callable[["NDArray[np.float32]", bool, bool], None]


def invoke(
    served: ServedModel, settings: ServingSettings, environ: dict[str, Any], on_scores: OnScores | None = None
) -> Answer:
    """Answer a request for predictions.

    Parameters
    ----------
    served : ServedModel
    settings : ServingSettings
    environ : dict
        Of WSGI; it gets the number of rows, for the log.
    on_scores : callable, optional

    Raises
    ------
    FMError
        Of errors.py or fm_core: the request is refused.
    """
    encoder = encoder_of(environ.get("HTTP_ACCEPT", ""), settings.default_accept)
    decode = decoder_of(environ.get("CONTENT_TYPE", ""), in_pieces=settings.is_batch)
    scorer = _Scorer(served, encoder, settings.predict_threads, on_scores)
    written = Spool()
    try:
        with open_body(environ, settings.max_content_length) as body:
            parts = decode(body, served.model.feature_dim, served.encoder)
            for piece in encoder.document(map(scorer.score, parts)):
                written.append(piece)
    except BaseException:
        written.close()
        raise
    environ[ROWS] = scorer.n_rows
    if written.descriptor is not None:
        return answered(written, encoder.media_type)
    return answered(b"".join(written), encoder.media_type)


class _Scorer:
    """Scores the parts of one request."""

    def __init__(self, served: ServedModel, encoder: Encoder, num_threads: int, on_scores: OnScores | None) -> None:
        self._served = served
        self._model = served.model
        self._encoder = encoder
        self._num_threads = num_threads
        self._on_scores = on_scores
        self._pairs_left = MOST_PAIRS
        self._items_left = MOST_ITEMS
        is_named = served.encoder is not None and served.model.is_classifier
        self._classes = served.encoder.schema.label_classes if is_named and served.encoder is not None else ()
        self.n_rows = 0

    def score(self, part: Payload) -> bytes:
        """Score some rows, or rank, or recommend; what is to be written of it."""
        if isinstance(part, Wishes):
            return self._recommended(part)
        return self._rows(part) if isinstance(part, Rows) else self._rankings(part)

    def _rows(self, rows: Rows) -> bytes:
        model = self._model
        scores = model.predict(rows.batch, num_threads=self._threads_for(rows.batch.values.size))
        predictions = self._predictions(scores, rows)
        if rows.spread:
            predictions = dataclasses.replace(predictions, spread=rows.spread, std=self._std(rows))
        if rows.explained:
            predictions = dataclasses.replace(predictions, explanations=self._explanations(rows))
        self.n_rows += rows.batch.n_rows
        return self._encoder.rows(predictions)

    def _rankings(self, rankings: list[Ranking]) -> bytes:
        write = self._encoder.rankings
        if write is None:
            raise self._no_room("rankings")
        answers = []
        for ranking in rankings:
            ranked = rank(self._model, ranking.context, ranking.candidates, ranking.top_k)
            predictions = self._predictions(ranked.scores)
            if ranking.with_spread:
                std = self._std_of(ranked_rows(ranking.context, ranking.candidates, ranked.indices))
                predictions = dataclasses.replace(predictions, spread=range(len(std)), std=std)
            answers.append(RankedPredictions(ranked.indices, predictions))
            self.n_rows += ranking.candidates.n_rows
        return write(answers)

    def _recommended(self, wishes: Wishes) -> bytes:
        write, recommender = self._encoder.recommendations, self._served.recommender
        if write is None:
            raise self._no_room("recommendations")
        if recommender is None:
            raise DataError(
                "the request asks for items, but the model has no catalogue: put the catalogue.csv that `fm catalogue` "
                'writes next to it, or send "candidates"'
            )
        num_threads = self._threads_for(len(recommender.catalogue))
        answers = []
        for each in recommender.recommend(wishes.instances, num_threads, what="instance", first=self.n_rows):
            self._items_left -= len(each.scores)
            if self._on_scores is not None:
                self._on_scores(each.scores, self._model.is_classifier, False)
            why = dict(enumerate(each.explanations or []))
            predictions = Predictions(
                each.scores, self._model.is_classifier, explanations=why, classes=self._classes,
                spread=() if each.std is None else range(len(each.std)), std=each.std,
            )  # fmt: skip
            answers.append(Recommended(each.columns, predictions))
        self.n_rows += len(wishes.instances)
        if self._items_left < 0:
            raise DataError(
                f"recommendations are limited: the request asks for more than {MOST_ITEMS} items in all: send fewer "
                "instances at once, or a lower top_k"
            )
        return write(answers)

    def _threads_for(self, n_vectors: int) -> int:
        return self._num_threads if n_vectors * self._model.num_factors > _WORTH_THREADS else 1

    def _std(self, rows: Rows) -> "NDArray[np.float32]":
        if self._encoder.rankings is None:
            raise self._no_room("standard deviations")
        is_all = len(rows.spread) == rows.batch.n_rows
        return self._std_of(rows.batch if is_all else rows.batch.take(np.array(rows.spread, np.int64)))

    def _std_of(self, batch: Batch) -> "NDArray[np.float32]":
        try:
            return self._model.std(batch, self._threads_for(batch.values.size))
        except DataError as error:
            raise DataError(f"spread is not possible: {error}") from None

    def _explanations(self, rows: Rows) -> dict[int, Any]:
        if self._encoder.rankings is None:
            raise self._no_room("explanations")
        assert rows.batch.indptr is not None  # as instances are decoded
        n_features = np.diff(rows.batch.indptr)[list(rows.explained)]
        self._pairs_left -= int((n_features * (n_features - 1) // 2).sum())
        if self._pairs_left < 0:
            raise DataError(
                f"explanations are limited: the rows have {MOST_PAIRS - self._pairs_left} pairs of features in all, "
                f"more than {MOST_PAIRS}: send fewer of them at once"
            )
        encoder = self._served.encoder
        name = None if encoder is None else encoder.schema.feature_name
        found = zip(rows.explained.items(), explain(self._model, rows.batch, rows.explained), strict=True)
        return {row: explanation.as_document(top, name) for (row, top), explanation in found}

    def _no_room(self, what: str) -> NotAcceptableError:
        return NotAcceptableError(
            f"{what} cannot be written as {self._encoder.media_type}, expected Accept: application/json"
        )

    def _predictions(self, scores: "NDArray[np.float32]", rows: Rows | None = None) -> Predictions:
        check_scores(scores, self.n_rows)
        is_classifier = self._model.is_classifier
        if self._on_scores is not None:
            self._on_scores(scores, is_classifier, rows is not None)
        if rows is None:
            return Predictions(scores, is_classifier, classes=self._classes)
        return Predictions(scores, is_classifier, rows.uids, rows.metadatas, classes=self._classes)
