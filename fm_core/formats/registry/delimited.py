"""CSV and TSV: the registry's functions.

Channels take rows of numbers without a header, the label first; files and requests columns of any kind, by a schema.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.bad_records import BadRecords
from fm_core.formats.column_order import ColumnOrder, some_names
from fm_core.formats.hive import folders_above, partitions_of
from fm_core.formats.rebatch import rebatched
from fm_core.formats.registry import Format
from fm_core.formats.registry.files import InputFile
from fm_core.formats.registry.inputs import Options, RequestRows, RowInput
from fm_core.formats.registry.table_rows import open_tables
from fm_core.formats.requests.named_columns import decode_named_csv
from fm_core.formats.streams import Sink, Source, pieces_of, transcoded
from fm_core.formats.tables.delimited import cell_tables, rest_of
from fm_core.formats.tables.number_rows import number_batches, number_expected, numbers_of_folders, numbers_wanted
from fm_core.formats.tables.partitioned import beside_folders
from fm_core.formats.tables.table import Table
from fm_core.formats.text.parse import cell_blocks

if TYPE_CHECKING:
    from fm_core.formats.tables.encoder import Encoder

__all__ = ["decode_request", "make_writer", "open_rows", "read_batches", "read_tables"]


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
    """Read lines ``label,x0,x1,...`` without a header; rows are dense, whatever `is_dense` says.

    With `weights`, lines are ``label,weight,x0,x1,...``, as SageMaker's XGBoost has them. Folders such as ``day=3``
    above a file are columns behind its own, as Hive and Spark write them; the first file, or `order`,
    says in which order.

    The parameters are those of `fm_core.formats.read_batches`.

    Yields
    ------
    batch : Batch
        Dense, of `batch_size` rows but for the last.

    Raises
    ------
    DataError
        A line has another number of cells than expected, or a cell is not a finite number; or files have different
        folders above them. The message names the file and, of a cell, its line and column.
    """
    bad = BadRecords(max_bad_records, on_bad_record)

    def batches() -> Iterator[Batch]:
        found = order or ColumnOrder()
        for source in sources:
            folders = partitions_of(source.name)
            names = list(folders)
            places = found.places(source.name, names, "the folders above it")
            folders = {names[place]: folders[names[place]] for place in places}
            yield from _batches(
                source, feature_dim, labels, bad, weights=weights, hint="a header is not expected", folders=folders
            )

    return rebatched(batches(), batch_size)


def _batches(
    source: Source, feature_dim: int, labels: str, bad: Callable[[str], None], *, header: bool = False, hint: str,
    weights: bool = False, folders: Mapping[str, str] | None = None,
) -> Iterator[Batch]:  # fmt: skip
    n_labels = int(labels != "none")
    constant = numbers_of_folders(source.name, folders or {})
    n_columns = feature_dim + n_labels + int(weights) - len(constant)
    of_folders = f", of which {len(constant)} from folders ({some_names(folders)})" if folders else ""
    if n_columns < 1:
        raise DataError(
            f"{source.name}: the folders above it are the columns {some_names(folders or {})}, which leaves none for "
            f"the file, expected {numbers_wanted(feature_dim, n_labels, int(weights))}"
        )
    blocks = cell_blocks(
        source.name,
        source.chunks,
        n_columns=n_columns,
        why=f", {numbers_wanted(feature_dim, n_labels, int(weights))}{of_folders}",
        on_bad_line=bad,
    )
    for number, block_there in enumerate(blocks):
        block: Any = rest_of(block_there) if header and number == 0 else block_there

        def refuse(row: int, column: int, block: Any = block) -> None:
            text = block.text(row, column).decode(errors="replace")[:40]
            more = f"; {hint}" if block.lines[row] == 1 else ""
            bad(f"{source.name}: line {block.lines[row]}, column {column}: {number_expected(repr(text))}{more}")

        def refuse_label(row: int, block: Any = block) -> None:
            text = block.text(row, 0).decode(errors="replace")[:40]
            bad(f"{source.name}: line {block.lines[row]}: the label is {text!r}, expected 0 or 1")

        def refuse_weight(row: int, block: Any = block) -> None:
            text = block.text(row, 1).decode(errors="replace")[:40]
            bad(f"{source.name}: line {block.lines[row]}: the weight is {text!r}, expected a number of at least 0")

        numbers, n_wrong = block.numbers(range(n_columns))
        if len(constant):
            numbers = np.hstack([numbers, np.tile(constant, (len(numbers), 1))])
        yield from number_batches(
            numbers, n_wrong > 0, labels, refuse, refuse_label, refuse_weight if weights else None
        )


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
    for file in files:
        header = options.header
        if header is None and options.schema is not None:
            header = options.schema.has_header_beside(folders_above(str(file.path)))
        tables = cell_tables(
            file.name,
            transcoded(file.chunks(update), options.encoding, file.name),
            delimiter=options.delimiter or of.delimiter or ",",
            header=header,
            quotes=options.quotes,
            longest_row=options.longest_row,
        )
        yield from beside_folders(str(file.path), tables)


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


def decode_request(
    body: Any,
    *,
    feature_dim: int,
    encoder: "Encoder | None" = None,
    header: bool | None = None,
    in_pieces: bool = False,
) -> Iterator[RequestRows]:
    """Make rows of a body: of named columns, if there is a schema, or of `feature_dim` numbers per line.

    Parameters
    ----------
    body : bytes-like
    feature_dim : int
        Of the model.
    encoder : Encoder, optional
        Of the model's schema.
    header : bool, optional
        Whether the first line names the columns. None: it does if there is a schema and names its columns.
    in_pieces : bool
        Whether the body may be a piece of a file: a header that is found has to be the schema's columns in its order.

    Yields
    ------
    rows : RequestRows
        All rows at once, or a few at a time if `in_pieces` is true.
    """
    batches = None if encoder is None else decode_named_csv(body, encoder, header=header, in_pieces=in_pieces)
    if batches is None:
        source = Source("the body", pieces_of(body))
        hint = "if it is a header, send the media type with header=present"
        batches = _batches(source, feature_dim, "none", BadRecords(0), header=header is True, hint=hint)
    return map(RequestRows, batches)


class _Writer:
    """``label,x0,x1,...`` without a header, every feature a column."""

    def __init__(self, file: Sink, delimiter: bytes) -> None:
        self._file = file
        self._delimiter = delimiter

    def write(self, batch: Batch) -> None:
        rows = batch.values if batch.indptr is None else batch.to_matrix().toarray()
        before = [column for column in (batch.labels, batch.weights) if column is not None]
        if before:
            rows = np.column_stack([*before, rows])
        if len(rows):
            text = orjson.dumps(np.ascontiguousarray(rows), option=orjson.OPT_SERIALIZE_NUMPY)[2:-2]
            text = (text.replace(b"],[", b"\n") + b"\n").replace(b".0,", b",").replace(b".0\n", b"\n")
            self._file.write(text.replace(b",", self._delimiter))

    def close(self) -> None:
        pass


def make_writer(file: Sink, of: Format, first_key: int = 0) -> _Writer:
    """Make what writes lines of numbers.

    See `fm_core.formats.registry` for what it takes and gives.
    """
    return _Writer(file, (of.delimiter or ",").encode())
