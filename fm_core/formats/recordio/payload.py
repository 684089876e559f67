"""Payload to row in plain Python: the specification of `_decode`, simple and slow.

`parse` reads the protobuf message of record.proto (only the parts that a row needs), as the
protobuf package would: fields in any order, packed or not, unknown ones skipped, repeated
messages merged, the last of a oneof and the last entry of a map key kept. `read_row` then
checks it against the data set. Parts that are not needed (features under other keys, labels
that were not requested) are not parsed.

Both raise `BadRecord`. The order of checks is part of the specification, because the first
fault is the one that is reported.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fm_core.formats.recordio.faults import BadRecord, Fault

__all__ = ["Message", "Row", "Tensor", "parse", "read_row"]

_UINT64_MAX = (1 << 64) - 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

_FLOAT32, _FLOAT64, _INT32, _OPAQUE = 2, 3, 7, 9  # the oneof of Value, by field number
_VALUE_WIRE_TYPES = {_FLOAT32: _FIXED32, _FLOAT64: _FIXED64, _INT32: _VARINT}
_FLOATS = {_FLOAT32: struct.Struct("<f"), _FLOAT64: struct.Struct("<d")}


@dataclass
class Tensor:
    """What one Value holds.

    Attributes
    ----------
    member : int
        Field number of the tensor in Value; 0 if it holds nothing.
    values : list of float
        Converted to float32.
    keys, shape : list of int
    """

    member: int = 0
    values: list[float] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)


@dataclass
class Message:
    """The parts of a Record that are read."""

    features: Tensor = field(default_factory=Tensor)
    label: Tensor = field(default_factory=Tensor)
    weight: Tensor = field(default_factory=Tensor)
    uid: bytes | None = None
    metadata: bytes | None = None


class Row(NamedTuple):
    """One example: `keys` None if it is dense, else strictly increasing; `weight` None if it counts once."""

    keys: list[int] | None
    values: list[float]
    label: float | None
    weight: float | None = None


def read_row(message: Message, *, feature_dim: int, labels: str, is_dense: bool | None = None) -> Row:
    """Check a message against its data set and make a row of it.

    Parameters
    ----------
    message : Message
    feature_dim : int
    labels : {"binary", "real", "none"}
    is_dense : bool, optional
        What the records before it were; None: either is welcome.

    Returns
    -------
    row : Row

    Raises
    ------
    BadRecord
        The record does not fit its data set; it has the number of the first fault.
    """
    tensor = message.features
    n_keys, n_values, width = len(tensor.keys), len(tensor.values), _width(tensor.shape)
    if tensor.member == _OPAQUE:
        raise BadRecord(Fault.NOT_A_TENSOR)
    # The all-zero row of a sparse matrix has a shape at most, and neither keys nor values.
    dense = n_keys == 0 and n_values > 0 and (not tensor.shape or n_values >= width)
    if not dense and n_keys != n_values:
        raise BadRecord(Fault.KEYS, n_keys, n_values)
    if is_dense is not None and dense != is_dense:
        raise BadRecord(Fault.NOT_DENSE, n_keys) if is_dense else BadRecord(Fault.NOT_SPARSE, n_values)
    if tensor.shape and width != feature_dim:
        raise BadRecord(Fault.SHAPE, width, feature_dim)
    if dense and n_values != feature_dim:
        raise BadRecord(Fault.WIDTH, n_values, feature_dim)
    for key in tensor.keys:
        if key >= feature_dim:
            raise BadRecord(Fault.KEY, key, feature_dim)
    for key, value in zip(tensor.keys or range(n_values), tensor.values, strict=True):
        if not math.isfinite(value):
            raise BadRecord(Fault.VALUE, key, 0, value)
    keys, values = (None, tensor.values) if dense else _summed(tensor.keys, tensor.values)
    label = _label(message.label, labels)
    return Row(keys, values, label, None if label is None else _weight(message.weight))


def _width(shape: list[int]) -> int:
    width = 1
    for size in shape:
        width = min(width * size, _UINT64_MAX)
    return width


def _summed(keys: list[int], values: list[float]) -> tuple[list[int], list[float]]:
    """Order by key; values of a repeated key are summed in float64, in their order in the record."""
    sums: dict[int, float] = {}
    for key, value in zip(keys, values, strict=True):
        sums[key] = sums[key] + value if key in sums else value
    ordered = sorted(sums)
    rounded = [_float32(sums[key]) for key in ordered]
    for key, value in zip(ordered, rounded, strict=True):
        if not math.isfinite(value):
            raise BadRecord(Fault.VALUE, key, 0, value)
    return ordered, rounded


def _label(tensor: Tensor, labels: str) -> float | None:
    if labels == "none":
        return None
    if not tensor.values:
        raise BadRecord(Fault.LABEL_MISSING)
    if len(tensor.values) > 1:
        raise BadRecord(Fault.LABEL_MANY, len(tensor.values))
    (label,) = tensor.values
    if not math.isfinite(label):
        raise BadRecord(Fault.LABEL_VALUE, 0, 0, label)
    if labels == "binary" and label not in (0.0, 1.0):
        raise BadRecord(Fault.LABEL_BINARY, 0, 0, label)
    return label


def _weight(tensor: Tensor) -> float | None:
    if not tensor.values:
        return None
    if len(tensor.values) > 1:
        raise BadRecord(Fault.WEIGHT_MANY, len(tensor.values))
    (weight,) = tensor.values
    if not (math.isfinite(weight) and weight >= 0):
        raise BadRecord(Fault.WEIGHT_VALUE, 0, 0, weight)
    return weight


def parse(payload: bytes, *, with_label: bool = True) -> Message:
    """Read the protobuf message of one record.

    Parameters
    ----------
    payload : bytes
    with_label : bool
        Whether labels are looked into.

    Returns
    -------
    message : Message
    """
    message = Message()
    for item in _fields(payload, 0, len(payload)):
        if item.wire_type != _BYTES:
            continue
        if item.number == 1:
            message.features = _entry(payload, item.start, item.end, message.features)
        elif item.number == 2 and with_label:
            message.label = _entry(payload, item.start, item.end, message.label)
            message.weight = _entry(payload, item.start, item.end, message.weight, b"weights")
        elif item.number == 3:
            message.uid = payload[item.start : item.end]
        elif item.number == 4:
            message.metadata = payload[item.start : item.end]
    return message


def _entry(payload: bytes, start: int, end: int, known: Tensor, wanted: bytes = b"values") -> Tensor:
    """Read one entry of a map: its tensor if the key is the one that is wanted, else what was known before."""
    key = b""
    values = []
    for item in _fields(payload, start, end):
        if item.wire_type == _BYTES and item.number == 1:
            key = payload[item.start : item.end]
        elif item.wire_type == _BYTES and item.number == 2:
            values.append(item)
    if key != wanted:
        return known
    tensor = Tensor()
    for value in values:
        for item in _fields(payload, value.start, value.end):
            if item.wire_type == _BYTES and item.number in (_FLOAT32, _FLOAT64, _INT32, _OPAQUE):
                if item.number != tensor.member:
                    tensor = Tensor(item.number)
                if item.number != _OPAQUE:
                    _merge(tensor, payload, item.start, item.end)
    return tensor


def _merge(tensor: Tensor, payload: bytes, start: int, end: int) -> None:
    """Append the fields of one tensor message to `tensor`."""
    for item in _fields(payload, start, end):
        packed = item.wire_type == _BYTES
        if item.number == 1 and (packed or item.wire_type == _VALUE_WIRE_TYPES[tensor.member]):
            tensor.values += _numbers(tensor.member, payload, item.start, item.end)
        elif item.number in (2, 3) and (packed or item.wire_type == _VARINT):
            (tensor.keys if item.number == 2 else tensor.shape).extend(_varints(payload, item.start, item.end))


def _numbers(member: int, payload: bytes, start: int, end: int) -> list[float]:
    if member == _INT32:
        # As protobuf does, only the low 32 bits count.
        return [_float32((v + (1 << 31)) % (1 << 32) - (1 << 31)) for v in _varints(payload, start, end)]
    layout = _FLOATS[member]
    if (end - start) % layout.size:
        raise BadRecord(Fault.RAGGED, start, end - start)
    return [_float32(value) for (value,) in layout.iter_unpack(payload[start:end])]


def _float32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


class _Field(NamedTuple):
    number: int
    wire_type: int
    start: int  # of the content, behind tag and length
    end: int


def _fields(payload: bytes, start: int, end: int) -> Iterator[_Field]:
    """Walk over the fields of a message."""
    at = start
    while at < end:
        begin = at
        tag, at = _varint(payload, at, end, bits=32)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise BadRecord(Fault.FIELD_ZERO, begin)
        if wire_type == _VARINT:
            stop = _varint(payload, at, end, bits=64)[1]
        elif wire_type == _BYTES:
            size, at = _varint(payload, at, end, bits=32)
            if size > end - at:
                raise BadRecord(Fault.LENGTH, begin, size)
            stop = at + size
        elif wire_type in _FIXED_SIZES:
            stop = at + _FIXED_SIZES[wire_type]
            if stop > end:
                raise BadRecord(Fault.LENGTH, begin, _FIXED_SIZES[wire_type])
        else:
            raise BadRecord(Fault.WIRE_TYPE, begin, wire_type)
        yield _Field(number, wire_type, at, stop)
        at = stop


def _varints(payload: bytes, start: int, end: int) -> Iterator[int]:
    while start < end:
        value, start = _varint(payload, start, end, bits=64)
        yield value


def _varint(payload: bytes, start: int, end: int, *, bits: int) -> tuple[int, int]:
    """Read one varint: its value, and where it ends."""
    value = 0
    for position in range(-(-bits // 7)):
        if start + position >= end:
            raise BadRecord(Fault.VARINT_CUT, start)
        byte = payload[start + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if value >> bits:
                break
            return value, start + position + 1
    raise BadRecord(Fault.VARINT_LONG, start)
