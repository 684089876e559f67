"""The Flask app: three addresses of SageMaker's contract, or the multi-model API.

A view is a few lines: the formats are media_types.py's, the statuses errors.py's. The app is
made with its model, so tests hand it one of three features.
"""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask, Response, request

from container.serving.body import read_body
from container.serving.errors import answer_to
from container.serving.invocation import Answer, invoke
from container.serving.media_types import encoder_of
from container.serving.model_registry import ModelRegistry
from container.serving.request_log import ERROR
from container.serving.served_model import ServedModel
from container.serving.settings import ServingSettings
from fm_core.errors import DataError

if TYPE_CHECKING:
    from fm_core.model import Model

__all__ = ["create_app"]

_CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


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

    def answer_of(environ: dict[str, Any]) -> Answer:
        return invoke(served, settings, environ)

    @app.post("/invocations")
    def invocations() -> Response:
        return _respond(answer_of(request.environ), request.environ)

    app.wsgi_app = _short_way(app, "/invocations", answer_of)  # type: ignore[method-assign]

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
        name, url = _name_and_url(read_body(request.environ, settings.max_content_length))
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
        return _respond(invoke(_served(registry.get(name)), settings, request.environ), request.environ)


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
