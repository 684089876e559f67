"""Convert files of one format to another: sharded, split, compressed, and complete or absent.

Rows stream from the inputs to the outputs in their order. Every output, including schema.json,
gets its name only at the end, so no half-written file remains.
"""

import contextlib
import dataclasses
import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fm_core.atomic_file import atomic_write
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats import SCHEMA_FILE
from fm_core.formats.draws import draws
from fm_core.formats.registry import Format, Role, format_of, formats_for
from fm_core.formats.registry.inputs import Options, RowInput, open_rows
from fm_core.formats.registry.outputs import Writer
from fm_core.formats.streams import Sink
from fm_core.formats.tables.schema import TableSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Conversion", "Written", "convert"]

_GZIP_LEVEL = 6


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What is to become of the rows.

    Attributes
    ----------
    to : str or None
        The name of a format that can be written; None: that of the output's name.
    shards : int
        Files to deal the rows out to in turn.
    split : float or None
        The share of rows that go to ``train``, the others going to ``test``; None: all in one.
    seed : int
        Decides with a row's number where it goes.
    threshold : float or None
        Labels become 1 from here on, and 0 below.
    first_key : int
        The id of feature 0 in libsvm and libFM text that is written.
    schema_path : Path or None
        Where the schema goes; None: schema.json beside the output, and then another one there
        is not overwritten. Only tables that were read without a schema have one.
    """

    to: str | None = None
    shards: int = 1
    split: float | None = None
    seed: int = 0
    threshold: float | None = None
    first_key: int = 0
    schema_path: Path | None = None


@dataclasses.dataclass
class Written:
    """A file that was written.

    Attributes
    ----------
    path : Path
    n_rows, n_bytes : int
    """

    path: Path
    n_rows: int = 0
    n_bytes: int = 0


def convert(
    inputs: Sequence[Path],
    output: Path,
    conversion: Conversion,
    format_name: str | None = None,
    options: Options | None = None,
    rows_of: Callable[[RowInput], Iterator[Batch]] | None = None,
) -> tuple[list[Written], int, TableSchema | None]:
    """Convert files.

    Parameters
    ----------
    inputs : sequence of Path
    output : Path
        ``x.recordio``; with a split ``x.train.recordio`` and ``x.test.recordio`` are written, with
        shards ``x-00000-of-00004.recordio`` and so on. A name that ends with ``.gz`` is compressed.
    conversion : Conversion
    format_name : str, optional
        Of the inputs.
    options : Options, optional
        How the inputs are read.
    rows_of : callable, optional
        Gives the rows to write; None: those of the inputs.

    Returns
    -------
    written : list of Written
        All but the schema.
    feature_dim : int
    schema : TableSchema or None

    Raises
    ------
    ConfigError, DataError
        Nothing is written then.
    """
    options = options or Options()
    to = format_of(output, conversion.to)
    if Role.WRITE not in to.roles:
        raise ConfigError(f"{output}: {to.name} can only be read, expected one of {', '.join(formats_for(Role.WRITE))}")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: there is no folder {output.parent}: create it first")
    if options.scratch is None:
        options = dataclasses.replace(options, scratch=output.parent)  # where there has to be room anyway
    opened = open_rows(inputs, format_of(inputs[0], format_name), options)
    schema = opened.schema if options.schema is None else None
    with contextlib.ExitStack() as stack:
        if schema is not None:
            text = schema.to_json()
            path = conversion.schema_path or output.with_name(SCHEMA_FILE)
            _refuse_another(path, text, conversion)
            stack.enter_context(atomic_write(path)).write(text.encode())
        parts = [
            _Part(stack, paths, to, conversion.first_key)
            for paths in _names(output, to, conversion.shards, conversion.split is not None)
        ]
        n_rows = 0
        for batch in opened.batches() if rows_of is None else rows_of(opened):
            labelled = _with_threshold(batch, conversion.threshold, inputs[0])
            for part, rows in zip(parts, _parted(n_rows, batch.n_rows, conversion), strict=True):
                part.write(labelled, rows)
            n_rows += batch.n_rows
        if n_rows == 0:
            raise DataError(f"{inputs[0]}: found no rows, expected at least one")
        for part in parts:
            part.close()
    return [file for part in parts for file in part.written()], opened.feature_dim, opened.schema


class _Part:
    """The files of one side of a split: rows are dealt out to them in turn."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        paths: list[Path],
        to: Format,
        first_key: int,
    ) -> None:
        self._files = [(Written(path), stack.enter_context(_opened(path))) for path in paths]
        make_writer = to.functions.make_writer
        self._writers: list[Writer] = [make_writer(file, to, first_key) for _, file in self._files]
        self._n_rows = 0

    def write(self, batch: Batch, rows: "NDArray[np.int64] | None") -> None:
        n_shards = len(self._files)
        if rows is None and n_shards > 1:
            rows = np.arange(batch.n_rows)
        n_rows = batch.n_rows if rows is None else len(rows)
        for shard, ((file, _), writer) in enumerate(zip(self._files, self._writers, strict=True)):
            mine = None if rows is None else rows[(shard - self._n_rows) % n_shards :: n_shards]
            if mine is None or len(mine):
                writer.write(batch if mine is None else batch.take(mine))
                file.n_rows += n_rows if mine is None else len(mine)
        self._n_rows += n_rows

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def written(self) -> Iterator[Written]:
        for file, _ in self._files:
            file.n_bytes = file.path.stat().st_size
            yield file


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Sink]:
    with atomic_write(path) as file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        # No name and no time in its header: the same rows are the same bytes.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as compressed:
            yield compressed


def _names(output: Path, to: Format, shards: int, is_split: bool) -> list[list[Path]]:
    """Return the names of the files of each part."""
    name = output.name
    compressed = name[-3:] if name.lower().endswith(".gz") else ""
    name = name.removesuffix(compressed)
    known = [suffix for suffix in to.suffixes if name.lower().endswith(suffix)]
    suffix = name[-len(known[0]) :] if known else Path(name).suffix
    stem = name.removesuffix(suffix)
    return [
        [
            output.with_name(stem + part + shard + suffix + compressed)
            for shard in ([f"-{i:05d}-of-{shards:05d}" for i in range(shards)] if shards > 1 else [""])
        ]
        for part in ([".train", ".test"] if is_split else [""])
    ]


def _refuse_another(path: Path, text: str, conversion: Conversion) -> None:
    if conversion.schema_path is None and path.exists() and path.read_bytes() != text.encode():
        raise ConfigError(
            f"{path} exists and holds another schema: encode with it (--schema {path}), or write the new one elsewhere "
            "(--schema-out)"
        )


def _with_threshold(batch: Batch, threshold: float | None, path: Path) -> Batch:
    if threshold is None:
        return batch
    if batch.labels is None:
        raise DataError(f"{path}: rows have no labels, expected some for the threshold {threshold:g}")
    labels = (batch.labels >= threshold).astype(np.float32)
    return batch.with_labels(labels)


def _parted(start: int, n_rows: int, conversion: Conversion) -> "list[NDArray[np.int64] | None]":
    """Return the rows of a batch that go to each part; None: all."""
    if conversion.split is None:
        return [None]
    is_train = draws(conversion.seed, np.arange(start, start + n_rows)) < conversion.split
    return [np.flatnonzero(is_train), np.flatnonzero(~is_train)]
