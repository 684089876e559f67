"""Find the best items of the model's catalogue for requests in JSON lines, as an endpoint takes them, one per line.

  echo '{"columns": {"user": "ann"}, "top_k": 10}' | fm recommend model -
  fm recommend model requests.jsonl --output answers.jsonl

Each line of the answer has the items of a request, best first. With --users, there is one request for each category of
a column, without the items that --seen has for it: the best items for every user.

  fm recommend model --users user --top 10 --seen ratings.csv
"""

import argparse
import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from fm_core.analysis.recommendation import Recommendation, Recommender
from fm_core.artifact.model_file import load_model
from fm_core.atomic_file import atomic_write
from fm_core.cli.arguments import source
from fm_core.cli.output import refuse_inputs, standard_output
from fm_core.errors import ConfigError
from fm_core.formats.registry.inputs import read_tables
from fm_core.formats.requests.json_parts import parse_json
from fm_core.formats.streams import CHUNK_BYTES, decompressed
from fm_core.formats.tables import SCHEMA_FILE, TableSchema
from fm_core.formats.tables.table import no_column
from fm_core.formats.text.numbers import decimals
from fm_core.formats.text.sniff import BYTE_ORDER_MARK
from fm_core.printable import printable_json

__all__ = ["add_arguments", "run"]

#: Requests that are answered at once.
_TOGETHER = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm recommend``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of model, schema.json and catalogue.csv")
    parser.add_argument("requests", type=Path, nargs="?", metavar="REQUESTS", help="JSON lines; -: standard input")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="output file (default: standard output)")
    parser.add_argument("--users", metavar="COLUMN", help="make a request for each category of this column")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="for --users: number of items (default: 10)")
    parser.add_argument("--seen", type=source, metavar="TABLE", help="for --users: rows of users and items to exclude")
    parser.add_argument("--spread", action="store_true", help="for --users: add the standard deviation of scores")
    parser.add_argument(
        "--unseen", choices=("error", "ignore"), default="error", help="how to treat unknown categories"
    )
    parser.add_argument("--num-threads", type=int, default=1, metavar="N", help="number of threads (default: 1)")


def run(arguments: argparse.Namespace) -> None:
    """Answer the requests."""
    if (arguments.requests is None) == (arguments.users is None):
        raise ConfigError("expected a file of requests, or --users, and not both")
    refuse_inputs(arguments.output, arguments.model, arguments.requests, arguments.seen)
    model = load_model(arguments.model)
    folder = arguments.model if arguments.model.is_dir() else arguments.model.parent
    recommender = Recommender.beside(model, folder, unseen=arguments.unseen)
    with contextlib.ExitStack() as stack:
        if arguments.users is not None:
            requests = _of_users(arguments, recommender, folder)
        else:
            requests = _lines(stack, arguments.requests)
        to = arguments.output
        out = standard_output() if to is None else stack.enter_context(atomic_write(to))
        first = 0
        while part := list(itertools.islice(requests, _TOGETHER)):
            for found in recommender.recommend(part, max(1, arguments.num_threads), what="line", first=first):
                out.write(_line(found, is_classifier=model.is_classifier))
            first += len(part)
        out.flush()


def _lines(stack: contextlib.ExitStack, path: Path) -> Iterator[Any]:
    file: Any = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
    number = 0
    for line in _cut(decompressed(iter(lambda: file.read1(CHUNK_BYTES), b""), str(path))):
        if not line.strip():
            continue
        yield parse_json(line if number else line.removeprefix(BYTE_ORDER_MARK), f"line {number}")
        number += 1


def _cut(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut what is read into lines, each as soon as it is there."""
    begun: list[bytes] = []
    for chunk in chunks:
        first, *others = bytes(chunk).split(b"\n")
        begun.append(first)
        for line in others:
            yield b"".join(begun)
            begun = [line]
    yield b"".join(begun)


def _of_users(arguments: argparse.Namespace, recommender: Recommender, folder: Path) -> Iterator[Any]:
    path = folder / SCHEMA_FILE
    columns = TableSchema.load(path).columns if path.exists() else ()
    column = next((each for each in columns if each.name == arguments.users and each.categories), None)
    if column is None or column.separator is not None or column.name in recommender.catalogue.columns:
        raise ConfigError(f"--users is {arguments.users!r}, expected a column of categories, and none of the catalogue")
    seen: dict[str, list[str]] = {}
    if arguments.seen is not None:
        item = recommender.catalogue.ids.name
        for table in read_tables([arguments.seen]):
            for name in (column.name, item):
                if name not in table.names:
                    raise no_column(table, name)
            users, items = (table.codes(table.names.index(name)) for name in (column.name, item))
            for user, of_user in zip(users[0].tolist(), items[0].tolist(), strict=True):
                if user >= 0 and of_user >= 0:
                    seen.setdefault(users[1][user], []).append(items[1][of_user])
    for text in column.categories:
        request = {"columns": {column.name: text}, "top_k": arguments.top, "exclude": seen.get(text, [])}
        yield request | ({"spread": True} if arguments.spread else {})


def _line(found: Recommendation, *, is_classifier: bool) -> bytes:
    scores = decimals(found.scores)
    why: Iterable[Any] = found.explanations or itertools.repeat(None, len(scores))
    stds: Iterable[bytes | None] = itertools.repeat(None, len(scores)) if found.std is None else decimals(found.std)
    items = []
    of_items = zip(found.columns, scores, found.scores.tolist(), stds, why, strict=True)
    for columns, score, value, std, explanation in of_items:
        text = b'{"columns":%b,"score":%b' % (orjson.dumps(columns), score)
        if is_classifier:
            text += b',"predicted_label":%.1f' % (value >= 0.5)
        if std is not None:
            text += b',"std":%b' % std
        if explanation is not None:
            text += b',"explanation":%b' % orjson.dumps(explanation)
        items.append(text + b"}")
    # A catalogue may hold line ends of Unicode's, which would end a line here for many a reader.
    return printable_json((b'{"items":[%b]}\n' % b",".join(items)).decode()).encode()
