"""RecordIO-protobuf: the registry's functions."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from fm_core.batch import Batch
from fm_core.formats.recordio._encode import write_records
from fm_core.formats.recordio.reader import read_batches, row_batches
from fm_core.formats.recordio.whole_file import peek_records
from fm_core.formats.registry import Format
from fm_core.formats.registry.files import InputFile, total_size
from fm_core.formats.registry.inputs import Options, RequestRows, RowInput
from fm_core.formats.streams import Sink, Source
from fm_core.given import MOST_FEATURES

__all__ = ["decode_request", "make_writer", "open_rows", "read_batches"]

_BATCH_ROWS = 1 << 13


def open_rows(files: Sequence[InputFile], of: Format, options: Options) -> RowInput:
    """Return the rows, after reading the first record, or all if the first one does not contain feature_dim.

    The parameters are those of `fm_core.formats.registry.inputs.open_rows`, of one format.

    Returns
    -------
    opened : RowInput

    Raises
    ------
    DataError
        A record is damaged.
    """
    chunks = files[0].chunks()
    kind, _ = peek_records(chunks)
    labels = options.labels
    if labels == "optional":
        labels = "real" if kind.has_label else "none"

    def read(what: str, feature_dim: int) -> Iterator[Batch]:
        with options.progress(what, total_size(files)) as bar:
            sources = (Source(file.name, file.chunks(bar.update)) for file in files)
            yield from read_batches(sources, feature_dim=feature_dim, batch_size=_BATCH_ROWS, labels=labels)

    feature_dim = kind.feature_dim or options.feature_dim
    if feature_dim is None:
        highest = 0
        for batch in read("Looking for the highest id", MOST_FEATURES):
            highest = max(highest, int(batch.indices.max(initial=0)) if batch.indices is not None else 0)
        feature_dim = highest + 1
    return RowInput(feature_dim, None, lambda: read("Reading", feature_dim))


def decode_request(
    body: Any, *, feature_dim: int, encoder: Any = None, header: bool | None = None
) -> Iterator[RequestRows]:
    """Decode a body of framed records; labels are ignored.

    See `fm_core.formats.registry` for what it takes and gives.

    Raises
    ------
    DataError
        The body is malformed, or a key is not below `feature_dim`; the message names the record.
    """
    return itertools.starmap(RequestRows, row_batches(body, feature_dim=feature_dim))


class _Writer:
    def __init__(self, file: Sink) -> None:
        self._file = file

    def write(self, batch: Batch) -> None:
        write_records(self._file, batch.to_matrix(), batch.labels, batch.weights)

    def close(self) -> None:
        pass


def make_writer(file: Sink, of: Format, first_key: int = 0) -> _Writer:
    """Make what writes framed records.

    See `fm_core.formats.registry` for what it takes and gives.
    """
    return _Writer(file)
