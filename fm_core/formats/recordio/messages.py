"""The protobuf package's message classes of record.proto, built when this module is imported.

For users who want `Record` messages themselves. Nothing else here needs the protobuf
package, and importing it takes longer than a small training job, so this module is
imported on request only. The descriptors are in a pool of their own, so they do not
clash with another library's `aialgs.data.Record`, such as the SageMaker SDK's.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["Bytes", "Float32Tensor", "Float64Tensor", "Int32Tensor", "Record", "Value"]

_PACKAGE = "aialgs.data"
_Field = descriptor_pb2.FieldDescriptorProto


def _add_field(message: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str = "") -> Any:
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, type=kind, label=label)
    if of:
        field.type_name = f".{_PACKAGE}.{of}"
    return field


def _add_tensor(file: Any, name: str, kind: int) -> None:
    message = file.message_type.add(name=name)
    for number, (field, of_kind) in enumerate(
        {"values": kind, "keys": _Field.TYPE_UINT64, "shape": _Field.TYPE_UINT64}.items(), start=1
    ):
        _add_field(message, field, number, of_kind, repeated=True).options.packed = True


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="record.proto", package=_PACKAGE, syntax="proto2")
    _add_tensor(file, "Float32Tensor", _Field.TYPE_FLOAT)
    _add_tensor(file, "Float64Tensor", _Field.TYPE_DOUBLE)
    _add_tensor(file, "Int32Tensor", _Field.TYPE_INT32)
    message = file.message_type.add(name="Bytes")
    _add_field(message, "value", 1, _Field.TYPE_BYTES, repeated=True)
    _add_field(message, "content_type", 2, _Field.TYPE_STRING)
    message = file.message_type.add(name="Value")
    message.oneof_decl.add(name="value")
    for name, number, of in (
        ("float32_tensor", 2, "Float32Tensor"),
        ("float64_tensor", 3, "Float64Tensor"),
        ("int32_tensor", 7, "Int32Tensor"),
        ("bytes", 9, "Bytes"),
    ):
        _add_field(message, name, number, _Field.TYPE_MESSAGE, of=of).oneof_index = 0
    record = file.message_type.add(name="Record")
    for number, (name, entry_name) in enumerate({"features": "FeaturesEntry", "label": "LabelEntry"}.items(), start=1):
        entry = record.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _add_field(entry, "key", 1, _Field.TYPE_STRING)
        _add_field(entry, "value", 2, _Field.TYPE_MESSAGE, of="Value")
        _add_field(record, name, number, _Field.TYPE_MESSAGE, repeated=True, of=f"Record.{entry_name}")
    for number, name in enumerate(("uid", "metadata", "configuration"), start=3):
        _add_field(record, name, number, _Field.TYPE_STRING)
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(_file().SerializeToString())


def _message_class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Bytes = _message_class("Bytes")
Float32Tensor = _message_class("Float32Tensor")
Float64Tensor = _message_class("Float64Tensor")
Int32Tensor = _message_class("Int32Tensor")
Record = _message_class("Record")
Value = _message_class("Value")
