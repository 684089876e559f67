"""Names of features, for people: those of a schema.json, of a text file, or the feature's id."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fm_core.errors import ConfigError

__all__ = ["Names", "add_names_argument", "add_schema_argument", "feature_names"]

Names = Callable[[int], str]


def add_schema_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--schema``."""
    parser.add_argument("--schema", type=Path, metavar="FILE", help="the schema.json that `fm convert` wrote")


def add_names_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--names``."""
    parser.add_argument(
        "--names", type=Path, metavar="FILE",
        help="names of the features: a text file, one a line, feature 0 first (by default those of the schema)",
    )  # fmt: skip


def feature_names(arguments: argparse.Namespace, feature_dim: int) -> Names:
    """Give the function that names a feature.

    Raises
    ------
    ConfigError
        There are names for another number of features than the model has.
    """
    source = arguments.names or arguments.schema
    names: list[str] | None = None
    if arguments.names is not None:
        names = arguments.names.read_text().splitlines()
    elif arguments.schema is not None:
        from fm_core.formats.tables.schema import TableSchema

        names = TableSchema.load(arguments.schema).feature_names()
    if names is None:
        return str
    if len(names) != feature_dim:
        raise ConfigError(f"{source} names {len(names)} features, expected {feature_dim} as the model's feature_dim")
    return names.__getitem__
