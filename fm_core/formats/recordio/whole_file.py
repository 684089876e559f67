"""Read whole files of records into SciPy and NumPy arrays, or only look at their first record."""

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.recordio.faults import BadRecord
from fm_core.formats.recordio.framing import Framer
from fm_core.formats.recordio.payload import parse
from fm_core.formats.recordio.reader import read_batches
from fm_core.formats.streams import CHUNK_BYTES, Source, decompressed, open_chunks
from fm_core.given import MOST_FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RecordKind", "peek_records", "read_records"]

_BATCH_ROWS = 1 << 14


class RecordKind(NamedTuple):
    """The properties of all records of a file, read from the first one.

    Attributes
    ----------
    feature_dim : int or None
        None: its rows are sparse, without a shape.
    has_label : bool
    """

    feature_dim: int | None
    has_label: bool


def read_records(file: "str | os.PathLike[str] | bytes | BinaryIO") -> "tuple[Any, NDArray[np.float32] | None]":
    """Read a RecordIO-protobuf file into memory.

    Parameters
    ----------
    file : path-like, bytes, or binary file
        gzip is decompressed.

    Returns
    -------
    rows : scipy.sparse.csr_matrix or ndarray of float32, shape (n_rows, feature_dim)
        The width is what the records say, or one more than the highest key where they do not.
    labels : ndarray of float32, shape (n_rows,), or None
        None if the first record has none.

    Raises
    ------
    DataError
        A record is damaged, or there is none; the message names it.

    Examples
    --------
    >>> import io
    >>> from fm_core import read_records, write_records
    >>> file = io.BytesIO()
    >>> write_records(file, [[1, 0, 2], [0, 3, 0]], labels=[1, 0])
    >>> rows, labels = read_records(file.getvalue())
    >>> rows.shape, labels.tolist()
    ((2, 3), [1.0, 0.0])
    """
    if isinstance(file, (str, os.PathLike)):
        name = os.fspath(file)
        chunks: Iterable[bytes] = open_chunks(name)
    else:
        is_bytes = isinstance(file, (bytes, bytearray, memoryview))
        if not is_bytes and not hasattr(file, "read"):
            raise TypeError(f"file is a {type(file).__name__}, expected a path, bytes or a binary file")
        opened = io.BytesIO(file) if isinstance(file, (bytes, bytearray, memoryview)) else file
        name = str(getattr(opened, "name", "the records"))
        chunks = decompressed(iter(lambda: opened.read(CHUNK_BYTES), b""), name)
    chunks = iter(chunks)
    kind, head = peek_records(chunks)
    batches = list(
        read_batches(
            [Source(name, itertools.chain(head, chunks))],
            feature_dim=kind.feature_dim or MOST_FEATURES,
            batch_size=_BATCH_ROWS,
            labels="real" if kind.has_label else "none",
        )
    )
    if not batches:
        raise DataError(f"{name}: found no record, expected at least one")
    whole = Batch.concatenate(batches)
    feature_dim = kind.feature_dim or int(whole.indices.max(initial=-1) if whole.indices is not None else 0) + 1
    return Batch.trusted(feature_dim, whole.values, whole.indptr, whole.indices).to_matrix(), whole.labels


def peek_records(chunks: Iterator[bytes]) -> tuple[RecordKind, list[bytes]]:
    """Read the first record of a stream.

    Parameters
    ----------
    chunks : iterator of bytes

    Returns
    -------
    kind : RecordKind
        What the record contains.
    chunks : list of bytes
        The chunks that were read.
    """
    framer = Framer()
    head = []
    try:
        for chunk in chunks:
            head.append(chunk)
            for payload, _ in framer.feed(chunk):
                message = parse(payload)
                tensor = message.features
                feature_dim = int(np.prod(tensor.shape)) if tensor.shape else None
                if feature_dim is None and tensor.values and not tensor.keys:
                    feature_dim = len(tensor.values)
                return RecordKind(feature_dim, bool(message.label.values)), head
    except BadRecord:
        pass  # for the decoder to tell of, with its place
    return RecordKind(None, False), head
