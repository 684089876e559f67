"""Training data that is text or Parquet, as batches: what `read_batches` is for RecordIO.

The functions have its parameters and its discipline with bad rows. CSV and Parquet give
dense rows, their first column the label; there is no header. libsvm gives sparse rows, keys
counted from 0. A row of the same float32 numbers is the same row in each format.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.bad_records import BadRecords
from fm_core.formats.canonical import summed_batches
from fm_core.formats.rebatch import rebatched
from fm_core.formats.streams import Source
from fm_core.formats.tables.arrow import parquet_tables
from fm_core.formats.text.parse import cell_blocks, libsvm_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_csv_batches", "read_libsvm_batches", "read_parquet_batches"]


def read_libsvm_batches(
    sources: Iterable[Source],
    *,
    feature_dim: int,
    batch_size: int,
    labels: str,
    is_dense: bool | None = None,
    max_bad_records: int = 0,
    on_bad_record: Callable[[str], None] | None = None,
) -> Iterator[Batch]:
    """Read lines ``label key:value key:value ...``; the parameters are those of `read_batches`.

    Rows are sparse, whatever `is_dense` says. Blank lines and comments are no rows.
    """
    bad = BadRecords(max_bad_records, on_bad_record)

    def batches() -> Iterator[Batch]:
        for source in sources:
            for block in libsvm_blocks(
                source.name, source.chunks, feature_dim=feature_dim, labels=labels, on_bad_line=bad
            ):
                yield from summed_batches(block, source.name, feature_dim, bad)

    return rebatched(batches(), batch_size)


def read_csv_batches(
    sources: Iterable[Source],
    *,
    feature_dim: int,
    batch_size: int,
    labels: str,
    is_dense: bool | None = None,
    max_bad_records: int = 0,
    on_bad_record: Callable[[str], None] | None = None,
) -> Iterator[Batch]:
    """Read lines ``label,x0,x1,...`` without a header; the parameters are those of `read_batches`.

    Rows are dense, whatever `is_dense` says.
    """
    bad = BadRecords(max_bad_records, on_bad_record)
    n_labels = int(labels != "none")

    def batches() -> Iterator[Batch]:
        for source in sources:
            for block in cell_blocks(
                source.name,
                source.chunks,
                n_columns=feature_dim + n_labels,
                why=f", {_wanted(feature_dim, n_labels)}",
                on_bad_line=bad,
            ):

                def refuse(row: int, column: int, name: str = source.name, block: Any = block) -> None:
                    text = block.text(row, column).decode(errors="replace")[:40]
                    hint = "; a header is not expected" if block.lines[row] == 1 else ""
                    bad(f"{name}: line {block.lines[row]}, column {column}: {_number_expected(repr(text))}{hint}")

                def refuse_label(row: int, name: str = source.name, block: Any = block) -> None:
                    text = block.text(row, 0).decode(errors="replace")[:40]
                    bad(f"{name}: line {block.lines[row]}: the label is {text!r}, expected 0 or 1")

                numbers, n_wrong = block.numbers(range(feature_dim + n_labels))
                yield from _dense_batches(numbers, n_wrong > 0, labels, refuse, refuse_label)

    return rebatched(batches(), batch_size)


def read_parquet_batches(
    sources: Iterable[Source],
    *,
    feature_dim: int,
    batch_size: int,
    labels: str,
    is_dense: bool | None = None,
    max_bad_records: int = 0,
    on_bad_record: Callable[[str], None] | None = None,
) -> Iterator[Batch]:
    """Read Parquet files, all columns numbers; the parameters are those of `read_batches`.

    Rows are dense, whatever `is_dense` says. A file is held in memory while it is read,
    because Parquet has its directory at its end.
    """
    bad = BadRecords(max_bad_records, on_bad_record)
    n_labels = int(labels != "none")

    def batches() -> Iterator[Batch]:
        for source in sources:
            n_before = 0
            for table in parquet_tables(source.name, b"".join(source.chunks)):
                if len(table.names) != feature_dim + n_labels:
                    raise DataError(
                        f"{source.name}: found {len(table.names)} columns, expected {feature_dim + n_labels}, "
                        f"{_wanted(feature_dim, n_labels)}"
                    )

                def refuse(row: int, column: int, table: Any = table) -> None:
                    found = table.shown(row, column)
                    where = f"{table.source}: {table.place(row)}, column {table.names[column]!r}"
                    bad(f"{where}: {_number_expected(found)}")

                def refuse_label(row: int, table: Any = table) -> None:
                    found = table.shown(row, 0)
                    bad(f"{table.source}: {table.place(row)}: the label is {found}, expected 0 or 1")

                numbers, n_wrong = table.numbers(range(feature_dim + n_labels))
                n_before += table.n_rows
                yield from _dense_batches(numbers, n_wrong > 0, labels, refuse, refuse_label)

    return rebatched(batches(), batch_size)


def _dense_batches(
    numbers: "NDArray[np.float32]",
    has_wrong: bool,
    labels: str,
    refuse: Callable[[int, int], None],
    refuse_label: Callable[[int], None],
) -> Iterator[Batch]:
    """Make a batch of rows whose first column is the label, without those that are refused but may be skipped.

    The rows before one that ends the reading come first, so that it makes no difference where chunks end.
    """
    wrong = np.isnan(numbers) if has_wrong else np.zeros((len(numbers), 1), bool)
    bad = np.asarray(wrong.any(axis=1))
    other = np.zeros(len(numbers), bool)
    if labels == "binary":
        other = (numbers[:, 0] != 0) & (numbers[:, 0] != 1) & ~bad
    refused = np.flatnonzero(bad | other)
    failure = None
    for n_before, row in enumerate(refused.tolist()):
        try:
            if bad[row]:
                refuse(row, int(np.argmax(wrong[row])))
            else:
                refuse_label(row)
        except DataError as error:
            failure, numbers, refused = error, numbers[:row], refused[:n_before]
            break
    if len(refused):
        numbers = np.delete(numbers, refused, axis=0)
    if labels == "none":
        yield Batch.trusted(numbers.shape[1], np.ascontiguousarray(numbers))
    else:
        features, first = np.ascontiguousarray(numbers[:, 1:]), np.ascontiguousarray(numbers[:, 0])
        yield Batch.trusted(features.shape[1], features, labels=first)
    if failure is not None:
        raise failure


def _wanted(feature_dim: int, n_labels: int) -> str:
    return f"{'a label and ' if n_labels else ''}feature_dim={feature_dim} numbers"


def _number_expected(found: str) -> str:
    return f"found {found}, expected a number that is finite as float32"
