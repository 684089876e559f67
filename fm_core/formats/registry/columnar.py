"""Parquet and Arrow files: the registry's functions. pyarrow is imported when a file is read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.bad_records import BadRecords
from fm_core.formats.column_order import ColumnOrder
from fm_core.formats.hive import partitions_of
from fm_core.formats.rebatch import rebatched
from fm_core.formats.registry import Format
from fm_core.formats.registry.files import InputFile
from fm_core.formats.registry.inputs import Options, RowInput
from fm_core.formats.registry.table_rows import open_tables
from fm_core.formats.streams import Source
from fm_core.formats.tables.arrow import arrow_tables, parquet_tables
from fm_core.formats.tables.number_rows import number_batches, number_expected, numbers_of_folders, numbers_wanted
from fm_core.formats.tables.partitioned import beside_folders
from fm_core.formats.tables.table import INDEX, Table
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["open_rows", "read_batches", "read_tables"]


def read_batches(
    sources: Iterable[Source],
    *,
    feature_dim: int,
    batch_size: int,
    labels: str,
    is_dense: bool | None = None,
    max_bad_records: int = 0,
    on_bad_record: Callable[[str], None] | None = None,
    weights: bool = False,
    order: ColumnOrder | None = None,
) -> Iterator[Batch]:
    """Read Parquet files of numbers, the label first; rows are dense, whatever `is_dense` says.

    A file is held in memory while it is read, because Parquet has its directory at its end. The first file, or `order`,
    says in which order columns are; those of the others are found by their names. Folders such as ``day=3`` above a
    file are columns behind its own, as Hive and Spark write them. The index of a DataFrame is no column, and none of
    the columns is a weight, whatever `weights` says.

    The parameters are those of `fm_core.formats.read_batches`.

    Yields
    ------
    batch : Batch
        Dense, of `batch_size` rows but for the last.

    Raises
    ------
    DataError
        A file is damaged, has other columns than expected, or a cell is not a finite number. The message names the file
        and, of a cell, its row and column.
    """
    bad = BadRecords(max_bad_records, on_bad_record)
    n_labels = int(labels != "none")
    order = order or ColumnOrder()

    def batches() -> Iterator[Batch]:
        for source in sources:
            for table in parquet_tables(source.name, b"".join(source.chunks)):
                partitions = partitions_of(source.name)
                every = [*table.names, *partitions]
                names = [name for name in every if table.notes.get(name) != INDEX]
                if len(names) != feature_dim + n_labels:
                    besides = [quoted(name) for name in every if table.notes.get(name) == INDEX]
                    raise DataError(
                        f"{source.name}: found {len(names)} columns, expected {feature_dim + n_labels}, "
                        f"{numbers_wanted(feature_dim, n_labels)}"
                        + (f"; {besides[0]} is {INDEX}, and no column" if besides else "")
                    )
                places = [every.index(names[place]) for place in order.places(source.name, names)]

                def refuse(row: int, column: int, table: Any = table, places: Any = places) -> None:
                    found = table.shown(row, places[column])
                    where = f"{table.source}: {table.place(row)}, column {table.names[places[column]]!r}"
                    bad(f"{where}: {number_expected(found)}")

                def refuse_label(row: int, table: Any = table, places: Any = places) -> None:
                    found = table.shown(row, places[0])
                    bad(f"{table.source}: {table.place(row)}: the label is {found}, expected 0 or 1")

                own = [place for place in places if place < len(table.names)]
                numbers, n_wrong = table.numbers(own)
                if partitions:
                    numbers = _with_partitions(source.name, numbers, places, partitions, len(table.names))
                yield from number_batches(numbers, n_wrong > 0, labels, refuse, refuse_label)

    return rebatched(batches(), batch_size)


def _with_partitions(
    source: str, numbers: "NDArray[np.float32]", places: Sequence[int], partitions: Mapping[str, str], n_own: int
) -> "NDArray[np.float32]":
    """Put columns of one value each among those of the file."""
    whole = np.empty((len(numbers), len(places)), np.float32)
    is_own = np.array([place < n_own for place in places])
    whole[:, is_own] = numbers
    values = numbers_of_folders(source, partitions)
    for column in np.flatnonzero(~is_own).tolist():
        whole[:, column] = values[places[column] - n_own]
    return whole


def read_tables(
    files: Sequence[InputFile], of: Format, options: Options, update: Callable[[int], Any]
) -> Iterator[Table]:
    """Read files one after the other; folders such as ``year=2024`` directly above a file are columns of it.

    The parameters are those of `fm_core.formats.registry.inputs.read_tables`, of one format; `update` is called with
    the number of bytes that were read.

    Yields
    ------
    table : Table
    """
    read = {"parquet": parquet_tables, "arrow": arrow_tables}[of.name]
    for file in files:
        yield from beside_folders(str(file.path), read(file.name, file.for_library()))
        update(file.size)


def open_rows(files: Sequence[InputFile], of: Format, options: Options) -> RowInput:
    """Learn a schema, if there is none, and return the rows.

    The parameters are those of `fm_core.formats.registry.inputs.open_rows`, of one format.

    Returns
    -------
    opened : RowInput

    Raises
    ------
    DataError
        There is no row, or a cell does not match the schema.
    """
    return open_tables(files, lambda update: read_tables(files, of, options, update), options)
