"""Names of features, for people: those of a schema.json, of a text file, or the feature's id."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fm_core.errors import ConfigError
from fm_core.printable import printable

if TYPE_CHECKING:
    from fm_core.formats.tables.schema import TableSchema

__all__ = ["Names", "add_names_argument", "add_schema_argument", "feature_names", "schema_of"]

Names = Callable[[int], str]


def add_schema_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--schema``."""
    parser.add_argument(
        "--schema", type=Path, metavar="FILE", help="schema file (default: schema.json next to the model)"
    )


def add_names_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--names``."""
    parser.add_argument(
        "--names", type=Path, metavar="FILE",
        help="text file of feature names, one per line, feature 0 first (default: the schema's names)",
    )  # fmt: skip


def schema_of(arguments: argparse.Namespace) -> "TableSchema | None":
    """Give the schema that ``--schema`` names, read once, as it may come through a pipe.

    Raises
    ------
    ConfigError
        It is no schema.
    """
    if arguments.schema is None and getattr(arguments, "model", None) is not None:
        from fm_core.artifact.model_file import load_model
        from fm_core.tabular.saved import schema_beside

        found = schema_beside(arguments.model, load_model(arguments.model).feature_dim)
        if found is not None:
            arguments.schema = _Read(arguments.model, found)
    if arguments.schema is not None and not isinstance(arguments.schema, _Read):
        from fm_core.formats.tables.schema import TableSchema

        arguments.schema = _Read(arguments.schema, TableSchema.load(arguments.schema))
    return None if arguments.schema is None else arguments.schema.schema


class _Read(NamedTuple):
    """A schema file that has been read."""

    path: Path
    schema: "TableSchema"

    def __str__(self) -> str:
        return str(self.path)


def feature_names(arguments: argparse.Namespace, feature_dim: int) -> Names:
    """Give the function that names a feature.

    Raises
    ------
    ConfigError
        There are names for another number of features than the model has.
    """
    names: list[str] | None = None
    if arguments.names is not None:
        names = _lines(arguments.names)
    else:
        schema = _schema_for_names(arguments)
        names = None if schema is None else schema.feature_names()
    source = arguments.names or arguments.schema
    if names is None:
        return str
    if len(names) != feature_dim:
        raise ConfigError(f"{source} names {len(names)} features, expected the model's feature_dim={feature_dim}")
    return names.__getitem__


def _schema_for_names(arguments: argparse.Namespace) -> "TableSchema | None":
    """The schema; a schema of other data that is next to the model is ignored, with a message."""
    is_guessed = arguments.schema is None
    try:
        return schema_of(arguments)
    except ConfigError as error:
        if not is_guessed:
            raise
        print(f"note: {printable(str(error), 500)}; features are shown by their ids", file=sys.stderr)
        return None


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} is {error.object[error.start]:#04x}, expected UTF-8 text"
        ) from None
    # not `splitlines`, to which U+2028 in a name ends a line
    return text.removesuffix("\n").split("\n") if text else []
