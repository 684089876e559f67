"""Streams of framed records to batches, and request bodies to rows."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.bad_records import BadRecords
from fm_core.formats.recordio._decode import BAD_FRAME, BATCH_FULL, CHUNK_DONE, RECORD_TEXTS, Decoder
from fm_core.formats.recordio.faults import Fault, located
from fm_core.formats.streams import CHUNK_BYTES, Source, pieces_of

__all__ = ["decode_rows", "read_batches", "row_batches"]

_NO_BOUND = 1 << 62


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
    """Decode records into batches, in their order.

    Memory holds one batch, one chunk, and at most one record that crosses chunks. The GIL
    is free while a chunk is decoded, so a thread may run this beside the solver.

    Parameters
    ----------
    sources : iterable of Source
        Read one after the other; a batch may hold rows of several.
    feature_dim : int
    batch_size : int
        Rows of each batch but the last, which holds what is left.
    labels : {"binary", "real", "none"}
        Whether labels are read, and whether they have to be 0 or 1.
    is_dense : bool, optional
        What every record has to be; None: what the first one is.
    max_bad_records : int
        Records, over all sources, that may be skipped because of what they contain. A
        broken frame is never skipped, because what follows it cannot be found.
    on_bad_record : callable, optional
        Gets a sentence for each skipped record.
    weights : bool
        Of the other formats' readers: a record says itself whether it has one, and counts once if it has none.

    Yields
    ------
    batch : Batch
        Its arrays are its own.

    Raises
    ------
    DataError
        The sentence names the source, the record (from 0, in its source) and the byte at
        which the record's frame begins.
    """
    decoder = Decoder(feature_dim=feature_dim, batch_size=batch_size, labels=labels, is_dense=is_dense)
    bad = BadRecords(max_bad_records, on_bad_record)
    for source in sources:
        decoder.begin()
        for chunk in source.chunks:
            decoder.feed(chunk)
            while (event := decoder.advance()) != CHUNK_DONE:
                if event == BATCH_FULL:
                    yield _batch(decoder, feature_dim)
                    continue
                sentence = located(source.name, *decoder.problem()[1:])
                if event == BAD_FRAME:
                    raise DataError(sentence)
                bad(sentence)
        if decoder.end() == BAD_FRAME:
            raise DataError(located(source.name, *decoder.problem()[1:]))
    if decoder.n_rows:
        yield _batch(decoder, feature_dim)


def decode_rows(data: Any, *, feature_dim: int) -> tuple[Batch, list[bytes | None], list[bytes | None]]:
    """Decode the records of a request; labels are ignored.

    Parameters
    ----------
    data : bytes-like
        Any number of framed records.
    feature_dim : int

    Returns
    -------
    batch : Batch
        Dense if every record is; no record gives a sparse batch without rows.
    uids, metadatas : list of bytes or None
        One for each row: what the record had, as it was.

    Raises
    ------
    DataError
        The sentence names the record and its byte.
    """
    # A value seldom has less than four bytes. Pages of the room that are not written to cost nothing.
    room = len(memoryview(data).cast("B")) // 4
    rows = _decode_all(data, feature_dim, is_dense=None, first_room=room)
    if rows is None:
        rows = _decode_all(data, feature_dim, is_dense=False, dense_as_sparse=True, first_room=room)
    assert rows is not None  # only a decoder that minds kinds finds them mixed
    return rows


def row_batches(
    data: Any, *, feature_dim: int, size: int = CHUNK_BYTES
) -> Iterator[tuple[Batch, list[bytes | None], list[bytes | None]]]:
    """Decode the records of a request as `decode_rows` does, part by part, in the memory of a part.

    Each part is dense if all records are up to its last one.

    Parameters
    ----------
    data : bytes-like
    feature_dim : int
    size : int
        About so many bytes of records make a part.

    Yields
    ------
    batch, uids, metadatas
        As `decode_rows` gives them.

    Raises
    ------
    DataError
        As `decode_rows`.
    """
    whole = memoryview(data).cast("B")
    decoder, texts = _decoder(feature_dim, is_dense=None), _Texts()
    record = offset = 0  # where the decoder began
    while True:
        decoder.begin()
        mixed_at = None
        for chunk in pieces_of(whole[offset:], size):
            decoder.feed(chunk)
            event = texts.gather(decoder)
            fault, bad_record, bad_offset, sentence = decoder.problem() if event != CHUNK_DONE else _NOTHING
            if decoder.n_rows and (event == CHUNK_DONE or fault in _MIXED):
                yield _batch(decoder, feature_dim), *texts.take()
            if fault in _MIXED:
                mixed_at = record + bad_record, offset + bad_offset
                break
            if event != CHUNK_DONE:
                raise DataError(located("", record + bad_record, offset + bad_offset, sentence))
        if mixed_at is None:
            break
        record, offset = mixed_at
        decoder = _decoder(feature_dim, is_dense=False, dense_as_sparse=True)
    if decoder.end() != CHUNK_DONE:
        _, bad_record, bad_offset, sentence = decoder.problem()
        raise DataError(located("", record + bad_record, offset + bad_offset, sentence))


_Rows = tuple[Batch, list[bytes | None], list[bytes | None]]

#: What is found where dense and sparse records are mixed.
_MIXED = (Fault.NOT_DENSE, Fault.NOT_SPARSE)
_NOTHING = (0, 0, 0, "")


def _decoder(feature_dim: int, first_room: int = 0, *, is_dense: bool | None, dense_as_sparse: bool = False) -> Decoder:
    return Decoder(
        feature_dim=feature_dim,
        batch_size=_NO_BOUND,
        labels="none",
        is_dense=is_dense,
        dense_as_sparse=dense_as_sparse,
        with_texts=True,
        first_room=first_room,
    )


class _Texts:
    """The uids and metadatas of the rows that a decoder has."""

    def __init__(self) -> None:
        self._columns: tuple[list[bytes | None], list[bytes | None]] = ([], [])

    def gather(self, decoder: Decoder) -> int:
        """Read on until something else than such a text comes; what that is."""
        while (event := decoder.advance()) == RECORD_TEXTS:
            for column, text in zip(self._columns, (decoder.uid, decoder.metadata), strict=True):
                column += [None] * (decoder.n_rows - 1 - len(column))
                column.append(text)
        for column in self._columns:
            column += [None] * (decoder.n_rows - len(column))
        return event

    def take(self) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return the texts, and start again."""
        taken, self._columns = self._columns, ([], [])
        return taken


def _decode_all(
    data: Any, feature_dim: int, *, first_room: int, is_dense: bool | None, dense_as_sparse: bool = False
) -> _Rows | None:
    """Decode all records into one batch; None if dense and sparse ones are mixed."""
    decoder, texts = _decoder(feature_dim, first_room, is_dense=is_dense, dense_as_sparse=dense_as_sparse), _Texts()
    decoder.begin()
    decoder.feed(data)
    event = texts.gather(decoder)
    if event == CHUNK_DONE:
        event = decoder.end()
    if event != CHUNK_DONE:
        fault, record, offset, sentence = decoder.problem()
        if fault in _MIXED:
            return None
        raise DataError(located("", record, offset, sentence))
    return _batch(decoder, feature_dim), *texts.take()


def _batch(decoder: Any, feature_dim: int) -> Batch:
    return Batch.trusted(feature_dim, *decoder.take())
