"""Score the rows of a file: one score per line, in the order of the rows.

A classifier's score is the probability of label 1. If the output's name ends in .jsonl, each
line is what an endpoint would answer; .npy gives an array of float32; .csv has a header and,
if the labels have names, the class after the score. --with copies columns of a table to the
output, as CSV. Tables are encoded by the schema next to the model, or by --schema. --spread
adds the standard deviation of each score, for a model of solver bayes (an .npy then has two
columns).

  fm predict model new.csv
  fm predict model new.csv --spread
  fm predict model new.parquet --with id,label -o scores.csv
"""

import argparse
import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fm_core.artifact.model_file import load_model
from fm_core.atomic_file import atomic_write
from fm_core.batch import Batch
from fm_core.cli.arguments import column_list
from fm_core.cli.names import schema_of
from fm_core.cli.output import refuse_inputs, standard_output
from fm_core.cli.rows import add_row_arguments, read_rows, read_with_tables
from fm_core.formats.text.numbers import decimals
from fm_core.given import check_scores
from fm_core.metrics import Metrics, metrics_for
from fm_core.model import Model

__all__ = ["add_arguments", "run"]

Floats = NDArray[np.float32]

#: Parts of the scores, each with the standard deviations, if they are wanted.
Scores = Iterator[tuple[Floats, Floats | None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm predict``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    add_row_arguments(parser)
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="output file (default: standard output)")
    parser.add_argument(
        "--with", dest="along", metavar="A,B", type=column_list, action="extend", default=[],
        help="columns of a table to write before each score, as CSV with a header",
    )  # fmt: skip
    parser.add_argument("--spread", action="store_true", help="write the standard deviation of each score too")
    parser.add_argument("--metrics", action="store_true", help="read labels too, and print metrics to standard error")
    parser.add_argument("--num-threads", type=int, default=1, metavar="N", help="number of threads (default: 1)")


def run(arguments: argparse.Namespace) -> None:
    """Score."""
    refuse_inputs(arguments.output, arguments.model, arguments.rows, arguments.schema)
    model = load_model(arguments.model)
    totals = metrics_for(model.predictor_type)
    schema = schema_of(arguments)
    classes = () if schema is None else schema.label_classes
    if arguments.along or (arguments.output is not None and arguments.output.suffix == ".csv"):
        _write_table(arguments, model, classes)
        return

    def scores() -> Scores:
        n_rows = 0
        for batch in read_rows(arguments, model.feature_dim, "real" if arguments.metrics else "none"):
            found, std = _scored(model, batch, arguments, n_rows)
            n_rows += len(found)
            if arguments.metrics:
                totals.update(found, batch.known_labels, batch.weights)
            yield found, std

    if arguments.output is None:
        _write_text(standard_output(), scores(), model, classes)
    else:
        write = WRITERS.get(arguments.output.suffix, _write_text)
        with atomic_write(arguments.output) as file:
            write(file, scores(), model, classes)
    if arguments.metrics:
        _say(totals)


def _scored(model: Model, batch: Batch, arguments: argparse.Namespace, n_before: int) -> tuple[Floats, Floats | None]:
    threads = max(1, arguments.num_threads)
    found = model.predict(batch, threads)
    check_scores(found, n_before)
    return found, model.std(batch, threads) if arguments.spread else None


def _say(totals: Metrics) -> None:
    for name, value in totals.values().items():
        print(f"{name} {value:.9g}", file=sys.stderr)


def _write_table(arguments: argparse.Namespace, model: Model, classes: tuple[str, ...]) -> None:
    """Write CSV with a header: columns that are taken along, the score, and the class."""
    totals = metrics_for(model.predictor_type)

    def lines() -> Iterator[bytes]:
        header = _csv([[*arguments.along, "score", *(["std"] if arguments.spread else []),
                        *(["predicted_class"] if classes else [])]])  # fmt: skip
        n_rows = 0
        for along, batch in read_with_tables(arguments, model.feature_dim, arguments.along, arguments.metrics):
            found, std = _scored(model, batch, arguments, n_rows)
            n_rows += len(found)
            if arguments.metrics:
                totals.update(found, batch.known_labels, batch.weights)
            numbers = [found] if std is None else [found, std]
            columns = [*along, *([number.decode() for number in decimals(each)] for each in numbers)]
            if classes:
                columns.append([classes[second] for second in (found >= 0.5).tolist()])
            yield header + _csv(zip(*columns, strict=True))  # no header of rows that cannot be read
            header = b""
        yield header

    if arguments.output is None:
        standard_output().writelines(lines())
    else:
        with atomic_write(arguments.output) as file:
            file.writelines(lines())
    if arguments.metrics:
        _say(totals)


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write_text(file: BinaryIO, scores: Scores, model: Model, classes: tuple[str, ...]) -> None:
    for part, std in scores:
        if std is None:
            file.write(b"".join(b"%b\n" % number for number in decimals(part)))
        else:
            file.write(b"".join(b"%b %b\n" % both for both in zip(decimals(part), decimals(std), strict=True)))


def _write_json_lines(file: BinaryIO, scores: Scores, model: Model, classes: tuple[str, ...]) -> None:
    names = [b',"predicted_class":%b' % json.dumps(name, ensure_ascii=False).encode() for name in classes]
    for part, std in scores:
        stds = itertools.repeat(b"") if std is None else (b',"std":%b' % number for number in decimals(std))
        for number, score, deviation in zip(decimals(part), part.tolist(), stds, strict=False):
            label = b',"predicted_label":%.1f' % (score >= 0.5) if model.is_classifier else b""
            name = names[score >= 0.5] if names else b""
            file.write(b'{"score":%b%b%b%b}\n' % (number, label, name, deviation))


def _write_npy(file: BinaryIO, scores: Scores, model: Model, classes: tuple[str, ...]) -> None:
    parts = [part if std is None else np.column_stack([part, std]) for part, std in scores]
    np.save(file, np.concatenate(parts) if parts else np.empty(0, np.float32))


WRITERS: dict[str, Callable[[BinaryIO, Scores, Model, tuple[str, ...]], None]] = {
    ".jsonl": _write_json_lines,
    ".npy": _write_npy,
}
