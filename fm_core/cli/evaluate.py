"""Print how good a model is on the rows of a file, compared with predicting the mean or base rate for every row.

Tables are encoded by the schema next to the model, or by --schema. The mean or base rate is that of the training data,
if metrics.json is next to the model, else that of the file. --user adds ranking metrics of each user's rows. With
--seen, they rank all items of the training rows, as an endpoint does when it recommends.

  fm evaluate model new.csv
  fm evaluate model.tar.gz test.parquet --json
  fm evaluate model test.csv --user user --items film --relevant 4 --seen train.csv
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from fm_core.artifact.model_file import load_model
from fm_core.cli.rankings import METRICS, Rankings, add_ranking_arguments
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
    add_ranking_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--num-threads", type=int, default=1, metavar="N", help="number of threads (default: 1)")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate."""
    model = load_model(arguments.model)
    scored = Scored()
    rankings = Rankings(arguments, model)
    for batch in read_rows(arguments, model.feature_dim, "real"):
        labels = batch.known_labels
        if model.is_classifier and not ((labels == 0) | (labels == 1)).all():
            wrong = labels[(labels != 0) & (labels != 1)][0]
            raise DataError(f"{arguments.rows}: a label is {wrong:g}, expected 0 or 1, which a classifier learned")
        scores = model.predict(batch, max(1, arguments.num_threads))
        scored.add(scores, labels, batch.weights)
        rankings.update(batch, scores)
    if not scored.n_rows:
        raise DataError(f"{arguments.rows}: found no rows, expected at least one")
    mean = metrics_beside(arguments.model).get("label_mean")
    if not isinstance(mean, float) or not math.isfinite(mean):
        mean = scored.mean_label
    found = figures(scored, is_classifier=model.is_classifier, mean=mean)
    of_rankings = rankings.values()
    if arguments.json:
        document: dict[str, Any] = {
            name: {"model": _plain(figure.value), "baseline": _plain(figure.baseline)} for name, figure in found.items()
        }
        if rankings.is_wanted:
            document["rankings"] = {name: _plain(value) for name, value in of_rankings.items()}
        print(json.dumps({"rows": scored.n_rows, **document}, indent=2))
        return
    print(printable(f"{arguments.rows}: {scored.n_rows:,} rows", 1000))
    for line in figures_text(found, is_classifier=model.is_classifier):
        print(line)
    if rankings.is_wanted:
        of_what = "all items that were not seen" if rankings.is_full else "each user's rows"
        print(f"the first {rankings.k} of {of_what}:")
        for name, value in of_rankings.items():
            print(f"  {METRICS[name.partition('_at_')[0]]:<20} {'-' if math.isnan(value) else f'{value:.4f}':>12}")


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
