"""libsvm's and libFM's text, ``label key:value key:value ...``: the registry's functions.

One parser reads channels, files and requests, so the same bytes give the same rows everywhere.
Blank lines and comments are skipped; a label must be a number even if it is not used.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.bad_records import BadRecords
from fm_core.formats.canonical import summed_batches
from fm_core.formats.rebatch import rebatched
from fm_core.formats.registry import Format
from fm_core.formats.registry.files import InputFile, total_size
from fm_core.formats.registry.inputs import Options, RequestRows, RowInput
from fm_core.formats.streams import Sink, Source, pieces_of
from fm_core.formats.text.numbers import number_texts
from fm_core.formats.text.parse import libsvm_blocks
from fm_core.given import MOST_FEATURES

__all__ = ["decode_request", "make_writer", "open_rows", "read_batches"]


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
) -> Iterator[Batch]:
    """Read lines ``label key:value key:value ...``, keys counted from 0; rows are sparse, whatever `is_dense` says.

    Lines ``label:weight key:value ...`` say so themselves, whatever `weights` says.

    The parameters are those of `fm_core.formats.read_batches`.

    Yields
    ------
    batch : Batch
        Sparse, of `batch_size` rows but for the last; the values of a repeated key are added up.

    Raises
    ------
    DataError
        A line is malformed, or a key is not below `feature_dim`. The message names the file and the line.
    """
    bad = BadRecords(max_bad_records, on_bad_record)
    return rebatched(_batches(sources, feature_dim, labels, bad), batch_size)


def _batches(sources: Iterable[Source], feature_dim: int, labels: str, bad: Callable[[str], None]) -> Iterator[Batch]:
    for source in sources:
        for block in libsvm_blocks(source.name, source.chunks, feature_dim=feature_dim, labels=labels, on_bad_line=bad):
            yield from summed_batches(block, source.name, feature_dim, bad)


def open_rows(files: Sequence[InputFile], of: Format, options: Options) -> RowInput:
    """Find the highest id, if the number of features is not given, and give the rows.

    The parameters are those of `fm_core.formats.registry.inputs.open_rows`, of one format.

    Returns
    -------
    opened : RowInput

    Raises
    ------
    DataError
        A line is malformed.
    """
    labels = options.labels

    def blocks(what: str, feature_dim: int) -> Iterator[tuple[InputFile, Any]]:
        with options.progress(what, total_size(files)) as bar:
            for file in files:
                for block in libsvm_blocks(
                    file.name,
                    file.chunks(bar.update),
                    feature_dim=feature_dim,
                    first_key=options.first_key,
                    labels=labels,
                ):
                    yield file, block

    feature_dim = options.feature_dim
    if feature_dim is None:
        highest = -1
        for _, block in blocks("Looking for the highest id", MOST_FEATURES):
            highest = max(highest, int(block.indices.max(initial=-1)))
        feature_dim = max(highest + 1, 1)

    def batches() -> Iterator[Batch]:
        for file, block in blocks("Reading", feature_dim):
            yield from summed_batches(block, file.name, feature_dim, _refuse)

    return RowInput(feature_dim, None, batches)


def _refuse(sentence: str) -> None:
    raise DataError(sentence)


def decode_request(
    body: Any, *, feature_dim: int, encoder: Any = None, header: bool | None = None
) -> Iterator[RequestRows]:
    """Make sparse rows of a body of lines; labels are ignored.

    See `fm_core.formats.registry` for what it takes and gives.

    Raises
    ------
    DataError
        The body is malformed, or a key is not below `feature_dim`; the message names the line.
    """
    return map(RequestRows, _batches([Source("the body", pieces_of(body))], feature_dim, "none", BadRecords(0)))


class _Writer:
    """Without labels, lines begin with the first pair."""

    def __init__(self, file: Sink, first_key: int) -> None:
        self._file = file
        self._first_key = first_key

    def write(self, batch: Batch) -> None:
        indptr, keys, values = _csr(batch)
        pairs = list(map(b"%d:%b".__mod__, zip((keys + self._first_key).tolist(), number_texts(values), strict=True)))
        bounds = indptr.tolist()
        labels = None if batch.labels is None else number_texts(batch.labels)
        if labels is not None and batch.weights is not None:
            labels = list(map(b"%b:%b".__mod__, zip(labels, number_texts(batch.weights), strict=True)))
        lines = []
        for i in range(batch.n_rows):
            row = pairs[bounds[i] : bounds[i + 1]]
            # A row with neither would be a blank line, which is no row.
            lines.append(b" ".join([labels[i], *row] if labels else row or [b"%d:0" % self._first_key]))
        self._file.write(b"\n".join(lines) + b"\n" if lines else b"")

    def close(self) -> None:
        pass


def make_writer(file: Sink, of: Format, first_key: int = 0) -> _Writer:
    """Make what writes lines ``label key:value ...``.

    See `fm_core.formats.registry` for what it takes and gives.
    """
    return _Writer(file, first_key)


def _csr(batch: Batch) -> tuple[Any, Any, Any]:
    if batch.indptr is None or batch.indices is None:
        rows, keys = np.nonzero(batch.values)
        return np.searchsorted(rows, np.arange(batch.n_rows + 1)), keys, batch.values[rows, keys]
    return batch.indptr, batch.indices, batch.values
