"""Add users or items that came after training to a model and its schema, from a table of their rows, without training.

The table has the columns of the training data, including the label. Rows whose id in the column of --of is not in the
schema are used: each new id gets the most probable parameters for its rows, and all other parameters stay as they are.
An endpoint finds the same ones for such a `history`. If there is a catalogue next to the model, the id of an item is
enough. The folder of --output gets the model, its schema.json and its catalogue.csv.

  fm fold-in model new-ratings.csv --of user --output model-of-today
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from fm_core.analysis.catalogue import Catalogue
from fm_core.analysis.history import History, grown
from fm_core.artifact.model_file import load_model, read_meta, save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.atomic_file import atomic_files
from fm_core.cli.arguments import progress_bar, source
from fm_core.errors import ConfigError, DataError
from fm_core.formats.registry import Role, format_of, formats_for
from fm_core.formats.registry.inputs import Options, read_tables
from fm_core.formats.tables import CATALOGUE_FILE, SCHEMA_FILE, TableSchema
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.table import Table, no_column, where
from fm_core.printable import begun, printable

__all__ = ["add_arguments", "run"]

_MODEL = "model_algo-1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm fold-in``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    parser.add_argument("table", type=source, metavar="TABLE", help="rows with labels, as csv, tsv, parquet or arrow")
    parser.add_argument("--of", required=True, metavar="COLUMN", help="the column that has new ids")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FOLDER", help="output folder")
    parser.add_argument(
        "--schema", type=Path, metavar="FILE", help="schema file (default: schema.json next to the model)"
    )
    parser.add_argument("--label", metavar="COLUMN", help="the label column (default: the label of the schema)")
    parser.add_argument(
        "--unseen",
        choices=("error", "ignore"),
        default="error",
        help="what to do with other columns' unknown categories",
    )
    parser.add_argument("--from", dest="from_format", metavar="FORMAT", choices=formats_for(Role.READ),
                        help="format of TABLE (default: by its name)")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Fold in, and write the model."""
    model = load_model(arguments.model)
    folder = arguments.model if arguments.model.is_dir() else arguments.model.parent
    path = arguments.schema or folder / SCHEMA_FILE
    if not path.exists():
        raise ConfigError(f"{path} does not exist, expected the schema.json by which the training data was converted")
    schema = TableSchema.load(path, model.feature_dim)
    encoder = Encoder(schema, unseen=arguments.unseen, labels="none")
    column = arguments.of
    _, grown_schema = grown(model, schema, column, {})  # refuses the column before the table is read
    label = arguments.label or schema.label
    if label is None:
        raise ConfigError("the schema has no label, expected --label with the column that holds it")
    catalogue_file = folder / CATALOGUE_FILE
    catalogue = Catalogue.load(catalogue_file, encoder, model.feature_dim) if catalogue_file.exists() else None
    of_items = catalogue is not None and column in catalogue.columns
    histories = _histories(arguments, encoder, column, label)
    if not histories:
        raise DataError(f"{arguments.table}: every id of column {column[:40]!r} is in the schema, so nothing is new")
    history = History(model, encoder, None if of_items else catalogue)
    found = {
        text: history.fold(column, rows, f"{arguments.table}, {column}={text[:40]}, row")[0]
        for text, rows in histories.items()
    }
    new_model, grown_schema = grown(model, schema, column, found)
    settings = read_meta(arguments.model).get("training_parameters", {})
    with atomic_files(arguments.output) as begun:
        save_model(begun / _MODEL, new_model, settings)
        spread = save_spread(begun, new_model)
        grown_schema.save(begun / SCHEMA_FILE)
        if catalogue is not None:
            shutil.copyfile(catalogue_file, begun / CATALOGUE_FILE)
    if spread is None:
        save_spread(arguments.output, new_model)  # the one of an earlier model goes
    said = f"{arguments.output / _MODEL}: {len(found):,} new of {column}, feature_dim is {new_model.feature_dim}"
    if of_items:
        said += f"; {CATALOGUE_FILE} does not have them: run `fm catalogue` again"
    print(printable(said, 1000))


def _histories(
    arguments: argparse.Namespace, encoder: Encoder, column: str, label: str
) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of each id that is new, in the order of their first rows."""
    found: dict[str, list[dict[str, Any]]] = {}
    of = format_of(arguments.table, arguments.from_format)
    options = Options(header=True if of.name in ("csv", "tsv") else None, progress=progress_bar())
    for table in read_tables([arguments.table], of, options):
        for name in (column, label):
            if name not in table.names:
                raise no_column(table, name)
        cells = {
            each.name: _texts(table, table.names.index(each.name), each.separator)
            for each in encoder.schema.columns
            if each.name in table.names and each.name != column
        }
        ids, labels = _texts(table, table.names.index(column)), _texts(table, table.names.index(label))
        for row, (text, value) in enumerate(zip(ids, labels, strict=True)):
            if text is None:
                raise DataError(f"{where(table, row, table.names.index(column))}: the cell is empty, expected an id")
            if encoder.knows(column, text):
                continue
            entry: dict[str, Any] = {name: texts[row] for name, texts in cells.items()}
            entry["label"] = _number(value, encoder.schema, f"{where(table, row, table.names.index(label))}")
            found.setdefault(text, []).append(entry)
    return found


def _texts(table: Table, place: int, separator: str | None = None) -> list[str | None]:
    codes, texts = table.codes(place, separator) if table.is_list(place) else table.codes(place)
    known = [*texts, None]  # -1: an empty cell
    return [known[code] for code in codes.tolist()]


def _number(text: str | None, schema: TableSchema, place: str) -> float:
    if schema.label_classes:
        if text in schema.label_classes:
            return float(schema.label_classes.index(text))
        raise DataError(f"{place}: the label is {begun(text)!r}, expected {' or '.join(schema.label_classes)}")
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{place}: the label is {begun(text)!r}, expected a number") from None
