"""The Flask app: three addresses of SageMaker's contract, or the multi-model API.

A view is a few lines: the formats are codecs.py's, the statuses errors.py's. The app is
made with its model, so tests hand it one of three features.
"""

import dataclasses
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from flask import Flask, Response, request

from container.environment import ServingSettings
from container.serving.codecs import Encoder, Predictions, RankedPredictions, Ranking, Rows, decoder_of, encoder_of
from container.serving.errors import NotAcceptableError, PayloadTooLargeError, answer_to
from container.serving.model_registry import ModelRegistry
from container.serving.served_model import ServedModel
from fm_core.analysis.explanation import explain
from fm_core.analysis.ranking import rank
from fm_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.model import Model

__all__ = ["ERROR", "ROWS", "create_app"]

#: Keys of the WSGI environment under which the request log finds what a request was about.
ROWS = "fm.rows"
ERROR = "fm.error"

_CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

#: How much of a body that is too large is read for the sake of an orderly answer, and in what pieces.
_DISCARDED, _PIECE = 256 * 2**20, 2**20

#: Pairs of features that the explanations of one request may have: less than a second of work.
_MOST_PAIRS = 2_000_000

#: Multiplications below which a prediction is not worth a second thread.
_WORTH_THREADS = 4_000_000


_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Answer(NamedTuple):
    """What is answered to a request.

    Attributes
    ----------
    body : bytes
    status : int
    content_type : str
    """

    body: bytes
    status: int
    content_type: str


def create_app(models: "Model | ServedModel | ModelRegistry[Any]", settings: ServingSettings) -> Flask:
    """Make the app.

    Parameters
    ----------
    models : Model, ServedModel or ModelRegistry
        The one model that is served, with its schema or without; or the registry of a
        multi-model endpoint.
    settings : ServingSettings

    Returns
    -------
    app : Flask

    Raises
    ------
    NotAcceptableError
        ``settings.default_accept`` is no media type that is written.
    """
    encoder_of("", settings.default_accept)
    app = Flask(__name__, static_folder=None)
    app.register_error_handler(
        Exception, lambda error: _respond(_refusal(app, error, request.environ), request.environ)
    )

    @app.get("/ping")
    def ping() -> Response:
        return Response(b"", 200)

    if isinstance(models, ModelRegistry):
        _add_models_api(app, models, settings)
        return app

    served = _served(models)

    def invoke(environ: dict[str, Any]) -> Answer:
        return _invoke(served, settings, environ)

    @app.post("/invocations")
    def invocations() -> Response:
        return _respond(invoke(request.environ), request.environ)

    app.wsgi_app = _short_way(app, "/invocations", invoke)  # type: ignore[method-assign]

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return _json(
            {
                "MaxConcurrentTransforms": settings.max_concurrent_transforms,
                "BatchStrategy": settings.batch_strategy,
                "MaxPayloadInMB": settings.max_payload_mb,
            }
        )

    return app


def _short_way(app: Flask, path: str, view: Callable[[dict[str, Any]], Answer]) -> Callable[..., Iterable[bytes]]:
    """Answer POST to a path without Flask, whose routing, contexts and signals take longer than one row.

    The same view under Flask's roof stays the one that decides what else there is at that path.
    """
    by_flask = app.wsgi_app

    def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != path or environ["REQUEST_METHOD"] != "POST":
            return by_flask(environ, start_response)
        try:
            answer = view(environ)
        except Exception as error:
            answer = _refusal(app, error, environ)
        start_response(_STATUS_LINES[answer.status], _headers(answer, environ))
        return [answer.body]

    return wsgi_app


def _served(model: "Model | ServedModel") -> ServedModel:
    return model if isinstance(model, ServedModel) else ServedModel(model)


def _add_models_api(app: Flask, registry: ModelRegistry[Any], settings: ServingSettings) -> None:
    @app.get("/models")
    def list_models() -> Response:
        page, next_token = registry.page(request.args.get("next_page_token", ""))
        return _json(
            {"models": [{"modelName": n, "modelUrl": url} for n, url in page.items()], "nextPageToken": next_token}
        )

    @app.post("/models")
    def load_model() -> Response:
        name, url = _name_and_url(_body(request.environ, settings.max_content_length))
        registry.load(name, url)
        return _json({"modelName": name, "modelUrl": url})

    @app.get("/models/<path:name>")
    def describe_model(name: str) -> Response:
        return _json({"modelName": name, "modelUrl": registry.url(name)})

    @app.delete("/models/<path:name>")
    def unload_model(name: str) -> Response:
        return _json({"modelName": name, "modelUrl": registry.unload(name)})

    @app.post("/models/<path:name>/invoke")
    def invoke_model(name: str) -> Response:
        return _respond(_invoke(_served(registry.get(name)), settings, request.environ), request.environ)


def _invoke(served: ServedModel, settings: ServingSettings, environ: dict[str, Any]) -> Answer:
    encoder = encoder_of(environ.get("HTTP_ACCEPT", ""), settings.default_accept)
    decode = decoder_of(environ.get("CONTENT_TYPE", ""))
    rows = decode(_body(environ, settings.max_content_length), served.model.feature_dim, served.encoder)
    body = _scored(served, rows, encoder, settings.predict_threads, environ)
    return Answer(body, 200, encoder.media_type)


def _scored(
    served: ServedModel, rows: Rows | list[Ranking], encoder: Encoder, num_threads: int, environ: dict[str, Any]
) -> bytes:
    model = served.model
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


def _body(environ: dict[str, Any], limit: int) -> bytes:
    # From the server itself, in one call: Flask would read, and the server copy, 64 KB at a time, and
    # what a chunked body has beyond the limit would be cut off in silence.
    stream, length = environ["wsgi.input"], _content_length(environ)
    if length is None:  # chunked, or none
        body: bytes = stream.read(limit + 1) if environ.get("wsgi.input_terminated") else b""
    else:
        body = stream.read(length) if length <= limit else b""
    if max(length or 0, len(body)) > limit:
        _discard(stream)
        raise PayloadTooLargeError(
            f"the body has {length or 'too many'} bytes, more than the {limit} that are taken: "
            "send fewer rows at once, or set MAX_CONTENT_LENGTH in the container's environment"
        )
    if len(body) < (length or 0):
        raise DataError(f"the body ends after {len(body)} bytes, expected Content-Length: {length}")
    if not body:
        raise DataError("the body is empty, expected at least one row")
    return body


def _content_length(environ: dict[str, Any]) -> int | None:
    text = environ.get("CONTENT_LENGTH")
    return int(text) if text and text.isdecimal() else None


def _discard(stream: IO[bytes]) -> None:
    # A client that is still sending when the connection closes does not get to read the answer.
    for _ in range(_DISCARDED // _PIECE):
        if not stream.read(_PIECE):
            return


def _name_and_url(body: bytes) -> tuple[str, str]:
    try:
        document = orjson.loads(body)
        name, url = document["model_name"], document["url"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        name = url = None
    if not (isinstance(name, str) and isinstance(url, str) and 0 < len(name) <= 1024 and 0 < len(url) <= 4096):
        raise DataError('the body is not JSON such as {"model_name": "a", "url": "/opt/ml/models/a/model"}')
    return name, url


def _refusal(app: Flask, error: Exception, environ: dict[str, Any]) -> Answer:
    answer = answer_to(error)
    if answer is None:
        app.logger.error("a request failed by an error of ours", exc_info=error)
        answer = 500, "internal error; the container's log has the traceback"
    status, sentence = answer
    environ[ERROR] = sentence
    return Answer(sentence.encode(errors="replace"), status, "text/plain; charset=utf-8")


def _json(document: object) -> Response:
    return _respond(Answer(orjson.dumps(document), 200, "application/json"), request.environ)


def _respond(answer: Answer, environ: dict[str, Any]) -> Response:
    return Response(answer.body, answer.status, _headers(answer, environ))


def _headers(answer: Answer, environ: dict[str, Any]) -> list[tuple[str, str]]:
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    attributes = environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES")
    if attributes and attributes.isascii() and attributes.isprintable():
        headers.append((_CUSTOM_ATTRIBUTES, attributes))
    return headers
