"""The message classes, and that nobody loads them unasked."""

import re
import subprocess
import sys
from pathlib import Path

from fm_core.formats.recordio import messages as schema

PROTO = Path(schema.__file__).with_name("record.proto")


def test_the_classes_are_those_of_the_proto_file():
    """Compares each `type name = number` of the text with the descriptors."""
    message, declared = "", set()
    for line in PROTO.read_text().splitlines():
        if match := re.match(r"message (\w+)", line):
            message = match[1]
        elif match := re.match(r"\s*(?:(repeated|optional) )?([\w<>, ]+?) (\w+) = (\d+)", line):
            declared.add((message, match[1] or "", match[2], match[3], int(match[4]), "packed = true" in line))
    assert declared == {fact for name in schema.__all__ for fact in _facts(name, getattr(schema, name).DESCRIPTOR)}


def _facts(message, descriptor):
    kinds = {1: "double", 2: "float", 4: "uint64", 5: "int32", 9: "string", 12: "bytes"}
    for field in descriptor.fields:
        is_repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        label = "repeated" if is_repeated else "optional"  # older versions have the label alone
        kind = kinds.get(field.type) or field.message_type.name
        if field.message_type and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            label, kind = "", f"map<{kinds[key.type]}, {value.message_type.name}>"
        if field.containing_oneof:
            label = ""
        yield message, label, kind, field.name, field.number, field.GetOptions().packed


def test_protobuf_is_not_loaded_unasked():
    script = "import sys, fm_core.formats; sys.exit(any(m.startswith('google') or m == 'scipy' for m in sys.modules))"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PROTO.parents[3])
