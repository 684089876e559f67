"""Files of any format as batches of rows: which format a name stands for, and who reads it.

Some files have to be read twice: once to know how many features there are, once for the
rows. What is read is read in order, in bounded memory; only npz is held as a whole.
"""

import contextlib
import dataclasses
import itertools
import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.canonical import summed_batches
from fm_core.formats.recordio.reader import read_batches
from fm_core.formats.recordio.whole_file import MOST_FEATURES, peek_records, read_npz
from fm_core.formats.streams import CHUNK_BYTES, Source, decompressed
from fm_core.formats.tables.delimited import cell_tables
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.learner import Learner, TablePlan
from fm_core.formats.tables.schema import TableSchema
from fm_core.formats.tables.table import Table
from fm_core.formats.text.parse import libsvm_blocks

__all__ = ["FORMATS", "Options", "RowInput", "format_of", "open_rows", "read_tables"]

_BATCH_ROWS = 1 << 13

#: Bytes of encoded columns that wait in memory; more of them wait in a file.
_MOST_WAITING = 1 << 22


class Format(NamedTuple):
    """A file format.

    Attributes
    ----------
    suffixes : tuple of str
        Names that end so (or so and ``.gz``, where the format is a stream) are of it.
    is_table : bool
        Whether it has columns, which a schema makes features of; else it has feature ids.
    is_stream : bool
        Whether it may be gzip.
    """

    suffixes: tuple[str, ...]
    is_table: bool = False
    is_stream: bool = True


FORMATS = {
    "recordio": Format((".recordio", ".rec", ".pbr", ".protobuf", ".pb")),
    "libsvm": Format((".libsvm", ".svm", ".svmlight")),
    "libfm": Format((".libfm",)),
    "csv": Format((".csv",), is_table=True),
    "tsv": Format((".tsv", ".tab"), is_table=True),
    "parquet": Format((".parquet", ".pq"), is_table=True, is_stream=False),
    "arrow": Format((".arrow", ".feather", ".arrows"), is_table=True, is_stream=False),
    "npz": Format((".npz",), is_stream=False),
}

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def format_of(path: Path) -> str:
    """Know the format of a file by its name.

    Raises
    ------
    ConfigError
        The name ends like none.
    """
    name = path.name.lower()
    for format_name, described in FORMATS.items():
        if name.removesuffix(".gz" if described.is_stream else "").endswith(described.suffixes):
            return format_name
    known = ", ".join(suffix for described in FORMATS.values() for suffix in described.suffixes)
    raise ConfigError(f"{path}: the name does not tell the format, expected one of {known}; or name the format")


#: ``progress(what, total)``: a context manager whose value has ``update(n)``; both count bytes.
Progress = Callable[[str, int], AbstractContextManager[Any]]


class _NoProgress:
    def update(self, n: int) -> None:
        """Count nothing."""


def _no_progress(what: str, total: int) -> AbstractContextManager[_NoProgress]:
    return contextlib.nullcontext(_NoProgress())


@dataclasses.dataclass(frozen=True)
class Options:
    """How files are read.

    Attributes
    ----------
    feature_dim : int or None
        None: found out.
    first_key : int
        The id of feature 0 in libsvm and libFM text.
    labels : {"real", "optional", "none"}
        "optional": rows have labels if the first one has.
    plan : TablePlan
        For tables, when there is no schema yet.
    schema : TableSchema or None
    unseen : {"error", "ignore"}
    header : bool or None
        Of CSV and TSV; None: found out.
    delimiter : str or None
        None: a comma, or a tab for TSV.
    scratch : Path or None
        A folder for a temporary file, which takes 4 bytes or so for each cell of tables with
        categories; None: the system's.
    progress : callable
    """

    feature_dim: int | None = None
    first_key: int = 0
    labels: str = "real"
    plan: TablePlan = dataclasses.field(default_factory=TablePlan)
    schema: TableSchema | None = None
    unseen: str = "error"
    header: bool | None = None
    delimiter: str | None = None
    scratch: Path | None = None
    progress: Progress = _no_progress


@dataclasses.dataclass(frozen=True)
class RowInput:
    """Files that are ready to be read.

    Attributes
    ----------
    feature_dim : int
    schema : TableSchema or None
        How the features were made, if the files are tables.
    batches : callable
        Gives the rows from the first file's start, in batches of any size, all sparse or all dense.
    """

    feature_dim: int
    schema: TableSchema | None
    batches: Callable[[], Iterator[Batch]]


def open_rows(paths: Sequence[Path], format_name: str | None = None, options: Options | None = None) -> RowInput:
    """Find out what has to be known before the rows of files can be read.

    Parameters
    ----------
    paths : sequence of Path
        All of one format, read one after the other.
    format_name : str, optional
        One of `FORMATS`; None: that of the first file's name.
    options : Options, optional

    Raises
    ------
    ConfigError
        An option does not go with the format.
    DataError
        A file is not what its name says, or holds what it should not.
    """
    options = options or Options()
    format_name = format_name or format_of(paths[0])
    for path in paths:
        path.stat()  # a file that is not there is said before another one has been read
    opened = _OPENERS[format_name](paths, format_name, options)
    if options.feature_dim is not None and opened.feature_dim != options.feature_dim:
        raise DataError(f"{paths[0]}: rows have {opened.feature_dim} features, expected {options.feature_dim}")
    return opened


def read_tables(paths: Sequence[Path], format_name: str, options: Options, update: Callable[[int], Any]) -> Iterator[
    Table
]:  # fmt: skip
    """Read files that are tables, part by part."""
    for path in paths:
        if format_name in _DELIMITERS:
            delimiter = options.delimiter or _DELIMITERS[format_name]
            header = options.header
            if header is None and options.schema is not None:
                header = options.schema.has_header
            yield from cell_tables(str(path), _chunks(path, update), delimiter=delimiter, header=header)
        else:
            from fm_core.formats.tables import arrow as parquet

            yield from {"parquet": parquet.parquet_tables, "arrow": parquet.arrow_tables}[format_name](str(path))
            update(path.stat().st_size)


def _open_tables(paths: Sequence[Path], format_name: str, options: Options) -> RowInput:
    schema = options.schema
    if schema is None:
        with options.progress("Looking at columns", _size(paths)) as bar:
            tables = read_tables(paths, format_name, options, bar.update)
            first = next(tables, None)
            if first is None:
                raise DataError(f"{paths[0]}: found no rows, expected at least one")
            learner = Learner(first, options.plan, labels=options.labels)
            if learner.has_categories:
                return _learned_tables(learner, itertools.chain([first], tables), options)
            schema = learner.learned()
    encoder = Encoder(schema, unseen=options.unseen, labels=options.labels)

    def batches() -> Iterator[Batch]:
        with options.progress("Encoding", _size(paths)) as bar:
            for table in read_tables(paths, format_name, options, bar.update):
                yield encoder.encode(table)

    return RowInput(schema.feature_dim, schema, batches)


def _learned_tables(learner: Learner, tables: Iterable[Table], options: Options) -> RowInput:
    """Read tables once: what their columns give waits in a file without a name until all categories are known."""
    folder = None if options.scratch is None else str(options.scratch)
    waiting = tempfile.SpooledTemporaryFile(_MOST_WAITING, dir=folder)  # noqa: SIM115
    n_tables = 0
    try:
        for table in tables:
            found = (table.n_rows, learner.labels(table), learner.entries(table))
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
                n_rows, labels, entries = pickle.load(waiting)  # which nobody else can have written
                bar.update(waiting.tell() - before)
                yield encoder.join(n_rows, entries, labels)

    return RowInput(encoder.schema.feature_dim, encoder.schema, batches)


def _open_libsvm(paths: Sequence[Path], format_name: str, options: Options) -> RowInput:
    labels = options.labels

    def blocks(what: str, feature_dim: int) -> Iterator[tuple[Path, Any]]:
        with options.progress(what, _size(paths)) as bar:
            for path in paths:
                for block in libsvm_blocks(
                    str(path),
                    _chunks(path, bar.update),
                    feature_dim=feature_dim,
                    first_key=options.first_key,
                    labels=labels,
                ):
                    yield path, block

    feature_dim = options.feature_dim
    if feature_dim is None:
        highest = -1
        for _, block in blocks("Looking for the highest id", MOST_FEATURES):
            highest = max(highest, int(block.indices.max(initial=-1)))
        feature_dim = max(highest + 1, 1)

    def batches() -> Iterator[Batch]:
        for path, block in blocks("Reading", feature_dim):
            yield from summed_batches(block, str(path), feature_dim, _refuse)

    return RowInput(feature_dim, None, batches)


def _refuse(sentence: str) -> None:
    raise DataError(sentence)


def _open_recordio(paths: Sequence[Path], format_name: str, options: Options) -> RowInput:
    chunks = _chunks(paths[0], lambda _: None)
    kind, _ = peek_records(chunks)
    labels = options.labels
    if labels == "optional":
        labels = "real" if kind.has_label else "none"

    def read(what: str, feature_dim: int) -> Iterator[Batch]:
        with options.progress(what, _size(paths)) as bar:
            sources = (Source(str(path), _chunks(path, bar.update)) for path in paths)
            yield from read_batches(sources, feature_dim=feature_dim, batch_size=_BATCH_ROWS, labels=labels)

    feature_dim = kind.feature_dim or options.feature_dim
    if feature_dim is None:
        highest = 0
        for batch in read("Looking for the highest id", MOST_FEATURES):
            highest = max(highest, int(batch.indices.max(initial=0)) if batch.indices is not None else 0)
        feature_dim = highest + 1
    return RowInput(feature_dim, None, lambda: read("Reading", feature_dim))


def _open_npz(paths: Sequence[Path], format_name: str, options: Options) -> RowInput:
    whole = [read_npz(str(path)) for path in paths]
    for path, batch in zip(paths, whole, strict=True):
        if (batch.feature_dim, batch.is_dense) != (whole[0].feature_dim, whole[0].is_dense):
            raise DataError(
                f"{path}: rows have {batch.feature_dim} features, expected {whole[0].feature_dim} and the kind of rows "
                f"of {paths[0]}"
            )
        if batch.labels is None and (options.labels == "real" or whole[0].labels is not None):
            raise DataError(f"{path}: found no array y, expected the labels there")

    def batches() -> Iterator[Batch]:
        for batch in whole:
            labels = None if options.labels == "none" else batch.labels
            yield Batch.trusted(batch.feature_dim, batch.values, batch.indptr, batch.indices, labels)

    return RowInput(whole[0].feature_dim, None, batches)


_OPENERS: dict[str, Callable[[Sequence[Path], str, Options], RowInput]] = {
    "recordio": _open_recordio,
    "libsvm": _open_libsvm,
    "libfm": _open_libsvm,
    "csv": _open_tables,
    "tsv": _open_tables,
    "parquet": _open_tables,
    "arrow": _open_tables,
    "npz": _open_npz,
}


def _chunks(path: Path, update: Callable[[int], Any]) -> Iterator[bytes]:
    """Read a file in chunks, decompressed, and count the bytes as they are on disk."""

    def counted() -> Iterator[bytes]:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                update(len(chunk))
                yield chunk

    return decompressed(counted(), str(path))


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
