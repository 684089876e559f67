"""Decode request bodies to rows: one table from media type to decoder.

A decoder yields a body as parts of `Rows` (or of `Ranking`, or `Wishes`), by the model's schema if the body names
columns. A part has at most a megabyte, so the memory of a request does not grow with its size.

``"configuration"`` requests more than scores: that of the request applies to all its instances, and that of an instance
overrides it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from container.serving.payloads import Ranking, Rows, Wishes
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.registry import FORMATS, Format, Role, media_types_for
from fm_core.formats.requests.instances import decode_instances
from fm_core.formats.requests.json_parts import instance_parts, line_parts, parse_json
from fm_core.formats.requests.named_columns import decode_named
from fm_core.formats.tables.encoder import Encoder as ColumnEncoder
from fm_core.printable import begun

__all__ = ["DECODERS", "ITEMS_TOGETHER", "WISHES", "Decoder", "Parts", "Payload", "configurations_of", "csv_decoder"]

#: How many features, and pairs, an explanation lists if the request does not say.
_SHARES = 10

#: What a configuration may ask for.
_WANTED = frozenset(("explain", "spread"))

#: Requests for items that are answered at once, and items that they may ask for, if they are more than one.
_WISHES_TOGETHER, ITEMS_TOGETHER = 256, 100_000

#: What a part of a body becomes; all parts are of one kind.
Payload = Rows | list[Ranking] | Wishes
Parts = Iterator[Payload]

#: What makes an instance without candidates a request for items of the catalogue.
WISHES = ("top_k", "history", "exclude", "filter")

#: Of a body (bytes-like), the model's feature_dim, and what encodes columns where the model has a schema.
Decoder = Callable[[Any, int, ColumnEncoder | None], Parts]


def _decode_json(body: Any, feature_dim: int, columns: ColumnEncoder | None = None) -> Parts:
    return _Instances(feature_dim, columns).decode(instance_parts(body))


def _decode_jsonlines(body: Any, feature_dim: int, columns: ColumnEncoder | None = None) -> Parts:
    def parts() -> Iterator[tuple[list[Any], Any, dict[str, Any]]]:
        row = 0
        for text in line_parts(body):
            lines = [line for line in text.split(b"\n") if line and not line.isspace()]
            yield [parse_json(line, f"instance {number}") for number, line in enumerate(lines, row)], text, {}
            row += len(lines)

    return _Instances(feature_dim, columns).decode(parts())


def _wishes(instances: list[Any]) -> Iterator[Wishes]:
    """Cut requests for items into parts whose answers are not large: a few bytes may ask for a whole catalogue."""
    part: list[Any] = []
    n_items = 0
    for instance in instances:
        top_k = instance.get("top_k") if isinstance(instance, dict) else None
        n_items += top_k if type(top_k) is int and top_k > 0 else 0
        if part and (len(part) == _WISHES_TOGETHER or n_items > ITEMS_TOGETHER):
            yield Wishes(part)
            part, n_items = [], 0
        part.append(instance)
    if part:
        yield Wishes(part)


class _Instances:
    """Instances in parts. The first instance decides the kind of all."""

    def __init__(self, feature_dim: int, columns: ColumnEncoder | None) -> None:
        self._feature_dim = feature_dim
        self._columns = columns
        self._are_rankings: bool | None = None
        self._are_wishes = False
        self._are_named: bool | None = None

    def decode(self, parts: Iterable[tuple[list[Any], Any, Mapping[str, Any]]]) -> Parts:
        """Make rows of instances; or rankings, if the first one has candidates; or wishes.

        Parameters
        ----------
        parts : iterable of (list, bytes-like, mapping)
            Instances, the text that they were parsed from, and the request's other members.
        """
        first = 0
        for instances, text, others in parts:
            of_all = others.get("configuration")
            of_all = of_all if isinstance(of_all, dict) and of_all.keys() & _WANTED else {}
            if self._are_rankings is None and instances:
                self._are_rankings = isinstance(instances[0], dict) and "candidates" in instances[0]
                self._are_wishes = isinstance(instances[0], dict) and any(name in instances[0] for name in WISHES)
            if self._are_wishes and not self._are_rankings:
                yield from _wishes([_with_configuration(each, of_all) for each in instances] if of_all else instances)
            elif self._are_rankings:
                yield [
                    self._ranking(_with_configuration(instance, of_all), f"instance {row}")
                    for row, instance in enumerate(instances, first)
                ]
            elif instances:
                batch = self._rows(instances, "instance", first)
                if of_all or _may_be_configured(text):
                    explained, spread = configurations_of(instances, first, of_all)
                    yield Rows(batch, explained=explained, spread=spread)
                else:
                    yield Rows(batch)
            first += len(instances)

    def _rows(self, instances: list[Any], what: str, first: int = 0, *, partial: bool = False) -> Batch:
        # An instance with named columns has every other one have them; in rankings, those of one list.
        is_named = bool(instances) and isinstance(instances[0], dict) and "columns" in instances[0]
        if not partial:
            self._are_named = is_named = is_named if self._are_named is None else self._are_named
        if not is_named:
            return decode_instances(instances, feature_dim=self._feature_dim, what=what, first=first)
        if self._columns is None:
            raise DataError(
                f'{what} {first} has "columns", but the model has no schema: put the schema.json that `fm convert` '
                "wrote next to it, or send feature ids"
            )
        return decode_named(instances, self._columns, what=what, first=first, partial=partial)

    def _ranking(self, instance: Any, where: str) -> Ranking:
        if not isinstance(instance, dict) or not {"context", "candidates"} <= instance.keys():
            raise DataError(f'{where} lacks "context" or "candidates", expected both in every instance if in any')
        candidates, top_k = instance["candidates"], instance.get("top_k")
        if not isinstance(candidates, list):
            raise DataError(f'{where}: "candidates" is not a list of instances')
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise DataError(f'{where}: "top_k" is {begun(top_k)}, expected an integer of at least 1')
        return Ranking(
            self._rows([instance["context"]], f"{where}, context", partial=True),
            self._rows(candidates, f"{where}, candidate", partial=True),
            top_k,
            _wants_spread(instance.get("configuration"), where),
        )


def _may_be_configured(text: Any) -> bool:
    # A request is seldom written with a g, and one letter is looked for a hundred times faster than a word.
    return bool(text.find(b"g") >= 0 and text.find(b'"configuration"') >= 0)


def _with_configuration(instance: Any, of_all: Mapping[str, Any]) -> Any:
    if not of_all or not isinstance(instance, dict):
        return instance
    own = instance.get("configuration")
    return instance | {"configuration": {**of_all, **own} if isinstance(own, dict) else dict(of_all)}


def configurations_of(instances: list[Any], first: int, of_all: Mapping[str, Any]) -> tuple[dict[int, int], list[int]]:
    """Find the instances that request more than a score.

    Parameters
    ----------
    instances : list of dict
    first : int
        The number of the first one, for messages.
    of_all : mapping
        What the request says of all of them.

    Returns
    -------
    explained : dict of int to int
        Of those with ``"explain": true``, or a number in place of true, how many shares are wanted.
    spread : list of int
        Those with ``"spread": true``.
    """
    explained, spread = {}, []
    for row, instance in enumerate(instances):
        own = instance.get("configuration")
        configuration = {**of_all, **own} if isinstance(own, dict) else of_all
        if not configuration:
            continue
        where = f"instance {first + row}"
        if _wants_spread(configuration, where):
            spread.append(row)
        wanted = configuration.get("explain")
        if wanted is None or wanted is False:
            continue
        if wanted is not True and (type(wanted) is not int or wanted < 1):
            raise DataError(f'{where}: "explain" is {begun(wanted)}, expected true, false or an integer of at least 1')
        explained[row] = _SHARES if wanted is True else wanted
    return explained, spread


def _wants_spread(configuration: Any, where: str) -> bool:
    wanted = configuration.get("spread") if isinstance(configuration, dict) else None
    if wanted is None or isinstance(wanted, bool):
        return bool(wanted)
    raise DataError(f'{where}: "spread" is {begun(wanted)}, expected true or false')


def _decoder_of(described: Format, **options: bool | None) -> Decoder:
    def decode(body: Any, feature_dim: int, columns: ColumnEncoder | None = None) -> Parts:
        found = described.functions.decode_request(body, feature_dim=feature_dim, encoder=columns, **options)
        return itertools.starmap(Rows, found)

    return decode


def csv_decoder(header: bool | None, *, in_pieces: bool = False) -> Decoder:
    """The decoder of CSV with a known header parameter, or in pieces."""
    return _decoder_of(FORMATS["csv"], header=header, in_pieces=in_pieces)


#: SageMaker's own shapes of JSON, and every format of files that requests may have.
DECODERS: dict[str, Decoder] = {
    "application/json": _decode_json,
    "application/jsonlines": _decode_jsonlines,
} | {media_type: _decoder_of(described) for media_type, described in media_types_for(Role.REQUEST).items()}
