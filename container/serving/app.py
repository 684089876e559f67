"""The Flask app: three addresses of SageMaker's contract, or the multi-model API.

A view is a few lines: the formats are media_types.py's, the statuses errors.py's. The app is
created with its model, so tests can pass a model of three features.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask, Response, request

from container.serving.body import open_body
from container.serving.errors import internal_error, refusal_of
from container.serving.invocation import Answer, OnScores, answered, invoke
from container.serving.media_types import encoder_of
from container.serving.model_registry import ModelRegistry
from container.serving.openapi import describe
from container.serving.request_log import ERROR
from container.serving.requests import DECODERS, WISHES
from container.serving.responses import ENCODERS
from container.serving.served_model import ServedModel
from container.serving.settings import ServingSettings
from container.serving.spool import Spool
from container.serving.wsgi import status_line
from container.version import revision
from fm_core import __version__
from fm_core.errors import DataError
from fm_core.formats.requests.json_parts import parse_json
from fm_core.printable import printable_json

if TYPE_CHECKING:
    from fm_core.model import Model

__all__ = ["create_app", "takes_long"]

#: From the environment of a request to its answer.
View = Callable[[dict[str, Any]], Answer]

#: From the path of a POST to the view that answers it without Flask; None: Flask answers.
FindView = Callable[[str], View | None]

_METHODS = {"GET", "POST", "DELETE"}

#: Bytes of what names a model and its place.
_LARGEST_DESCRIPTION = 2**20

#: What a body has that asks for more than scores: reasons, standard deviations, or the best items of a catalogue.
_LONG_WORDS = tuple(f'"{word}"'.encode() for word in ("explain", "spread", *WISHES))

#: A letter that needs no escape: what it is written in may be one of those words.
_ESCAPED_ASCII = re.compile(rb"\\u00[4-7]")

_CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def create_app(
    models: "Model | ServedModel | ModelRegistry[Any]", settings: ServingSettings, on_scores: OnScores | None = None
) -> Flask:
    """Make the app.

    Parameters
    ----------
    models : Model, ServedModel or ModelRegistry
        The model to serve, with or without its schema; or the registry of a multi-model endpoint.
    settings : ServingSettings
    on_scores : callable, optional
        Called with the scores of each answer.

    Returns
    -------
    app : Flask

    Raises
    ------
    NotAcceptableError
        ``settings.default_accept`` is not a media type of answers.
    """
    encoder_of("", settings.default_accept)
    app = Flask(__name__, static_folder=None)
    app.register_error_handler(
        Exception, lambda error: _respond(_refusal(app, error, request.environ), request.environ)
    )

    @app.get("/")
    def about() -> Response:
        addresses = sorted(
            f"{method} {rule.rule}"
            for rule in app.url_map.iter_rules()
            for method in _METHODS & (rule.methods or set())
        )
        return _json(
            {
                "name": "factorization-machines",
                "version": __version__,
                "revision": revision(),
                "content_types": list(DECODERS),
                "accept": list(ENCODERS),
                "addresses": [*addresses, "GET /metrics"],
                "description": "/openapi.json",
            }
        )

    @app.get("/openapi.json")
    def description() -> Response:
        return _json(describe(isinstance(models, ModelRegistry)))

    @app.get("/ping")
    def ping() -> Response:
        return _respond(_ping(request.environ), request.environ)

    if isinstance(models, ModelRegistry):
        find_view = _add_models_api(app, models, settings, on_scores)
    else:
        find_view = _add_invocations(app, _served(models), settings, on_scores)
    app.wsgi_app = _around_flask(app, find_view)  # type: ignore[method-assign]
    return app


def _ping(environ: dict[str, Any]) -> Answer:
    return Answer(b"", 200, [("Content-Length", "0")])


def _add_invocations(
    app: Flask, served: ServedModel, settings: ServingSettings, on_scores: OnScores | None
) -> FindView:
    def view(environ: dict[str, Any]) -> Answer:
        return invoke(served, settings, environ, on_scores)

    @app.post("/invocations")
    def invocations() -> Response:
        return _respond(view(request.environ), request.environ)

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return _json(
            {
                "MaxConcurrentTransforms": settings.max_concurrent_transforms,
                "BatchStrategy": settings.batch_strategy,
                "MaxPayloadInMB": settings.max_payload_mb,
            }
        )

    return lambda path: view if path == "/invocations" else None


def takes_long(environ: dict[str, Any], body: bytes) -> bool:
    """Whether a request with a small body needs more than a few milliseconds of CPU, or waits for files."""
    if "HTTP_CONTENT_ENCODING" in environ or environ["PATH_INFO"].startswith("/models"):
        return True
    return any(word in body for word in _LONG_WORDS) or bool(b"\\u00" in body and _ESCAPED_ASCII.search(body))


def _around_flask(app: Flask, find_view: FindView) -> Callable[..., Iterable[bytes]]:
    """Answer the most frequent requests without Flask, whose routing and contexts take longer than one row.

    The same views under Flask's roof stay the ones that decide what else there is at those addresses.
    """
    by_flask = app.wsgi_app

    def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        view = find_view(path) if method == "POST" else _ping if (method, path) == ("GET", "/ping") else None
        if view is None:
            return by_flask(environ, start_response)
        try:
            answer = view(environ)
        except Exception as error:
            answer = _refusal(app, error, environ)
        start_response(status_line(answer.status), _headers(answer, environ))
        return answer.body if isinstance(answer.body, Spool) else [answer.body]

    return wsgi_app


def _served(model: "Model | ServedModel") -> ServedModel:
    return model if isinstance(model, ServedModel) else ServedModel(model)


def _add_models_api(
    app: Flask, registry: ModelRegistry[Any], settings: ServingSettings, on_scores: OnScores | None
) -> FindView:
    @app.get("/models")
    def list_models() -> Response:
        page, next_token = registry.page(request.args.get("next_page_token", ""))
        return _json(
            {"models": [{"modelName": n, "modelUrl": url} for n, url in page.items()], "nextPageToken": next_token}
        )

    @app.post("/models")
    def load_model() -> Response:
        name, url = _name_and_url(request.environ, settings.max_content_length)
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
        return _respond(invoke(_served(registry.get(name)), settings, request.environ, on_scores), request.environ)

    def find_view(path: str) -> View | None:
        name = path.removeprefix("/models/").removesuffix("/invoke")
        if not name or f"/models/{name}/invoke" != path:
            return None
        # WSGI has the bytes of a path as Latin-1.
        text = name.encode("latin-1").decode(errors="replace")
        return lambda environ: invoke(_served(registry.get(text)), settings, environ, on_scores)

    return find_view


def _name_and_url(environ: dict[str, Any], limit: int) -> tuple[str, str]:
    try:
        with open_body(environ, min(limit, _LARGEST_DESCRIPTION)) as body:
            document = parse_json(bytes(body), "the body")
        name, url = document["model_name"], document["url"]
    except (TypeError, KeyError):
        name = url = None
    if not (isinstance(name, str) and isinstance(url, str) and 0 < len(name) <= 1024 and 0 < len(url) <= 4096):
        raise DataError('the body is not JSON such as {"model_name": "a", "url": "/opt/ml/models/a/model"}')
    return name, url


def _refusal(app: Flask, error: Exception, environ: dict[str, Any]) -> Answer:
    refused = refusal_of(error)
    if refused is None:
        app.logger.error("unhandled exception in a request", exc_info=error)
        refused = internal_error()
    environ[ERROR] = refused.detail
    return Answer(refused.body, refused.status, refused.headers)


def _json(document: object) -> Response:
    text = printable_json(orjson.dumps(document).decode())  # names and urls are clients'
    return _respond(answered(text.encode(), "application/json"), request.environ)


def _respond(answer: Answer, environ: dict[str, Any]) -> Response:
    headers = _headers(answer, environ)
    return Response(b"".join(answer.body) if isinstance(answer.body, Spool) else answer.body, answer.status, headers)


def _headers(answer: Answer, environ: dict[str, Any]) -> list[tuple[str, str]]:
    headers = answer.headers
    attributes = environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES")
    if attributes and attributes.isascii() and attributes.isprintable():
        return [*headers, (_CUSTOM_ATTRIBUTES, attributes)]
    return headers
