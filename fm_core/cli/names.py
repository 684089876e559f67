"""Names of features, for people: from a schema.json, or the feature's id."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fm_core.errors import DataError

__all__ = ["add_argument", "feature_names"]

Names = Callable[[int], str]


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--names``."""
    parser.add_argument(
        "--names", type=Path, metavar="FILE", help="names of the features: a text file, one a line, feature 0 first"
    )


def feature_names(path: Path | None, feature_dim: int) -> Names:
    """Give the function that names a feature.

    Raises
    ------
    DataError
        The file has names for another number of features than the model has.
    """
    if path is None:
        return str
    names = path.read_text().splitlines()
    if len(names) != feature_dim:
        raise DataError(f"{path} has {len(names)} names, expected {feature_dim} as the model's feature_dim")
    return names.__getitem__
