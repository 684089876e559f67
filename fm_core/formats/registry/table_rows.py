"""Table files as rows of features: with a given schema, or one learned from the files."""

import itertools
import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.registry.files import InputFile, total_size
from fm_core.formats.registry.inputs import Options, RowInput
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.fitting import fit_schema
from fm_core.formats.tables.learner import Learner
from fm_core.formats.tables.schema import TableSchema
from fm_core.formats.tables.table import Table, of_same_columns

__all__ = ["Tables", "open_tables"]

#: Bytes of encoded columns that wait in memory; more of them wait in a file.
_MOST_WAITING = 1 << 22

#: Of what counts the bytes that are read: the tables, from the first file's start.
Tables = Callable[[Callable[[int], Any]], Iterator[Table]]


def open_tables(files: Sequence[InputFile], tables: Tables, options: Options) -> RowInput:
    """Find out which features the tables have, if there is no schema, and give their rows.

    Parameters
    ----------
    files : sequence of InputFile
    tables : callable
        Reads the files from the start: from a callable, which it calls with the number of bytes read, to their tables.
    options : Options

    Returns
    -------
    opened : RowInput

    Raises
    ------
    DataError
        There is no row, or a cell does not match the schema; the message names the file, the row and the column.
    """
    schema = options.schema
    if schema is None:
        read = tables

        def tables(update: Callable[[int], Any]) -> Iterator[Table]:
            return of_same_columns(read(update))

        with options.progress("Looking at columns", total_size(files)) as bar:
            parts = tables(bar.update)
            first = next(parts, None)
            if first is None:
                raise DataError(f"{files[0]}: found no rows, expected at least one")
            if options.plan.fit:
                return _encoded(
                    files, tables, options, fit_schema(itertools.chain([first], parts), options.plan).schema
                )
            learner = Learner(first, options.plan, labels=options.labels)
            if learner.has_categories:
                return _learned(learner, itertools.chain([first], parts), options)
            schema = learner.learned()
    return _encoded(files, tables, options, schema)


def _encoded(files: Sequence[InputFile], tables: Tables, options: Options, schema: TableSchema) -> RowInput:
    encoder = Encoder(schema, unseen=options.unseen, labels=options.labels)
    if options.watch is not None:
        encoder.watched_by(options.watch)

    def batches() -> Iterator[Batch]:
        with options.progress("Encoding", total_size(files)) as bar:
            for table in tables(bar.update):
                yield encoder.encode(table)

    return RowInput(schema.feature_dim, schema, batches)


def _learned(learner: Learner, tables: Iterable[Table], options: Options) -> RowInput:
    """Read tables once: what their columns give waits in a file without a name until all categories are known."""
    folder = None if options.scratch is None else str(options.scratch)
    waiting = tempfile.SpooledTemporaryFile(_MOST_WAITING, dir=folder)  # noqa: SIM115
    n_tables = 0
    try:
        for table in tables:
            found = (table.n_rows, learner.labels(table), learner.read_weights(table), learner.entries(table))
            pickle.dump(found, waiting, pickle.HIGHEST_PROTOCOL)
            n_tables += 1
        encoder = Encoder(learner.learned())
    except BaseException:
        waiting.close()
        raise
    n_bytes = waiting.tell()
    weakref.finalize(encoder, waiting.close)  # when nobody can ask for the rows any more

    def batches() -> Iterator[Batch]:
        with options.progress("Encoding", n_bytes) as bar:
            waiting.seek(0)
            for _ in range(n_tables):
                before = waiting.tell()
                n_rows, labels, weights, entries = pickle.load(waiting)  # which nobody else can have written
                bar.update(waiting.tell() - before)
                yield encoder.join(n_rows, entries, labels, weights)

    return RowInput(encoder.schema.feature_dim, encoder.schema, batches)
