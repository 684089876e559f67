"""Parquet and Arrow files: the registry's functions. pyarrow is imported when a file is read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.bad_records import BadRecords
from fm_core.formats.rebatch import rebatched
from fm_core.formats.registry import Format
from fm_core.formats.registry.files import InputFile
from fm_core.formats.registry.inputs import Options, RowInput
from fm_core.formats.registry.table_rows import open_tables
from fm_core.formats.streams import Source
from fm_core.formats.tables.arrow import arrow_tables, parquet_tables
from fm_core.formats.tables.number_rows import number_batches, number_expected, numbers_wanted
from fm_core.formats.tables.table import Table

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
) -> Iterator[Batch]:
    """Read Parquet files of numbers, the label first; rows are dense, whatever `is_dense` says.

    A file is held in memory while it is read, because Parquet has its directory at its end.
    """
    bad = BadRecords(max_bad_records, on_bad_record)
    n_labels = int(labels != "none")

    def batches() -> Iterator[Batch]:
        for source in sources:
            for table in parquet_tables(source.name, b"".join(source.chunks)):
                if len(table.names) != feature_dim + n_labels:
                    raise DataError(
                        f"{source.name}: found {len(table.names)} columns, expected {feature_dim + n_labels}, "
                        f"{numbers_wanted(feature_dim, n_labels)}"
                    )

                def refuse(row: int, column: int, table: Any = table) -> None:
                    found = table.shown(row, column)
                    where = f"{table.source}: {table.place(row)}, column {table.names[column]!r}"
                    bad(f"{where}: {number_expected(found)}")

                def refuse_label(row: int, table: Any = table) -> None:
                    found = table.shown(row, 0)
                    bad(f"{table.source}: {table.place(row)}: the label is {found}, expected 0 or 1")

                numbers, n_wrong = table.numbers(range(feature_dim + n_labels))
                yield from number_batches(numbers, n_wrong > 0, labels, refuse, refuse_label)

    return rebatched(batches(), batch_size)


def read_tables(
    files: Sequence[InputFile], of: Format, options: Options, update: Callable[[int], Any]
) -> Iterator[Table]:
    """Read files one after the other, as they are."""
    read = {"parquet": parquet_tables, "arrow": arrow_tables}[of.name]
    for file in files:
        yield from read(file.name, file.for_library())
        update(file.size)


def open_rows(files: Sequence[InputFile], of: Format, options: Options) -> RowInput:
    """Learn a schema, where there is none."""
    return open_tables(files, lambda update: read_tables(files, of, options, update), options)
