"""Write the vectors of a model's features: a matrix for NumPy, a table for Parquet, or TSV for the embedding projector.

With one user feature and one item feature a row, the inner product of [v, w] of the item and
[v, 1] of the user puts items in the order of their scores: fill an index for nearest
neighbours by inner product with `--as items`, and query it with `--as users`.
"""

import argparse
from pathlib import Path

from fm_core.analysis.embeddings import KINDS, write_vectors
from fm_core.artifact.model_file import load_model
from fm_core.cli import names
from fm_core.cli.arguments import feature_range
from fm_core.cli.output import refuse_inputs
from fm_core.printable import printable

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm embeddings``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    parser.add_argument("output", type=Path, metavar="FILE", help="ends in .npy, .parquet or .tsv")
    parser.add_argument(
        "--as", dest="kind", choices=list(KINDS), default="items",
        help="items: [v, w] of each feature; users: [v, 1]; factors: v alone (default: items)",
    )  # fmt: skip
    parser.add_argument(
        "--features", type=feature_range, default=(0, None), metavar="FROM:TO",
        help="range of features, such as 943:2625, without TO (default: all)",
    )  # fmt: skip
    names.add_schema_argument(parser)
    names.add_names_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the file, or the two of TSV."""
    refuse_inputs(arguments.output, arguments.model)
    model = load_model(arguments.model)
    start, stop = arguments.features
    features = range(start, model.feature_dim if stop is None else stop)
    name_of = names.feature_names(arguments, model.feature_dim)
    for path in write_vectors(arguments.output, model, arguments.kind, features, name_of):
        print(printable(str(path)))
