"""Every documented shape of a request, and every refusal."""

import json

import pytest

from container.serving.media_types import decoder_of
from container.serving.payloads import Rows
from fm_core.batch import Batch
from fm_core.errors import DataError
from tests.container.serving.records import framed

JSON, LINES, RECORDIO = "application/json", "application/jsonlines", "application/x-recordio-protobuf"

SPARSE = {"data": {"features": {"keys": [1, 3], "shape": [5], "values": [2.0, 0.5]}}}
ROW = {1: 2.0, 3: 0.5}
DENSE = {"features": [0, 2.0, 0, 0.5, 0]}

SHAPES = {
    "features": DENSE,
    "values": {"data": {"features": {"values": [0, 2.0, 0, 0.5, 0]}}},
    "sparse": SPARSE,
    "without shape": {"data": {"features": {"keys": [1, 3], "values": [2.0, 0.5]}}},
    "with configuration": SPARSE | {"configuration": {"anything": [1, 2]}},
    "keys out of order": {"data": {"features": {"keys": [3, 1], "values": [0.5, 2]}}},
    "a key twice": {"data": {"features": {"keys": [1, 3, 1], "values": [1.5, 0.5, 0.5]}}},
    "no keys but every value": {"data": {"features": {"keys": [], "shape": [5], "values": [0, 2.0, 0, 0.5, 0]}}},
    "the tensor alone": {"keys": [1, 3], "values": [2.0, 0.5]},
}


def rows_of(batch):
    if batch.is_dense:
        return [{i: float(x) for i, x in enumerate(row) if x} for row in batch.values]
    return [
        dict(zip(batch.indices[a:b].tolist(), batch.values[a:b].tolist(), strict=True))
        for a, b in zip(batch.indptr, batch.indptr[1:], strict=False)
    ]


def decode(content_type, body, feature_dim=5):
    """All rows of a body, which may come in parts."""
    parts = list(decoder_of(content_type)(body, feature_dim))
    if len(parts) == 1:
        return parts[0]
    return Rows(Batch.concatenate([part.batch for part in parts]) if parts else Batch.empty(feature_dim, is_dense=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_json_instance_is_the_same_row(shape):
    rows = decode(JSON, json.dumps({"instances": [SHAPES[shape]]}).encode())
    assert rows_of(rows.batch) == [ROW]
    lines = decode(LINES, json.dumps(SHAPES[shape]).encode())
    assert rows_of(lines.batch) == [ROW]


def test_dense_and_sparse_instances_may_be_mixed():
    empty = {"data": {"features": {"keys": [], "shape": [5], "values": []}}}
    shape_only = {"data": {"features": {"shape": [5], "values": []}}}
    rows = decode(JSON, json.dumps({"instances": [DENSE, empty, SPARSE, shape_only]}).encode())
    assert rows_of(rows.batch) == [ROW, {}, ROW, {}]


def test_no_instances_are_no_rows():
    assert decode(JSON, b'{"instances": []}').batch.n_rows == 0


def test_jsonlines_take_any_line_end_and_skip_blank_lines():
    line = json.dumps(SPARSE).encode()
    rows = decode(LINES, b"\n" + line + b"\r\n\r\n" + line + b"\n  \n")
    assert rows_of(rows.batch) == [ROW, ROW]


def test_a_json_line_is_an_object_of_its_own():
    with pytest.raises(DataError, match="instance 0 is not valid JSON"):
        decode(LINES, b'{"features":[0,2\n0,0.5,0]}')


def test_csv_rows_are_dense():
    rows = decode("text/csv", b"0,2,0,0.5,0\r\n\n 0, 2.0 ,0,5e-1,0")
    assert rows_of(rows.batch) == [ROW, ROW]


def test_libsvm_rows_are_sparse_with_or_without_a_label():
    rows = decode("text/libsvm", b"1 1:2 3:0.5\n3:0.5 1:2 # later\n\n-1\n1:1 1:1 3:.5\n")
    assert rows_of(rows.batch) == [ROW, ROW, {}, ROW]


def test_recordio_takes_many_frames_and_keeps_what_names_them():
    body = b"".join(framed([2.0, 0.5], [1, 3], 5, uid=f"u{i}", metadata="m") for i in range(3))
    rows = decode(RECORDIO, body)
    assert rows_of(rows.batch) == [ROW] * 3
    assert rows.uids == [b"u0", b"u1", b"u2"]
    assert rows.metadatas == [b"m"] * 3


# --- refusals --------------------------------------------------------------------------------

REFUSED = {
    "not JSON": (JSON, b"{", "the body is not valid JSON"),
    "NaN": (JSON, b'{"instances":[{"features":[NaN,1,2,3,4]}]}', "JSON has no NaN"),
    "-Infinity": (JSON, b'{"instances":[{"features":[-Infinity,1,2,3,4]}]}', "not valid JSON"),
    "beyond float64": (JSON, b'{"instances":[{"features":[1e999,1,2,3,4]}]}', "not valid JSON"),
    "beyond float32": (JSON, b'{"instances":[{"features":[0,1e39,2,3,4]}]}', "instance 0: value 1 is 1e\\+39"),
    "an integer beyond float32": (JSON, b'{"instances":[{"features":[0,1' + b"0" * 40 + b",2,3,4]}]}", "not finite"),
    "deep nesting": (JSON, b'{"instances":' + b"[" * 100_000, "not valid JSON"),
    "deep nesting, closed": (JSON, b"[" * 5000 + b"]" * 5000, "not valid JSON"),
    "a column twice": (JSON, b'{"instances":[{"columns":{"a":1,"a":2}}]}', "the body has the key 'a' twice in one obj"),
    "features twice": (JSON, b'{"instances":[{"features":[1],"features":[1,2,3,4,5]}]}', "the key 'features' twice"),
    "instances twice": (JSON, b'{"instances":[],"instances":[{"features":[1,2,3,4,5]}]}', "the key 'instances' twice"),
    "an escaped key twice": (JSON, b'{"instances":[{"keys":[1],"values":[1],"ke\\u0079s":[2]}]}', "key 'keys' twice"),
    "a colon and a key twice": (JSON, b'{"instances":[{"features":[1,2,3,4,5],"a:":1,"a:":":"}]}', "key 'a:' twice"),
    "a line's key twice": (LINES, b'{"features":[1,2,3,4,5]}\n{"keys":[],"keys":[1],"values":[1]}', "instance 1 has"),
    "a list": (JSON, b"[]", '"instances"'),
    "a number": (JSON, b"1", '"instances"'),
    "no instances": (JSON, b"{}", '"instances"'),
    "instances no list": (JSON, b'{"instances":{}}', '"instances"'),
    "an instance that is a list": (JSON, b'{"instances":[{"features":[1,2,3,4,5]},[1]]}', "instance 1 is a list"),
    "no features": (JSON, b'{"instances":[{"data":{}}]}', "instance 0 has neither"),
    "data no object": (JSON, b'{"instances":[{"data":[1]}]}', "instance 0 has neither"),
    "features null": (JSON, b'{"instances":[{"features":null}]}', "instance 0 has neither"),
    "features a string": (JSON, b'{"instances":[{"features":"1,2"}]}', '"features" is a string'),
    "too narrow": (JSON, b'{"instances":[{"features":[1,2]}]}', "instance 0: 2 values without keys, .*feature_dim=5"),
    "too wide": (LINES, b'{"features":[1,2,3,4,5,6]}', "6 values without keys"),
    "a key too high": (JSON, b'{"instances":[{"keys":[5],"values":[1]}]}', "key 5 is not below feature_dim=5"),
    "a huge key": (JSON, b'{"instances":[{"keys":[18446744073709551615],"values":[1]}]}', "is not below"),
    "a negative key": (JSON, b'{"instances":[{"keys":[-1],"values":[1]}]}', "key -1 is negative"),
    "a fractional key": (JSON, b'{"instances":[{"keys":[1.0],"values":[1]}]}', "expected an integer"),
    "a key true": (JSON, b'{"instances":[{"keys":[true],"values":[1]}]}', "key True is true or false"),
    "a value true": (JSON, b'{"instances":[{"keys":[1],"values":[true]}]}', "value 0 is true or false"),
    "a value a list": (JSON, b'{"instances":[{"keys":[1],"values":[[1]]}]}', "value 0 is a list"),
    "a key a string": (JSON, b'{"instances":[{"keys":["1"],"values":[1]}]}', "expected an integer"),
    "fewer values": (JSON, b'{"instances":[{"keys":[1,2],"values":[1]}]}', "1 values for 2 keys"),
    "keys no list": (JSON, b'{"instances":[{"keys":1,"values":[1]}]}', '"keys" is an integer'),
    "values no list": (JSON, b'{"instances":[{"data":{"features":{"keys":[1]}}}]}', '"values" is null or absent'),
    "another shape": (JSON, b'{"instances":[{"keys":[1],"shape":[6],"values":[1]}]}', '"shape" is \\[6\\]'),
    "a huge shape": (
        JSON,
        b'{"instances":[{"keys":[1],"shape":[1000000000000000000],"values":[1]}]}',
        '"shape" is',
    ),
    "a sum beyond float32": (JSON, b'{"instances":[{"keys":[1,1],"values":[3e38,3e38]}]}', "add up to more"),
    "a broken line": (LINES, b'{"features":[1,2,3,4,5]}\n{', "instance 1 is not valid JSON"),
    "csv too wide": ("text/csv", b"1,2,3,4,5\n1,2,3,4,5,6", "line 2: found 6 columns, expected 5, feature_dim=5"),
    "csv header": ("text/csv", b"a,b,c,d,e\n1,2,3,4,5", "line 1, column 0: found 'a', .*header=present"),
    "csv nan": ("text/csv", b"1,2,3,4,nan", "line 1, column 4: found 'nan'"),
    "csv too large": ("text/csv", b"1,2,3,4,1e39", "line 1, column 4: found '1e39'"),
    "csv empty value": ("text/csv", b"1,2,3,,5", "line 1, column 3: found ''"),
    "csv not text": ("text/csv", b"1,2,3,4,\xff", "line 1, column 4: found .*expected a number"),
    "libsvm no colon": ("text/libsvm", b"1 1:2\n0 3", "line 2: '3' is not key:value"),
    "libsvm two colons": ("text/libsvm", b"1:2:3", "line 1: '1:2:3' is not key:value"),
    "libsvm key": ("text/libsvm", b"1 5:1", "line 1: key 5 is not a feature, expected 0 to 4 for feature_dim=5"),
    "libsvm negative key": ("text/libsvm", b"1 -1:1", "line 1: '-1:1' is not key:value"),
    "libsvm label no number": ("text/libsvm", b"1,2,3,4,5", "line 1: the label is '1,2,3,4,5', expected a number"),
    "libsvm inf": ("text/libsvm", b"1 1:inf", "line 1: '1:inf' is not key:value"),
    "libsvm huge key": ("text/libsvm", b"1 " + b"9" * 5000 + b":1", "line 1: '9+' is not key:value"),
    "recordio cut": (RECORDIO, framed([1.0], [1], 5)[:-3], "record 0"),
    "recordio no magic": (RECORDIO, b"hello, world", "magic"),
    "recordio key": (RECORDIO, framed([1.0], [5], 5), "feature_dim=5"),
    "recordio length": (RECORDIO, bytes.fromhex("0a23d7ceffffff1f"), "record 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(case):
    content_type, body, sentence = REFUSED[case]
    with pytest.raises(DataError, match=sentence) as raised:
        decode(content_type, body)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)
