"""Score the rows of a file: one score a line, in the order of the rows.

A classifier's score is the probability of label 1. With an output that ends in .jsonl, each
line is what an endpoint would answer; one that ends in .npy gets an array of float32.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fm_core.artifact.model_file import load_model
from fm_core.atomic_file import atomic_write
from fm_core.cli.rows import add_row_arguments, read_rows
from fm_core.errors import DataError
from fm_core.formats.text.numbers import decimals
from fm_core.metrics import metrics_for
from fm_core.model import Model

__all__ = ["add_arguments", "run"]

Scores = Iterator[NDArray[np.float32]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm predict``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    add_row_arguments(parser)
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="written instead of standard output")
    parser.add_argument(
        "--metrics", action="store_true", help="read labels too, and print evaluation metrics to standard error"
    )
    parser.add_argument("--num-threads", type=int, default=1, metavar="N", help="threads of the solver (1)")


def run(arguments: argparse.Namespace) -> None:
    """Score."""
    model = load_model(arguments.model)
    totals = metrics_for(model.predictor_type)

    def scores() -> Scores:
        n_rows = 0
        for batch in read_rows(arguments, model.feature_dim, "real" if arguments.metrics else "none"):
            found = model.predict(batch, max(1, arguments.num_threads))
            _check_finite(found, n_rows)
            n_rows += len(found)
            if arguments.metrics:
                totals.update(found, batch.known_labels)
            yield found

    if arguments.output is None:
        _write_text(sys.stdout.buffer, scores(), model)
        sys.stdout.flush()
    else:
        write = WRITERS.get(arguments.output.suffix, _write_text)
        with atomic_write(arguments.output) as file:
            write(file, scores(), model)
    if arguments.metrics:
        for name, value in totals.values().items():
            print(f"{name} {value:.9g}", file=sys.stderr)


def _check_finite(scores: NDArray[np.float32], n_before: int) -> None:
    finite = np.isfinite(scores)
    if not finite.all():
        row = n_before + int(np.argmin(finite))
        raise DataError(f"the score of row {row} overflows float32: its values are too large")


def _write_text(file: BinaryIO, scores: Scores, model: Model) -> None:
    for part in scores:
        file.write(b"".join(b"%b\n" % number for number in decimals(part)))


def _write_json_lines(file: BinaryIO, scores: Scores, model: Model) -> None:
    for part in scores:
        for number, score in zip(decimals(part), part.tolist(), strict=True):
            label = b',"predicted_label":%.1f' % (score >= 0.5) if model.is_classifier else b""
            file.write(b'{"score":%b%b}\n' % (number, label))


def _write_npy(file: BinaryIO, scores: Scores, model: Model) -> None:
    parts = list(scores)
    np.save(file, np.concatenate(parts) if parts else np.empty(0, np.float32))


WRITERS: dict[str, Callable[[BinaryIO, Scores, Model], None]] = {".jsonl": _write_json_lines, ".npy": _write_npy}
