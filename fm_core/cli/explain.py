"""Print what each feature, and each pair of features, contributes to the score of a row.

The model is a sum, so the contributions add up to the score exactly; a classifier's add up
to the log odds, whose logistic function is the score.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fm_core.analysis.explanation import Explanation, explain
from fm_core.artifact.model_file import load_model
from fm_core.batch import Batch
from fm_core.cli import names
from fm_core.cli.rows import add_row_arguments, read_rows
from fm_core.errors import DataError
from fm_core.model import Model
from fm_core.printable import printable, printable_json

__all__ = ["add_arguments", "run"]

#: Explanations are many times their rows.
_ROWS_AT_ONCE = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm explain``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    add_row_arguments(parser)
    parser.add_argument(
        "--row", type=int, metavar="N", help="explain this row only, counted from 0 (default: all rows)"
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="number of features, and of pairs, to list (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object for each row, on a line of its own")
    names.add_names_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Explain."""
    model = load_model(arguments.model)
    name_of = names.feature_names(arguments, model.feature_dim)
    show = _json if arguments.json else _text
    if model.is_classifier and not arguments.json:
        print("Shares of the logarithm of the odds; a score is the logistic function of their total.")
    n_shown = 0
    for row, score, explanation in _explained(model, read_rows(arguments, model.feature_dim), arguments.row):
        print(show(row, score, explanation, max(arguments.top, 0), name_of))
        n_shown += 1
    if arguments.row is not None and not n_shown:
        raise DataError(f"{arguments.rows} has no row {arguments.row}: rows are counted from 0")


def _explained(model: Model, batches: Iterator[Batch], wanted: int | None) -> Iterator[tuple[int, float, Explanation]]:
    start = 0
    for batch in batches:
        stop, scores = start + batch.n_rows, model.predict(batch).tolist()
        rows = range(start, stop) if wanted is None else range(max(wanted, start), min(wanted + 1, stop))
        for first in rows[::_ROWS_AT_ONCE]:
            part = range(first, min(first + _ROWS_AT_ONCE, rows.stop))
            found = explain(model, batch, (row - start for row in part))
            yield from zip(part, scores[first - start :], found, strict=False)
        start = stop
        if wanted is not None and start > wanted:
            return


def _json(row: int, score: float, explanation: Explanation, top: int, name_of: names.Names) -> str:
    shares = _shares(explanation, top, name_of)
    return printable_json(json.dumps({"row": row, "score": score, **shares}, ensure_ascii=False))


def _shares(explanation: Explanation, top: int, name_of: names.Names) -> dict[str, Any]:
    document = explanation.as_document(top)
    for share in document["features"]:
        share["name"] = name_of(share["feature"])
    for share in document["pairs"]:
        share["names"] = [name_of(feature) for feature in share["features"]]
    return document


def _text(row: int, score: float, explanation: Explanation, top: int, name_of: names.Names) -> str:
    shares = _shares(explanation, top, name_of)
    lines = [f"row {row}: score {score:.6g}", f"  {shares['bias']:>+12.6f}  bias"]
    lines += [f"  {share['share']:>+12.6f}  {share['name']}" for share in shares["features"]]
    lines += [f"  {share['share']:>+12.6f}  {' x '.join(share['names'])}" for share in shares["pairs"]]
    if shares["n_left_out"]:
        lines.append(f"  {shares['rest']:>+12.6f}  {shares['n_left_out']:,} smaller shares")
    lines.append(f"  {shares['total']:>+12.6f}  total")
    return "\n".join(printable(line, 1000) for line in lines)
