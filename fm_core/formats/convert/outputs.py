"""Batches of rows to a file of some format.

A writer is a class with `write(batch)` and `close()`, over an open binary file that it
leaves open. All but npz write as they go. Numbers are written with as few digits as read
back as the same float32.
"""

import io
from typing import Any, BinaryIO, Protocol

import numpy as np
import orjson

from fm_core.batch import Batch
from fm_core.formats.recordio._encode import write_records
from fm_core.formats.recordio.whole_file import write_npz

__all__ = ["WRITERS", "Writer"]


class Writer(Protocol):
    """Writes rows to a file."""

    def __init__(self, file: BinaryIO, *, first_key: int = 0) -> None: ...

    def write(self, batch: Batch) -> None:
        """Write the rows of a batch, behind those before."""

    def close(self) -> None:
        """Write what is left; the file stays open."""


class _Recordio:
    def __init__(self, file: BinaryIO, *, first_key: int = 0) -> None:
        self._file = file

    def write(self, batch: Batch) -> None:
        write_records(self._file, batch.to_matrix(), batch.labels)

    def close(self) -> None:
        pass


class _Libsvm:
    """``label key:value ...``; without labels, lines begin with the first pair."""

    def __init__(self, file: BinaryIO, *, first_key: int = 0) -> None:
        self._file = file
        self._first_key = first_key

    def write(self, batch: Batch) -> None:
        indptr, keys, values = _csr(batch)
        pairs = list(map(b"%d:%b".__mod__, zip((keys + self._first_key).tolist(), _texts(values), strict=True)))
        bounds = indptr.tolist()
        labels = None if batch.labels is None else _texts(batch.labels)
        lines = []
        for i in range(batch.n_rows):
            row = pairs[bounds[i] : bounds[i + 1]]
            # A row with neither would be a blank line, which is no row.
            lines.append(b" ".join([labels[i], *row] if labels else row or [b"%d:0" % self._first_key]))
        self._file.write(b"\n".join(lines) + b"\n" if lines else b"")

    def close(self) -> None:
        pass


class _Delimited:
    """``label,x0,x1,...`` without a header, every feature a column."""

    delimiter = b","

    def __init__(self, file: BinaryIO, *, first_key: int = 0) -> None:
        self._file = file

    def write(self, batch: Batch) -> None:
        rows = batch.values if batch.indptr is None else batch.to_matrix().toarray()
        if batch.labels is not None:
            rows = np.column_stack([batch.labels, rows])
        if len(rows):
            text = orjson.dumps(np.ascontiguousarray(rows), option=orjson.OPT_SERIALIZE_NUMPY)[2:-2]
            text = (text.replace(b"],[", b"\n") + b"\n").replace(b".0,", b",").replace(b".0\n", b"\n")
            self._file.write(text.replace(b",", self.delimiter))

    def close(self) -> None:
        pass


class _TabDelimited(_Delimited):
    delimiter = b"\t"


class _Npz:
    def __init__(self, file: BinaryIO, *, first_key: int = 0) -> None:
        self._file = file
        self._batches: list[Batch] = []

    def write(self, batch: Batch) -> None:
        self._batches.append(batch)

    def close(self) -> None:
        # By way of memory: a zip seeks, which a compressed file cannot.
        if self._batches:
            buffer = io.BytesIO()
            write_npz(buffer, Batch.concatenate(self._batches))
            self._file.write(buffer.getbuffer())


WRITERS: dict[str, type[Writer]] = {
    "recordio": _Recordio,
    "libsvm": _Libsvm,
    "libfm": _Libsvm,
    "csv": _Delimited,
    "tsv": _TabDelimited,
    "npz": _Npz,
}


def _csr(batch: Batch) -> tuple[Any, Any, Any]:
    if batch.indptr is None or batch.indices is None:
        rows, keys = np.nonzero(batch.values)
        return np.searchsorted(rows, np.arange(batch.n_rows + 1)), keys, batch.values[rows, keys]
    return batch.indptr, batch.indices, batch.values


def _texts(numbers: Any) -> list[bytes]:
    if len(numbers) == 0:
        return []
    text = orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return [number.removesuffix(b".0") for number in text.split(b",")]
