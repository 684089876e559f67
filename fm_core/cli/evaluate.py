"""Say how good a model is on the rows of a file, beside what one says who knows only the mean or base rate.

The schema beside the model encodes tables; --schema names another. The baseline is that of the training data, where
metrics.json beside the model has it, else of the file itself.

  fm evaluate model new.csv
  fm evaluate model.tar.gz test.parquet --json
"""

import argparse
import json
import math
from pathlib import Path

from fm_core.artifact.model_file import load_model
from fm_core.cli.rows import add_row_arguments, read_rows
from fm_core.errors import DataError
from fm_core.printable import printable
from fm_core.tabular.figures import Scored, figures, figures_text
from fm_core.tabular.saved import metrics_beside

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm evaluate``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    add_row_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--num-threads", type=int, default=1, metavar="N", help="threads of the solver (1)")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate."""
    model = load_model(arguments.model)
    scored = Scored()
    for batch in read_rows(arguments, model.feature_dim, "real"):
        labels = batch.known_labels
        if model.is_classifier and not ((labels == 0) | (labels == 1)).all():
            wrong = labels[(labels != 0) & (labels != 1)][0]
            raise DataError(f"{arguments.rows}: a label is {wrong:g}, expected 0 or 1, which a classifier learned")
        scored.add(model.predict(batch, max(1, arguments.num_threads)), labels)
    if not scored.n_rows:
        raise DataError(f"{arguments.rows}: found no rows, expected at least one")
    mean = metrics_beside(arguments.model).get("label_mean")
    if not isinstance(mean, float) or not math.isfinite(mean):
        mean = float(scored.labels.mean())
    found = figures(scored, is_classifier=model.is_classifier, mean=mean)
    if arguments.json:
        document = {
            name: {"model": _plain(figure.value), "baseline": _plain(figure.baseline)} for name, figure in found.items()
        }
        print(json.dumps({"rows": scored.n_rows, **document}, indent=2))
        return
    print(printable(f"{arguments.rows}: {scored.n_rows:,} rows", 1000))
    for line in figures_text(found, is_classifier=model.is_classifier):
        print(line)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
