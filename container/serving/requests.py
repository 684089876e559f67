"""Request bodies become rows: one table from media type to decoder.

A decoder makes `Rows` (or a list of `Ranking`, or `Wishes`) of a body, by the model's schema where it names columns.
"""

from collections.abc import Callable
from typing import Any

import orjson

from container.serving.payloads import Ranking, Rows, Wishes
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.registry import FORMATS, Format, Role, media_types_for
from fm_core.formats.requests.instances import decode_instances
from fm_core.formats.requests.named_columns import decode_named
from fm_core.formats.tables.encoder import Encoder as ColumnEncoder

__all__ = ["DECODERS", "Decoder", "csv_decoder"]

#: How many features, and pairs, an explanation lists if the request does not say.
_SHARES = 10

#: What a body becomes.
Payload = Rows | list[Ranking] | Wishes

#: What makes an instance without candidates a request for items of the catalogue.
_WISHES = ("top_k", "history", "exclude", "filter")

#: Of a body, the model's feature_dim, and what encodes columns where the model has a schema.
Decoder = Callable[[bytes, int, ColumnEncoder | None], Payload]


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


def _decode_json(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Payload:
    document = _parse(body, "the body")
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list):
        raise DataError('the body is JSON, but not an object with a list of "instances": {"instances": [...]}')
    return _decode_instances(instances, feature_dim, body, columns)


def _decode_jsonlines(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Payload:
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    return _decode_instances(
        [_parse(line, f"instance {row}") for row, line in enumerate(lines)], feature_dim,
        body, columns,
    )  # fmt: skip


def _decode_instances(instances: list[Any], feature_dim: int, body: bytes, columns: ColumnEncoder | None) -> Payload:
    # An instance with candidates asks for a ranking, and then every one does.
    if instances and isinstance(instances[0], dict) and "candidates" in instances[0]:
        return [
            _decode_ranking(instance, f"instance {row}", feature_dim, columns) for row, instance in enumerate(instances)
        ]
    if instances and isinstance(instances[0], dict) and any(name in instances[0] for name in _WISHES):
        return Wishes(instances)
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


def _decoder_of(described: Format) -> Decoder:
    def decode(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Rows:
        return Rows(*described.functions.decode_request(body, feature_dim=feature_dim, encoder=columns))

    return decode


def csv_decoder(header: bool) -> Decoder:
    """The decoder of CSV of which is known whether its first line names the columns."""

    def decode(body: bytes, feature_dim: int, columns: ColumnEncoder | None = None) -> Rows:
        decode_request = FORMATS["csv"].functions.decode_request
        return Rows(*decode_request(body, feature_dim=feature_dim, encoder=columns, header=header))

    return decode


#: SageMaker's own shapes of JSON, and every format of files that requests may have.
DECODERS: dict[str, Decoder] = {
    "application/json": _decode_json,
    "application/jsonlines": _decode_jsonlines,
} | {media_type: _decoder_of(described) for media_type, described in media_types_for(Role.REQUEST).items()}
