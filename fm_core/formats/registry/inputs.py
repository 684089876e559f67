"""Files of rows before they are read: the options for reading, and what is detected first.

Files are read in order, in bounded memory; only npz is held as a whole.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.registry import FORMATS, Format, format_of
from fm_core.formats.registry.files import input_files, total_size
from fm_core.formats.text.parse import MAX_LINE_BYTES

if TYPE_CHECKING:  # a job of RecordIO reads no table
    from fm_core.formats.tables.entries import Watch
    from fm_core.formats.tables.learner import TablePlan
    from fm_core.formats.tables.schema import TableSchema
    from fm_core.formats.tables.table import Table

__all__ = ["Options", "RequestRows", "RowInput", "check_width", "open_rows", "read_tables"]

#: ``progress(what, total)``: a context manager whose value has ``update(n)``; both count bytes.
Progress = Callable[[str, int], AbstractContextManager[Any]]


class _NoProgress:
    def update(self, n: int) -> None:
        """Count nothing."""


def _plan() -> "TablePlan":
    from fm_core.formats.tables.learner import TablePlan

    return TablePlan()


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
    quotes : bool or None
        Whether quotes stand around cells of CSV and TSV; None: they do, and where it is doubtful it is an error.
    encoding : str or None
        Of CSV and TSV; None: UTF-8.
    longest_row : int
        Bytes of a row of CSV and TSV.
    scratch : Path or None
        A folder for a temporary file, which takes 4 bytes or so for each cell of tables with
        categories; None: the system's.
    progress : callable
    watch : Watch or None
        Counts what cells hold that the schema's data did not, where there is a schema.
    """

    feature_dim: int | None = None
    first_key: int = 0
    labels: str = "real"
    plan: "TablePlan" = dataclasses.field(default_factory=_plan)
    schema: "TableSchema | None" = None
    unseen: str = "error"
    header: bool | None = None
    delimiter: str | None = None
    quotes: bool | None = None
    encoding: str | None = None
    longest_row: int = MAX_LINE_BYTES
    scratch: Path | None = None
    progress: Progress = _no_progress
    watch: "Watch | None" = None


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
    schema: "TableSchema | None"
    batches: Callable[[], Iterator[Batch]]


class RequestRows(NamedTuple):
    """Some rows of a request's body and, where the format has them, what names each row.

    Attributes
    ----------
    batch : Batch
    uids, metadatas : list of bytes or None, or None
    """

    batch: Batch
    uids: list[bytes | None] | None = None
    metadatas: list[bytes | None] | None = None


def open_rows(paths: Sequence[Path], of: Format | None = None, options: Options | None = None) -> RowInput:
    """Find out what has to be known before the rows of files can be read.

    Parameters
    ----------
    paths : sequence of Path
        All of one format, read one after the other; each is read once, or kept, if it is a pipe.
    of : Format, optional
        None: that of the first file's name.
    options : Options, optional

    Returns
    -------
    rows : RowInput
        Its `batches` reads the rows.

    Raises
    ------
    ConfigError
        The format does not have such an option.
    DataError
        A file is not what its name says, or holds what it should not.
    """
    options = options or Options()
    of = of or format_of(paths[0])
    opened: RowInput = of.functions.open_rows(input_files(paths, options.scratch), of, options)
    if options.feature_dim is not None:
        check_width(paths[0], opened, options.feature_dim)
    return opened


def read_tables(paths: Sequence[Path], of: Format | None = None, options: Options | None = None) -> "Iterator[Table]":
    """Read files that are tables, without encoding their columns.

    Parameters
    ----------
    paths : sequence of Path
        All of one format, read one after the other.
    of : Format, optional
        None: that of the first file's name.
    options : Options, optional

    Yields
    ------
    table : Table
        Some thousand rows at a time.

    Raises
    ------
    ConfigError
        The format has no columns.
    DataError
        A file is not what its name says.
    """
    options = options or Options()
    of = of or format_of(paths[0])
    if not of.is_table:
        known = ", ".join(described.name for described in FORMATS.values() if described.is_table)
        raise ConfigError(f"{paths[0]}: {of.name} has no named columns, expected a table: one of {known}")
    files = input_files(paths, options.scratch)
    with options.progress("Reading", total_size(files)) as bar:
        yield from of.functions.read_tables(files, of, options, bar.update)


def check_width(path: Path, opened: RowInput, feature_dim: int) -> None:
    """Refuse rows that have another number of features.

    Parameters
    ----------
    path : Path
        For the message.
    opened : RowInput
    feature_dim : int
        The number expected.

    Raises
    ------
    DataError
    """
    if opened.feature_dim != feature_dim:
        raise DataError(f"{path}: rows have {opened.feature_dim} features, expected {feature_dim}")
