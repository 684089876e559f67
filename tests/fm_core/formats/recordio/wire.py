"""Protobuf and RecordIO by hand, piece by piece, so that tests can put the pieces together wrongly."""

import struct

FLOAT32, FLOAT64, INT32, OPAQUE = 2, 3, 7, 9
MAGIC = struct.pack("<I", 0xCED7230A)


def varint(value: int, width: int = 1) -> bytes:
    """Encode `value` in at least `width` bytes; negative numbers as protobuf does, in ten."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80 or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    """A field with length and content."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def single(number: int, wire_type: int, content: bytes) -> bytes:
    """A field without a length."""
    return varint(number << 3 | wire_type) + content


def numbers(member: int, values) -> bytes:
    if member == INT32:
        return b"".join(varint(int(value)) for value in values)
    return b"".join(struct.pack("<f" if member == FLOAT32 else "<d", value) for value in values)


def tensor(values=(), keys=(), shape=(), member: int = FLOAT32) -> bytes:
    """Content of a tensor, packed, empty fields left out."""
    packed = (numbers(member, values), numbers(INT32, keys), numbers(INT32, shape))
    return b"".join(field(i, content) for i, content in enumerate(packed, start=1) if content)


def value(content: bytes, member: int = FLOAT32) -> bytes:
    return field(member, content)


def entry(content: bytes, key: bytes = b"values") -> bytes:
    """Content of an entry of a map, `content` being that of its Value."""
    return field(1, key) + field(2, content)


def features(values=(), keys=(), shape=(), member: int = FLOAT32) -> bytes:
    """The features field of a record."""
    return field(1, entry(value(tensor(values, keys, shape, member), member)))


def label(*values, member: int = FLOAT32, key: bytes = b"values") -> bytes:
    """The label field of a record."""
    return field(2, entry(value(tensor(values, member=member), member), key))


def frame(payload: bytes, flag: int = 0) -> bytes:
    """One frame; see fm_core.formats.recordio.framing."""
    return MAGIC + struct.pack("<I", flag << 29 | len(payload)) + payload + bytes(-len(payload) % 4)


def split_at_magic(payload: bytes) -> bytes:
    """Frame a payload as dmlc's writer does: cut, and dropped, at each aligned magic."""
    parts = [b""]
    at = 0
    while at < len(payload):
        if payload[at : at + 4] == MAGIC:
            parts.append(b"")
        else:
            parts[-1] += payload[at : at + 4]
        at += 4
    if len(parts) == 1:
        return frame(payload)
    flags = [1, *[2] * (len(parts) - 2), 3]
    return b"".join(frame(part, flag) for part, flag in zip(parts, flags, strict=True))
