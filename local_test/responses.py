"""Read a RecordIO-protobuf response as a client does, with the protobuf package and none of the project's code."""

import struct
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

__all__ = ["read_scores"]

MAGIC = 0xCED7230A
FIELD = descriptor_pb2.FieldDescriptorProto
PACKAGE = "aialgs.data"


def read_scores(body: bytes) -> NDArray[np.float32]:
    """Take the score of every record of a response body."""
    scores = []
    offset = 0
    while offset < len(body):
        magic, length = struct.unpack_from("<II", body, offset)
        if magic != MAGIC:
            raise ValueError(f"byte {offset}: {magic:#x} is not the RecordIO magic")
        record = RECORD.FromString(body[offset + 8 : offset + 8 + length])
        scores.append(record.label["score"].float32_tensor.values[0])
        offset += 8 + (length + 3) // 4 * 4
    return np.array(scores, np.float32)


def _record_class() -> Any:
    """Build the part of the Record schema that a response has: a map of labels to float32 tensors."""
    file = descriptor_pb2.FileDescriptorProto(name="response.proto", package=PACKAGE, syntax="proto2")

    def message(parent: Any, name: str, **fields: tuple[int, int, int, str]) -> Any:
        added = parent.add(name=name)
        for field, (number, kind, label, kind_name) in fields.items():
            added.field.add(name=field, number=number, type=kind, label=label, type_name=kind_name)
        return added

    one, many, text, nested = FIELD.LABEL_OPTIONAL, FIELD.LABEL_REPEATED, FIELD.TYPE_STRING, FIELD.TYPE_MESSAGE
    message(file.message_type, "Float32Tensor", values=(1, FIELD.TYPE_FLOAT, many, ""))
    message(file.message_type, "Value", float32_tensor=(2, nested, one, f".{PACKAGE}.Float32Tensor"))
    record = message(file.message_type, "Record", label=(2, nested, many, f".{PACKAGE}.Record.LabelEntry"))
    entry = message(
        record.nested_type, "LabelEntry", key=(1, text, one, ""), value=(2, nested, one, f".{PACKAGE}.Value")
    )
    entry.options.map_entry = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Record"))


RECORD = _record_class()
