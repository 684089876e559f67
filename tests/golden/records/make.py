"""Write the golden records: bytes beside what they have to be read as.

Run from the root of the checkout: ``python -m tests.golden.records.make``. Rows and
sentences are written here by hand; nothing is computed by the code under test.
"""

# ruff: noqa: E501 (two tables, a line for a thing)

import json
from pathlib import Path

from tests.fm_core.formats.recordio.wire import (
    FLOAT32,
    FLOAT64,
    INT32,
    OPAQUE,
    entry,
    features,
    field,
    frame,
    label,
    numbers,
    single,
    split_at_magic,
    tensor,
    value,
    varint,
)

HERE = Path(__file__).parent
D = 10
MAGIC_FLOAT = -1804698880.0  # its bytes are the RecordIO magic

_INF, _NAN = float("inf"), float("nan")


def row(keys, values, label=None):
    return {"keys": keys, "values": values, "label": label}


# Three rows as sparse and as dense records.
SPARSE = [row([0, 3], [1.0, 0.5], 1.0), row([9], [-2.0], 0.0), row([], [], 1.0)]
DENSE = [row(None, [float(i) for i in range(D)], 1.0), row(None, [0.0] * D, 0.0)]


def sparse_file(member, label_member):
    return b"".join(
        frame(features(r["values"], r["keys"], [D], member) + label(r["label"], member=label_member)) for r in SPARSE
    )


def unpacked(member, wire_type, values, keys=(), shape=()):
    """A tensor with each number as a field of its own."""
    return (
        b"".join(single(1, wire_type, numbers(member, [v])) for v in values)
        + b"".join(single(2, 0, varint(k)) for k in keys)
        + b"".join(single(3, 0, varint(s)) for s in shape)
    )


def feature_entry(content):
    return field(1, content)


# name: (bytes, rows). Read with feature_dim D and labels "real", unless the label is None.
VALID = {
    "empty": (b"", []),
    "sparse_float32": (sparse_file(FLOAT32, FLOAT32), SPARSE),
    "sparse_float64": (sparse_file(FLOAT64, FLOAT64), SPARSE),
    "sparse_float64_label_int": (sparse_file(FLOAT64, INT32), SPARSE),
    "sparse_int32": (
        frame(features([3, -1, 2147483647], [1, 2, 5], [D], INT32) + label(-7, member=INT32)),
        [row([1, 2, 5], [3.0, -1.0, 2147483648.0], -7.0)],
    ),
    "dense_float32": (b"".join(frame(features(r["values"]) + label(r["label"])) for r in DENSE), DENSE),
    "dense_float64": (b"".join(frame(features(r["values"], member=FLOAT64) + label(r["label"])) for r in DENSE), DENSE),
    "dense_int32": (
        b"".join(frame(features(map(int, r["values"]), member=INT32) + label(r["label"])) for r in DENSE),
        DENSE,
    ),
    "dense_with_shape": (
        frame(features(DENSE[0]["values"], shape=[D]) + label(1.0))
        + frame(features(DENSE[0]["values"], shape=[2, 5]) + label(0.5)),
        [row(None, DENSE[0]["values"], 1.0), row(None, DENSE[0]["values"], 0.5)],
    ),
    "sparse_without_shape": (frame(features([1.5], [4]) + label(2.0)), [row([4], [1.5], 2.0)]),
    "no_features": (frame(label(2.0)), [row([], [], 2.0)]),
    "no_label": (frame(features([1.5], [4], [D])), [row([4], [1.5])]),
    "empty_payload": (frame(b""), [row([], [])]),
    "label_before_features": (frame(label(2.0) + features([1.5], [4], [D])), [row([4], [1.5], 2.0)]),
    "value_before_key": (
        frame(feature_entry(field(2, value(tensor([1.5], [4]))) + field(1, b"values")) + label(2.0)),
        [row([4], [1.5], 2.0)],
    ),
    "shape_and_keys_before_values": (
        frame(feature_entry(entry(value(field(3, varint(D)) + field(2, b"\x04") + tensor([1.5])))) + label(2.0)),
        [row([4], [1.5], 2.0)],
    ),
    "keys_out_of_order": (frame(features([1.0, 2.0, 3.0], [7, 2, 5], [D]) + label(1.0)), [row([2, 5, 7], [2, 3, 1], 1)]),
    "keys_repeated": (
        frame(features([1.0, 2.0, 3.0, 4.0], [7, 2, 7, 7], [D]) + label(1.0)),
        [row([2, 7], [2, 8], 1)],
    ),
    "unpacked": (
        frame(feature_entry(entry(value(unpacked(FLOAT32, 5, [1.0, 2.0], [3, 6], [D])))) + label(1.0))
        + frame(feature_entry(entry(value(unpacked(FLOAT64, 1, [1.0, 2.0], [3, 6]), FLOAT64))) + label(1.0))
        + frame(feature_entry(entry(value(unpacked(INT32, 0, [-1, 2], [3, 6]), INT32))) + label(1.0)),
        [row([3, 6], [1.0, 2.0], 1.0), row([3, 6], [1.0, 2.0], 1.0), row([3, 6], [-1.0, 2.0], 1.0)],
    ),
    "packed_in_segments": (
        frame(
            feature_entry(entry(value(tensor([1.0], [3]) + single(1, 5, numbers(FLOAT32, [2.0])) + tensor([], [6]))))
            + label(1.0)
        ),
        [row([3, 6], [1.0, 2.0], 1.0)],
    ),
    "values_of_an_entry_merge": (
        frame(feature_entry(entry(value(tensor([1.0], [3]))) + field(2, value(tensor([2.0], [6])))) + label(1.0)),
        [row([3, 6], [1.0, 2.0], 1.0)],
    ),
    "last_of_a_oneof_wins": (
        frame(
            feature_entry(
                entry(value(tensor([1.0], [3])) + value(tensor([2], [99], [5], INT32), INT32) + value(tensor([4.0], [6])))
            )
            + label(1.0)
        ),
        [row([6], [4.0], 1.0)],
    ),
    "last_of_an_entry_wins": (
        frame(features([_NAN, 1.0], [3, 1 << 63], [7]) + features([4.0], [6]) + label(3.0) + label(1.0, 2.0) + label(5.0)),
        [row([6], [4.0], 5.0)],
    ),
    "other_keys_ignored": (
        frame(
            feature_entry(entry(value(tensor([1.0], [3])), key=b"other"))
            + features([4.0], [6])
            + label(1.0)
            + label(9.0, key=b"weights")
        ),
        [row([6], [4.0], 1.0)],
    ),
    "unknown_fields": (
        frame(
            single(15, 0, varint(1 << 63))
            + single(16, 1, bytes(8))
            + single(1000, 5, bytes(4))
            + field(17, b"anything")
            + single(1, 0, b"\x07")  # features with another wire type than a message's
            + feature_entry(
                field(9, b"?") + entry(field(30, b"?") + value(single(8, 5, bytes(4)) + tensor([4.0], [6]) + field(4, b"")))
            )
            + label(1.0)
        ),
        [row([6], [4.0], 1.0)],
    ),
    "uid_metadata_configuration": (
        frame(features([4.0], [6]) + label(1.0) + field(3, b"row-1") + field(4, b'{"a": 1}') + field(5, b"c")),
        [row([6], [4.0], 1.0)],
    ),
    "wide_varints": (
        frame(feature_entry(entry(value(field(1, numbers(FLOAT32, [1.0, 2.0])) + field(2, varint(3, 10) + varint(6, 7)))))
              + label(1.0)),
        [row([3, 6], [1.0, 2.0], 1.0)],
    ),
    "split": (
        split_at_magic(features([MAGIC_FLOAT, 1.0, MAGIC_FLOAT], [1, 2, 3], [D]) + label(1.0))
        # The magic inside a record that is not split, and a record after it.
        + frame(b"\x7a\x02ab" + features([MAGIC_FLOAT, 1.0], [1, 2], [D]) + label(1.0)),
        [row([1, 2, 3], [MAGIC_FLOAT, 1.0, MAGIC_FLOAT], 1.0), row([1, 2], [MAGIC_FLOAT, 1.0], 1.0)],
    ),
    "last_padding_missing": (
        (frame(features([4.0], [6]) + label(1.0) + field(3, b"ab")))[:-1],
        [row([6], [4.0], 1.0)],
    ),
    "padding_not_zero": (
        frame(features([4.0], [6]) + label(1.0) + field(3, b"ab"))[:-1] + b"\xff" + frame(features([4.0], [6]) + label(1.0)),
        [row([6], [4.0], 1.0)] * 2,
    ),
    "long_row": (
        frame(features([1.0] * 10 + [0.5] * 90, [*range(10)] * 10, [D]) + label(1.0)),
        [row([*range(10)], [5.5] * 10, 1.0)],
    ),
}  # fmt: skip

GOOD = frame(features([4.0], [6], [D]) + label(1.0))
GOOD_DENSE = frame(features([0.0] * D) + label(1.0))
N = len(GOOD)


def bad(features_field=None, label_field=None):
    """A good record, then one with something else for its features or its label."""
    return GOOD + frame(
        (features([4.0], [6], [D]) if features_field is None else features_field)
        + (label(1.0) if label_field is None else label_field)
    )


# name: (bytes, labels, record, byte, sentence)
INVALID = {
    "bad_magic": (GOOD + b"\x0a\x23\xd7\xcf" + GOOD[4:], "real", 1, N,
                  "found 0xcfd7230a where a record begins, expected the RecordIO magic 0xced7230a"),
    "text": (b"1 3:0.5 7:1\n", "real", 0, 0,
             "found 0x3a332031 where a record begins, expected the RecordIO magic 0xced7230a"),
    "cut_in_header": (GOOD + GOOD[:5], "real", 1, N, "the data ends inside this record, after 5 of the 8 bytes of its frame"),
    "cut_in_payload": (GOOD + GOOD[:-8], "real", 1, N,
                       f"the data ends inside this record, after {N - 8} of the {N - 2} bytes of its frame"),
    "half_a_gigabyte_declared": (GOOD[:4] + b"\xff\xff\xff\x1f" + bytes(12), "real", 0, 0,
                                 f"the data ends inside this record, after 20 of the {8 + (1 << 29) - 1} bytes of its frame"),
    "cut_between_parts": (GOOD + frame(b"\x0a\x02ab", flag=1), "real", 1, N + 12,
                          "the data ends inside this record, after 0 of the 8 bytes of its frame"),
    "middle_part_first": (frame(b"", flag=2), "real", 0, 0,
                          "found continuation flag 2 outside a split record, expected 0 (whole) or 1 (first)"),
    "whole_record_inside_split": (frame(b"", flag=1) + GOOD, "real", 0, 8,
                                  "found continuation flag 0 inside a split record, expected 2 (middle) or 3 (last)"),
    "unknown_flag": (GOOD + frame(b"", flag=6), "real", 1, N,
                     "found continuation flag 6 outside a split record, expected 0 (whole) or 1 (first)"),
    "tag_of_six_bytes": (GOOD + frame(varint(8, 6)), "real", 1, N,
                         "the varint at byte 0 of the payload is longer than its type allows"),
    "tag_of_33_bits": (GOOD + frame(b"\x8a\x80\x80\x80\x10" + bytes(4)), "real", 1, N,
                       "the varint at byte 0 of the payload is longer than its type allows"),
    "varint_of_eleven_bytes": (GOOD + frame(single(15, 0, b"\xff" * 10 + b"\x01")), "real", 1, N,
                               "the varint at byte 1 of the payload is longer than its type allows"),
    "varint_of_65_bits": (GOOD + frame(single(15, 0, b"\xff" * 9 + b"\x02")), "real", 1, N,
                          "the varint at byte 1 of the payload is longer than its type allows"),
    "key_of_eleven_bytes": (bad(field(1, entry(value(field(2, b"\x80" * 10 + b"\x01"))))), "real", 1, N,
                            "the varint at byte 16 of the payload is longer than its type allows"),
    "key_cut": (bad(field(1, entry(value(field(2, b"\x81\x80"))))), "real", 1, N,
                "the varint at byte 16 of the payload runs past the end of its message"),
    "nested_length_too_long": (bad(field(1, field(1, b"values") + b"\x12\x7f" + value(tensor([4.0], [6])))), "real", 1, N,
                               "the field at byte 10 of the payload declares 127 bytes, more than its message has left"),
    "nested_length_past_its_message": (bad(field(1, field(1, b"values") + b"\x12\x0c" + value(tensor([4.0], [6])))), "real", 1, N,
                                       "the field at byte 10 of the payload declares 12 bytes, more than its message has left"),
    "nested_length_overflows": (bad(field(1, field(1, b"values") + b"\x12\xff\xff\xff\xff\x0f")), "real", 1, N,
                                "the field at byte 10 of the payload declares 4294967295 bytes, more than its message has left"),
    "fixed_number_cut": (bad(field(1, entry(value(single(1, 5, b"\0\0"))))), "real", 1, N,
                         "the field at byte 14 of the payload declares 4 bytes, more than its message has left"),
    "group": (GOOD + frame(b"\x7b\x7c"), "real", 1, N,
              "the field at byte 0 of the payload has wire type 3, expected 0, 1, 2 or 5"),
    "wire_type_7": (GOOD + frame(b"\x0f"), "real", 1, N,
                    "the field at byte 0 of the payload has wire type 7, expected 0, 1, 2 or 5"),
    "field_zero": (GOOD + frame(b"\x02\x00"), "real", 1, N, "the field at byte 0 of the payload has number 0, expected 1 or more"),
    "ragged_floats": (bad(field(1, entry(value(field(1, bytes(7)))))), "real", 1, N,
                      "the packed values at byte 16 of the payload take 7 bytes, which is not a whole number of values"),
    "ragged_doubles": (bad(field(1, entry(value(field(1, bytes(12)), FLOAT64)))), "real", 1, N,
                       "the packed values at byte 16 of the payload take 12 bytes, which is not a whole number of values"),
    "bytes_as_features": (bad(field(1, entry(value(field(1, b"jpeg"), OPAQUE)))), "real", 1, N,
                          "feature 'values' holds bytes, expected a float32, float64 or int32 tensor"),
    "fewer_keys_than_values": (bad(features([1.0, 2.0], [3], [D])), "real", 1, N, "found 1 keys for 2 values, expected one each"),
    "more_keys_than_values": (bad(features([], [3], [D])), "real", 1, N, "found 1 keys for 0 values, expected one each"),
    "fewer_values_than_shape": (bad(features([1.0] * 9, shape=[D])), "real", 1, N,
                                "found 0 keys for 9 values, expected one each"),
    "dense_after_sparse": (bad(features([0.0] * D)), "real", 1, N,
                           "the record is dense (10 values without keys), expected a sparse one like the records before it"),
    "sparse_after_dense": (GOOD_DENSE + GOOD, "real", 1, len(GOOD_DENSE),
                           "the record is sparse (1 keys), expected a dense one like the records before it"),
    "empty_after_dense": (GOOD_DENSE + frame(label(1.0)), "real", 1, len(GOOD_DENSE),
                          "the record is sparse (0 keys), expected a dense one like the records before it"),
    "shape_too_large": (bad(features([1.0], [3], [11])), "real", 1, N, "the shape of the record is 11, expected feature_dim=10"),
    "shape_overflows": (bad(features([1.0], [3], [1 << 63, 1 << 63])), "real", 1, N,
                        "the shape of the record is 18446744073709551615, expected feature_dim=10"),
    "too_narrow": (frame(features([0.0] * 9) + label(1.0)), "real", 0, 0,
                   "the record has 9 values without keys, expected feature_dim=10"),
    "too_wide": (GOOD_DENSE + frame(features([0.0] * 11) + label(1.0)), "real", 1, len(GOOD_DENSE),
                 "the record has 11 values without keys, expected feature_dim=10"),
    "key_is_feature_dim": (bad(features([1.0, 1.0], [3, 10], [D])), "real", 1, N, "key 10 is not below feature_dim=10"),
    "key_in_the_last_part": (GOOD + split_at_magic(features([MAGIC_FLOAT, 1.0], [1, 99], [D]) + label(1.0)), "real", 1, N,
                             "key 99 is not below feature_dim=10"),
    "key_of_64_bits": (bad(features([1.0, 1.0], [(1 << 64) - 1, 10], [D])), "real", 1, N,
                       "key 18446744073709551615 is not below feature_dim=10"),
    "key_of_33_bits": (bad(features([1.0], [1 << 32 | 3])), "real", 1, N, "key 4294967299 is not below feature_dim=10"),
    "value_nan": (bad(features([1.0, _NAN], [3, 7], [D])), "real", 1, N,
                  "the value of key 7 is nan, expected a number that is finite as float32"),
    "value_infinite": (GOOD_DENSE + frame(features([0.0, 0.0, -_INF, *[0.0] * 7]) + label(1.0)), "real", 1, len(GOOD_DENSE),
                       "the value of key 2 is -inf, expected a number that is finite as float32"),
    "value_overflows_float32": (bad(features([1e300], [3], [D], FLOAT64)), "real", 1, N,
                                "the value of key 3 is inf, expected a number that is finite as float32"),
    "sum_overflows_float32": (bad(features([3e38, 1.0, 3e38], [3, 2, 3], [D])), "real", 1, N,
                              "the value of key 3 is inf, expected a number that is finite as float32"),
    "label_absent": (bad(label_field=b""), "real", 1, N, "the record has no number under label 'values', expected one"),
    "label_empty": (bad(label_field=label()), "real", 1, N, "the record has no number under label 'values', expected one"),
    "label_under_another_key": (bad(label_field=label(1.0, key=b"score")), "real", 1, N,
                                "the record has no number under label 'values', expected one"),
    "label_of_bytes": (bad(label_field=field(2, entry(value(field(1, b"1"), OPAQUE)))), "real", 1, N,
                       "the record has no number under label 'values', expected one"),
    "labels_many": (bad(label_field=label(1.0, 0.0, 1.0)), "real", 1, N,
                    "the record has 3 numbers under label 'values', expected one"),
    "label_nan": (bad(label_field=label(_NAN)), "real", 1, N, "the label is nan, expected a number that is finite as float32"),
    "label_overflows_float32": (bad(label_field=label(-1e39, member=FLOAT64)), "real", 1, N,
                                "the label is -inf, expected a number that is finite as float32"),
    "label_two_binary": (bad(label_field=label(2, member=INT32)), "binary", 1, N,
                         "the label is 2, expected 0 or 1 for a binary classifier"),
    "label_minus_one_binary": (bad(label_field=label(-1.0)), "binary", 1, N,
                               "the label is -1, expected 0 or 1 for a binary classifier"),
    "weights_many": (bad(label_field=label(1.0) + label(2.0, 3.0, key=b"weights")), "real", 1, N,
                     "the record has 2 numbers under label 'weights', expected one or none"),
    "weight_negative": (bad(label_field=label(-0.5, key=b"weights") + label(1.0)), "real", 1, N,
                        "the weight is -0.5, expected a number of at least 0 that is finite as float32"),
}  # fmt: skip


def write(folder: Path, name: str, data: bytes, **expected) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.rec").write_bytes(data)
    (folder / f"{name}.json").write_text(json.dumps({"feature_dim": D, **expected}, indent=1) + "\n")


def main() -> None:
    for name, (data, rows) in VALID.items():
        labels = "none" if any(r["label"] is None for r in rows) else "real"
        write(HERE / "valid", name, data, labels=labels, rows=rows)
    for name, (data, labels, record, byte, sentence) in INVALID.items():
        write(HERE / "invalid", name, data, labels=labels, record=record, byte=byte, sentence=sentence)


if __name__ == "__main__":
    main()
