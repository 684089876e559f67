"""Write the catalogue of a model: the items that an endpoint recommends. The file is written next to the model.

The table has one row for each item. With --distinct, it is the training data, and the first row of each item counts.
--item names the column of ids; by default it is the first one. Columns that are in the model's schema become features,
and requests can filter by all columns. Without a table, the items are all categories of a column, or a range of
features.

  fm catalogue model films.csv --item film
  fm catalogue model ratings.csv --item film --columns genre,year --distinct
  fm catalogue model --item film
  fm catalogue model --features 943:2625
"""

import argparse
from pathlib import Path

import numpy as np

from fm_core.analysis.catalogue import CATALOGUE_FILE, FEATURES, Catalogue
from fm_core.artifact.model_file import load_model
from fm_core.cli.arguments import feature_range, progress_bar, source
from fm_core.cli.output import refuse_inputs
from fm_core.errors import ConfigError
from fm_core.formats.registry import Role, format_of, formats_for
from fm_core.formats.registry.inputs import Options, read_tables
from fm_core.formats.tables import SCHEMA_FILE, TableSchema
from fm_core.formats.tables.array_table import TextTable
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.table import Table
from fm_core.printable import printable

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm catalogue``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    parser.add_argument("table", type=source, nargs="?", metavar="TABLE", help="items, as csv, tsv, parquet or arrow")
    parser.add_argument("--item", metavar="COLUMN", help="column with the ids of the items (default: the first one)")
    parser.add_argument(
        "--columns", metavar="A,B", type=lambda text: [name for name in text.split(",") if name],
        help="other columns to copy (default: all; with --distinct, give the items' columns)",
    )  # fmt: skip
    parser.add_argument("--distinct", action="store_true", help="ids may repeat: use the first row of each")
    parser.add_argument(
        "--features", type=feature_range, metavar="FROM:TO",
        help="without a schema: the range of features that are items, without TO",
    )  # fmt: skip
    parser.add_argument(
        "--schema", type=Path, metavar="FILE", help="schema file (default: schema.json next to the model)"
    )
    parser.add_argument(
        "--unseen", choices=("error", "ignore"), default="error", help="what to do with categories not in the schema"
    )
    parser.add_argument("--from", dest="from_format", metavar="FORMAT", choices=formats_for(Role.READ),
                        help="format of TABLE (default: by its name)")  # fmt: skip
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help=f"output file (default: {CATALOGUE_FILE} next to the model)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the file."""
    model = load_model(arguments.model)
    folder = arguments.model if arguments.model.is_dir() else arguments.model.parent
    path = arguments.schema or folder / SCHEMA_FILE
    encoder = None
    if arguments.schema is not None or path.exists():
        schema = TableSchema.load(path, model.feature_dim)
        encoder = Encoder(schema, unseen=arguments.unseen, labels="none")
    item = arguments.item
    if arguments.table is not None:
        if arguments.features is not None:
            raise ConfigError("--features and a table exclude each other: give one")
        if arguments.distinct and (item is None or arguments.columns is None):
            raise ConfigError("--distinct needs --item and --columns: name the item's columns")
        of = format_of(arguments.table, arguments.from_format)
        tables = read_tables([arguments.table], of, Options(progress=progress_bar()))
    elif arguments.features is not None:
        tables = iter([_features(arguments.features, model.feature_dim)])
        encoder = None
    elif encoder is not None and item is not None:
        tables = iter([_categories(encoder.schema, item)])
    else:
        raise ConfigError("no items were given, expected a table, --item of a schema, or --features")
    what = str(arguments.table or "the catalogue")
    catalogue = Catalogue.read(
        tables, encoder, model.feature_dim, item=item, columns=arguments.columns, distinct=arguments.distinct, what=what
    )
    output = arguments.output or folder / CATALOGUE_FILE
    refuse_inputs(output, arguments.model, arguments.table, arguments.schema)
    catalogue.save(output)
    print(printable(f"{output}: {len(catalogue):,} items, columns {', '.join(catalogue.columns)}", 1000))


def _features(part: tuple[int, int | None], feature_dim: int) -> Table:
    start, stop = part[0], feature_dim if part[1] is None else part[1]
    if not start < stop <= feature_dim:
        raise ConfigError(
            f"--features is {start}:{stop}, expected a range within 0:{feature_dim}, the model's features"
        )
    return TextTable("--features", {FEATURES: list(map(str, np.arange(start, stop).tolist()))})


def _categories(schema: TableSchema, item: str) -> Table:
    found = [column for column in schema.columns if column.name == item and column.kind == "categorical"]
    if not found or found[0].separator is not None:
        known = [c.name for c in schema.columns if c.kind == "categorical" and c.separator is None]
        raise ConfigError(
            f"--item is {item!r}, expected a column of categories in the schema, one in a cell: {', '.join(known[:20])}"
        )
    return TextTable("the schema", {item: list(found[0].categories)})
