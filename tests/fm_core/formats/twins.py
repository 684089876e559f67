"""The plain reader and the compiled one behind the same function, to be held against each other."""

from typing import NamedTuple

from fm_core.errors import DataError
from fm_core.formats import Source, read_batches
from fm_core.formats.recordio import _decode
from fm_core.formats.recordio.faults import BadRecord, located
from fm_core.formats.recordio.framing import Framer
from fm_core.formats.recordio.payload import parse, read_row


class Outcome(NamedTuple):
    """The rows that were read (keys or None, values, label), and why no more were."""

    rows: list
    sentence: str | None


def plain(chunks, feature_dim, labels, is_dense=None) -> Outcome:
    framer = Framer()
    rows = []
    place = None  # of the record that is being looked at
    try:
        for chunk in chunks:
            for frame in framer.feed(chunk):
                place = frame.offset
                message = parse(frame.payload, with_label=labels != "none")
                row = read_row(message, feature_dim=feature_dim, labels=labels, is_dense=is_dense)
                is_dense = row.keys is None
                rows.append((row.keys, row.values, row.label))
                place = None
        framer.close()
    except BadRecord as error:
        offset = framer.offset if place is None else place
        return Outcome(rows, located("source", len(rows), offset, str(error)))
    return Outcome(rows, None)


def compiled(chunks, feature_dim, labels, is_dense=None, batch_size=3) -> Outcome:
    """What the decoder finds, with the instructions of varints.h, where they are there, as without them."""
    chunks = list(chunks)
    found = []
    try:
        for wanted in (False, True):
            _decode.use_vbmi2(wanted)
            found.append(_compiled(chunks, feature_dim, labels, is_dense, batch_size))
    finally:
        _decode.use_vbmi2(True)
    assert found[0] == found[1]
    return found[0]


def _compiled(chunks, feature_dim, labels, is_dense, batch_size) -> Outcome:
    rows = []
    try:
        for batch in read_batches(
            [Source("source", chunks)], feature_dim=feature_dim, batch_size=batch_size, labels=labels, is_dense=is_dense
        ):
            rows += rows_of(batch)
    except DataError as error:
        return Outcome(rows, str(error))
    return Outcome(rows, None)


def rows_of(batch) -> list:
    labels = [None] * batch.n_rows if batch.labels is None else batch.labels.tolist()
    if batch.is_dense:
        return [(None, values.tolist(), label) for values, label in zip(batch.values, labels, strict=True)]
    return [
        (batch.indices[start:stop].tolist(), batch.values[start:stop].tolist(), label)
        for start, stop, label in zip(batch.indptr[:-1], batch.indptr[1:], labels, strict=True)
    ]
