"""Framed records as a client makes them, with the protobuf package; and answers read the same way."""

from fm_core.formats.recordio.framing import frame
from fm_core.formats.recordio.messages import Record


def framed(values, keys=(), shape=None, uid=None, metadata=None):
    record = Record()
    tensor = record.features["values"].float32_tensor
    tensor.values.extend(values)
    tensor.keys.extend(keys)
    if shape is not None:
        tensor.shape.append(shape)
    if uid is not None:
        record.uid = uid
    if metadata is not None:
        record.metadata = metadata
    return frame(record.SerializeToString())


def answers(body):
    """Each record of an answer as (label name -> number, uid, metadata)."""
    found, at = [], 0
    while at < len(body):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        record = Record.FromString(bytes(body[at + 8 : at + 8 + size]))
        labels = {name: value.float32_tensor.values[0] for name, value in record.label.items()}
        found.append((labels, record.uid, record.metadata))
        at += 8 + size + -size % 4
    return found
