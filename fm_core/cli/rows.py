"""Rows of a file in any format, for a model that is there: with a bar on a terminal."""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator

import numpy as np

from fm_core.batch import Batch
from fm_core.cli.arguments import add_text_arguments, progress_bar, source, text_options, warn_of_folders
from fm_core.cli.names import add_schema_argument, schema_of
from fm_core.errors import ConfigError
from fm_core.formats.registry import Role, format_of, formats_for
from fm_core.formats.registry.inputs import Options, check_width, open_rows, read_tables
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.learner import TablePlan, find_column
from fm_core.formats.tables.schema import TableSchema
from fm_core.formats.tables.table import Table
from fm_core.formats.tables.watch import COUNTS, ColumnCounts
from fm_core.printable import printable

__all__ = ["add_row_arguments", "read_rows", "read_with_tables"]

#: A separator: with one, cells of text are given as they stand, and lists joined by it.
_AS_THEY_STAND = "|"

#: A column is warned of where more than this share of its cells holds what nothing was learned of.
_STRANGE = 0.5


def add_row_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options for reading rows."""
    parser.add_argument(
        "rows", type=source, metavar="FILE", help="rows, in any format that `fm convert` reads; -: standard input"
    )
    add_schema_argument(parser)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--from",
        dest="from_format",
        metavar="FORMAT",
        choices=formats_for(Role.READ),
        help="format of FILE (default: by its name)",
    )
    group.add_argument(
        "--label", metavar="COLUMN", help="a column that is not a feature, in a table of numbers without a schema"
    )
    group.add_argument(
        "--first-id",
        type=int,
        choices=(0, 1),
        default=0,
        help="id of the first feature in libsvm and libFM text (default: 0)",
    )
    group.add_argument(
        "--unseen", choices=("error", "ignore"), default="error", help="what to do with categories not in the schema"
    )
    add_text_arguments(parser)


def read_rows(arguments: argparse.Namespace, feature_dim: int, labels: str = "none") -> Iterator[Batch]:
    """Read the rows of a file.

    Parameters
    ----------
    arguments : argparse.Namespace
    feature_dim : int
    labels : {"none", "real"}
        Whether labels are read too.

    Raises
    ------
    ConfigError
        Columns that hold texts need the schema by which they became features.
    """
    of = format_of(arguments.rows, arguments.from_format)
    warn_of_folders([arguments.rows], of)
    schema = schema_of(arguments)
    watch, strange = _watch(arguments, schema if of.is_table else None)
    must_be_numbers = of.is_table and schema is None
    options = Options(
        # Of columns it is said first whether they can be the model's: were some taken for categories, they are not.
        feature_dim=None if must_be_numbers else feature_dim,
        first_key=arguments.first_id,
        labels=labels,
        plan=TablePlan(label=arguments.label),
        schema=schema,
        unseen=arguments.unseen,
        progress=progress_bar(),
        watch=watch,
        **text_options(arguments),
    )
    opened = open_rows([arguments.rows], of, options)
    if must_be_numbers:
        texts = [c.name for c in opened.schema.columns if c.kind != "numeric"] if opened.schema else []
        if texts:
            raise ConfigError(
                f"{arguments.rows}: column {texts[0]!r} holds texts, which need --schema: "
                "the schema.json by which the training data was converted"
            )
        check_width(arguments.rows, opened, feature_dim)
    return itertools.chain(opened.batches(), strange())


def read_with_tables(
    arguments: argparse.Namespace, feature_dim: int, along: list[str], with_labels: bool
) -> Iterator[tuple[list[list[str]], Batch]]:
    """Read a table, and yield its rows together with the unchanged cells of some columns.

    Parameters
    ----------
    arguments : argparse.Namespace
        With `rows`, the file, and how to read it.
    feature_dim : int
        Of the model.
    along : list of str
        Names of the columns.
    with_labels : bool
        Whether rows have labels.

    Yields
    ------
    cells : list of list of str
        For each of the columns, its cells.
    batch : Batch

    Raises
    ------
    ConfigError
        The file has no columns, or there is no schema.
    DataError
        A column is absent.
    """
    of = format_of(arguments.rows, arguments.from_format)
    schema = schema_of(arguments)
    labels = "real" if with_labels else "none"
    if not along:
        yield from (([], batch) for batch in read_rows(arguments, feature_dim, labels))
        return
    if not of.is_table or schema is None:
        raise ConfigError(f"{arguments.rows}: --with needs a table and a schema, expected both")
    encoder = Encoder(schema, unseen=arguments.unseen, labels=labels)
    watch, strange = _watch(arguments, schema)
    if watch is not None:
        encoder.watched_by(watch)
    options = Options(schema=schema, progress=progress_bar(), **text_options(arguments))
    for table in read_tables([arguments.rows], of, options):
        yield [_cells(table, name) for name in along], encoder.encode(table)
    for _ in strange():
        pass


def _watch(
    arguments: argparse.Namespace, schema: TableSchema | None
) -> tuple[ColumnCounts | None, Callable[[], Iterator[Batch]]]:
    """Give what counts the cells that a model has learned nothing of, and what warns of columns full of them.

    A score is made all the same, of what else is in a row. In a column where most cells are so, it is
    another spelling, unit or encoding more often than news.
    """
    if schema is None:
        return None, lambda: iter(())
    names = [column.name for column in schema.columns]
    counts = np.zeros((len(names), len(COUNTS)), np.int64)

    def warn() -> Iterator[Batch]:
        for name, (values, missing, unseen, outside) in zip(names, counts.tolist(), strict=True):
            n_there = values - missing
            for n, what in ((unseen, "are not in the schema"), (outside, "are outside the range of the training data")):
                if n > _STRANGE * n_there:
                    print(
                        printable(f"{arguments.rows}: column {name!r}: {n} of {n_there} cells {what}", 1000),
                        file=sys.stderr,
                    )
        yield from ()  # after the last row

    return ColumnCounts(names, counts, {}), warn


def _cells(table: Table, name: str) -> list[str]:
    place = find_column(table, name)[0]
    codes, texts = table.codes(place, _AS_THEY_STAND)
    return [texts[code] if code >= 0 else "" for code in codes.tolist()]
