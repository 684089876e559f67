"""The OpenAPI 3.1 description of the endpoint, made from the registries of media types and statuses.

It is served at /openapi.json; docs/openapi.json is the same document, for an endpoint with one model.
"""

from http import HTTPStatus
from typing import Any

from container.serving.errors import (
    STATUSES,
    HeadTooLargeError,
    MalformedRequestError,
    ModelExistsError,
    ModelNotLoadedError,
    OverloadedError,
    PayloadTooLargeError,
    RequestTimeoutError,
)
from container.serving.requests import DECODERS
from container.serving.responses import ENCODERS
from fm_core import __version__
from fm_core.errors import ArtifactError, ResourceError

__all__ = ["describe"]

_STATUS = dict(STATUSES)

#: What may be refused at any address.
_ANYWHERE = {
    _STATUS[error] for error in (MalformedRequestError, RequestTimeoutError, HeadTooLargeError, OverloadedError)
}

#: What has to do with the names of models.
_NOT_LOADED, _IS_LOADED = _STATUS[ModelNotLoadedError], _STATUS[ModelExistsError]

#: What may come of loading a model.
_OF_LOADING = (_IS_LOADED, *(_STATUS[error] for error in (PayloadTooLargeError, ArtifactError, ResourceError)))

_NUMBER_LIST = {"type": "array", "items": {"type": "number"}}

#: What an instance may request in addition to its score: in its configuration or, of recommendations, as a member.
_EXPLAIN = {
    "description": "Explain the score: true, or how many contributions to list.",
    "anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1}],
}
_SPREAD = {"description": "Add the standard deviation, if the model has spread.npz.", "type": "boolean"}

_SCHEMAS: dict[str, Any] = {
    "Refusal": {
        "description": "RFC 9457, in plain JSON.",
        "type": "object",
        "required": ["status", "title", "detail"],
        "properties": {
            "status": {"type": "integer"},
            "title": {"type": "string"},
            "detail": {"type": "string", "description": "One sentence: what was found, and what was expected."},
        },
    },
    "Row": {
        "description": "One row: dense numbers, sparse keys and values, or columns of the model's schema.",
        "anyOf": [
            {"type": "object", "required": ["features"], "properties": {"features": _NUMBER_LIST}},
            {"$ref": "#/components/schemas/Sparse"},
            {
                "type": "object",
                "required": ["data"],
                "properties": {
                    "data": {
                        "type": "object",
                        "required": ["features"],
                        "properties": {
                            "features": {
                                "anyOf": [
                                    {"type": "object", "required": ["values"], "properties": {"values": _NUMBER_LIST}},
                                    {"$ref": "#/components/schemas/Sparse"},
                                ]
                            }
                        },
                    }
                },
            },
            {"type": "object", "required": ["columns"], "properties": {"columns": {"type": "object"}}},
        ],
    },
    "Sparse": {
        "type": "object",
        "required": ["keys", "values"],
        "properties": {
            "keys": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "values": _NUMBER_LIST,
            "shape": {"type": "array", "items": {"type": "integer"}},
        },
    },
    "Ranking": {
        "description": "Candidates to rank for one context.",
        "type": "object",
        "required": ["context", "candidates"],
        "properties": {
            "context": {"$ref": "#/components/schemas/Row"},
            "candidates": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
            "top_k": {"type": "integer", "minimum": 1},
        },
    },
    "Wish": {
        "description": "A request for the best items of the model's catalogue.",
        "type": "object",
        "required": ["top_k"],
        "properties": {
            "columns": {"type": "object"},
            "context": {"$ref": "#/components/schemas/Row"},
            "top_k": {"type": "integer", "minimum": 1},
            "exclude": {"type": "array"},
            "filter": {"type": "object"},
            "history": {"type": "array", "items": {"type": "object"}},
            "history_of": {"type": "string", "description": "The column that the user of the history belongs to."},
            "explain": _EXPLAIN,
            "spread": _SPREAD,
        },
    },
    "Instance": {
        "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Row", "Ranking", "Wish")],
        "properties": {
            "configuration": {"$ref": "#/components/schemas/Configuration"},
        },
    },
    "Configuration": {
        "description": "Additional output, for one instance or for all of a request.",
        "type": "object",
        "properties": {
            "explain": _EXPLAIN,
            "spread": _SPREAD,
        },
    },
    "Prediction": {
        "type": "object",
        "properties": {
            "score": {"type": "number"},
            "predicted_label": {"type": "number", "description": "For a classifier: 1 if its score is at least 0.5."},
            "predicted_class": {
                "type": "string",
                "description": "The name of that label, if schema.json has names for the labels.",
            },
            "explanation": {"type": "object", "description": "With explain: what contributes to the score."},
            "candidates": {"type": "array", "description": "Of a ranking: the best candidates, best first."},
            "items": {"type": "array", "description": "Of a request for recommendations: the best items, best first."},
            "std": {
                "type": "number",
                "description": "With spread: standard deviation of the label, or of the probability.",
            },
        },
    },
}

_BODIES: dict[str, Any] = {
    "application/json": {
        "type": "object",
        "required": ["instances"],
        "properties": {
            "instances": {"type": "array", "items": {"$ref": "#/components/schemas/Instance"}},
            "configuration": {"$ref": "#/components/schemas/Configuration"},
        },
    }
}
_ANSWERS: dict[str, Any] = {
    "application/json": {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}},
    }
}


def describe(has_many_models: bool) -> dict[str, Any]:
    """Describe the endpoint.

    Parameters
    ----------
    has_many_models : bool
        Whether it is a multi-model endpoint.

    Returns
    -------
    document : dict
    """
    paths: dict[str, Any] = {
        "/": {"get": _operation("Description of this endpoint", _json({"type": "object"}))},
        "/ping": {"get": _operation("Health check", {"description": "It is."})},
        "/metrics": {"get": _operation("Prometheus metrics", _content({"text/plain": {"type": "string"}}))},
        "/openapi.json": {"get": _operation("This document", _json({"type": "object"}))},
    }
    paths |= _of_many_models() if has_many_models else _of_one_model()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "factorization-machines",
            "version": __version__,
            "description": "Predictions of a factorization machine, by Amazon SageMaker's contract.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _of_one_model() -> dict[str, Any]:
    limits = {name: {"type": "integer"} for name in ("MaxConcurrentTransforms", "MaxPayloadInMB")}
    limits["BatchStrategy"] = {"type": "string"}
    return {
        "/invocations": {"post": _predictions()},
        "/execution-parameters": {
            "get": _operation("Limits for batch transform", _json({"type": "object", "properties": limits}))
        },
    }


def _of_many_models() -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    told = _json({"type": "object", "properties": {"modelName": {"type": "string"}, "modelUrl": {"type": "string"}}})
    token = {"name": "next_page_token", "in": "query", "schema": {"type": "string"}}
    wanted = {
        "type": "object",
        "required": ["model_name", "url"],
        "properties": {"model_name": {"type": "string"}, "url": {"type": "string"}},
    }
    return {
        "/models": {
            "get": _operation("List the loaded models", _json({"type": "object"})) | {"parameters": [token]},
            "post": _operation("Load a model", told, *_OF_LOADING)
            | {"requestBody": {"required": True} | _content({"application/json": wanted})},
        },
        "/models/{name}": {
            "parameters": [name],
            "get": _operation("Describe a loaded model", told, _NOT_LOADED),
            "delete": _operation("Unload a model", told, _NOT_LOADED),
        },
        "/models/{name}/invoke": {"parameters": [name], "post": _predictions(_NOT_LOADED)},
    }


def _predictions(*further: int) -> dict[str, Any]:
    bodies = {media_type: _BODIES.get(media_type, _plain(media_type)) for media_type in DECODERS}
    answers = {media_type: _ANSWERS.get(media_type, _plain(media_type)) for media_type in ENCODERS}
    statuses = {status for _, status in STATUSES} - {_NOT_LOADED, _IS_LOADED}
    summary = "A prediction for each row, in the order of the rows"
    operation = _operation(summary, _content(answers), *statuses, *further)
    return operation | {"requestBody": {"required": True} | _content(bodies)}


def _plain(media_type: str) -> dict[str, Any]:
    if media_type.startswith("text/") or media_type.endswith("lines"):
        return {"type": "string"}
    return {"type": "string", "format": "binary"}


def _operation(summary: str, answer: dict[str, Any], *statuses: int) -> dict[str, Any]:
    refusals = {str(status): _refusal(status) for status in sorted({*statuses, *_ANYWHERE})}
    return {"summary": summary, "responses": {str(HTTPStatus.OK.value): answer} | refusals}


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Refusal"}
    return _content({"application/json": schema}) | {"description": HTTPStatus(status).phrase}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return _content({"application/json": schema})


def _content(of_types: dict[str, Any]) -> dict[str, Any]:
    return {"description": "OK", "content": {media_type: {"schema": schema} for media_type, schema in of_types.items()}}
