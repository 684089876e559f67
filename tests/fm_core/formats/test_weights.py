"""Weights of rows in every format: read, refused with their place, and written as they are read."""

import io
import json

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats import Source, write_records
from fm_core.formats.registry import FORMATS
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.fitting import fit_schema
from fm_core.formats.tables.frames import frame_table
from fm_core.formats.tables.learner import TablePlan, make_schema
from fm_core.formats.tables.schema import TableSchema
from tests.fm_core.formats.recordio import wire


def read(name, body, labels="real", dim=3, **how):
    """All rows of a channel whose bytes come one by one, and whole."""
    of = FORMATS[name].functions.read_batches
    found = [
        Batch.concatenate(list(of([Source("part", chunks)], feature_dim=dim, batch_size=100, labels=labels, **how)))
        for chunks in ([body], [body[i : i + 1] for i in range(len(body))])
    ]
    np.testing.assert_array_equal(found[0].weights_or_ones, found[1].weights_or_ones)
    return found[0]


def test_the_second_column_of_csv_is_the_weight_as_xgboosts_csv_weights_has_it():
    rows = read("csv", b"1,0.5,7,8,9\n0,3,1,2,3\n", weights=True)
    assert rows.weights.tolist() == [0.5, 3]
    assert rows.labels.tolist() == [1, 0]
    assert rows.values.tolist() == [[7, 8, 9], [1, 2, 3]]
    assert read("csv", b"1,7,8,9\n").weights is None
    with pytest.raises(DataError, match="part: line 2: the weight is '-3', expected a number of at least 0"):
        read("csv", b"1,0.5,7,8,9\n0,-3,1,2,3\n", weights=True)
    with pytest.raises(DataError, match="found 4 columns, expected 5, a label, a weight and feature_dim=3 numbers"):
        read("csv", b"1,7,8,9\n", weights=True)
    skipped = []
    rows = read("csv", b"0,-3,1,2,3\n1,2,7,8,9\n", weights=True, max_bad_records=1, on_bad_record=skipped.append)
    assert rows.weights.tolist() == [2]
    assert len(skipped) == 2  # of two readings


def test_libsvm_has_label_and_weight_as_xgboost_writes_them():
    rows = read("libsvm", b"1:0.5 0:1 2:1\n0:3 1:2\n1:0 2:1\n")
    assert (rows.labels.tolist(), rows.weights.tolist()) == ([1, 0, 1], [0.5, 3, 0])
    assert rows.indices.tolist() == [0, 2, 1, 2]
    assert read("libsvm", b"-1.5:2 1:1\n").weights.tolist() == [2]
    assert read("libsvm", b"1:2 0:1\n", labels="binary").weights.tolist() == [2]
    assert read("libsvm", b"1 0:1\n").weights is None


@pytest.mark.parametrize(
    "body",
    [
        b"2:5 0:1 1:3\n",
        b"2:5 0:1 1:3 2:0.5 2:0.25 1:1 0:1e-3 2:4 # so long that its pairs are read eight bytes at a time\n",
        b"0:1 1:2\n" * 500 + b"1:5 0:3\n",
    ],
)
def test_one_line_that_has_a_key_up_to_its_label_settles_what_labels_are(body):
    assert read("libsvm", body).weights is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"1:-2 0:1\n", "line 1: the weight is '-2', expected a finite number of at least 0"),
        (b"1:x 0:1\n", "line 1: the weight is 'x'"),
        (b"1:2 0:1\n0 1:1\n", "line 2: the label '0' has no weight, expected label:weight as in the lines before"),
        (b"1 0:1\n0:2 1:1\n", "line 2: found '0:2' where the label stands"),
        (b"0:1 1:2\n1:5 2:3\n", "line 1: found '0:1' where the label stands, expected a number before the first pair"),
    ],
)
def test_a_weight_of_libsvm_that_is_none_is_refused(body, said):
    with pytest.raises(DataError, match=said):
        read("libsvm", body)


def test_a_record_has_its_weight_under_label_weights():
    weighted = [wire.features([1.0], [2]) + wire.label(1.0) + wire.label(0.5, key=b"weights")]
    plain = wire.features([1.0], [0]) + wire.label(0.0)
    rows = read("recordio", b"".join(map(wire.frame, [plain, *weighted, plain])))
    assert rows.weights.tolist() == [1, 0.5, 1]
    assert read("recordio", wire.frame(plain)).weights is None
    assert read("recordio", wire.frame(weighted[0]), labels="none").weights is None
    for values, said in (
        ([-1.0], "record 0 .byte 0.: the weight is -1, expected a number of at least 0"),
        ([float("nan")], "the weight is nan"),
        ([1.0, 2.0], "2 numbers under label 'weights', expected one or none"),
    ):
        with pytest.raises(DataError, match=said):
            read("recordio", wire.frame(plain + wire.label(*values, key=b"weights")))


@pytest.mark.parametrize("name", ["recordio", "libsvm", "csv", "npz"])
@pytest.mark.parametrize("is_dense", [False, True])
def test_what_is_written_is_read_with_its_weights(name, is_dense, tmp_path):
    X = sp.random(30, 3, 0.6, "csr", np.float32, np.random.default_rng(0))
    X[0, 0] = 1
    rows = (Batch.from_dense(X.toarray()) if is_dense else Batch.from_csr(X.tocsr())).with_labels(
        np.arange(30, dtype=np.float32) % 5 / 4
    )
    rows = rows.with_weights(np.arange(30, dtype=np.float32) / 8)
    file = io.BytesIO()
    writer = FORMATS[name].functions.make_writer(file, FORMATS[name])
    writer.write(rows)
    writer.close()
    if name == "npz":
        found = FORMATS["npz"].functions.read_npz("rows", file)
    else:
        found = read(name, file.getvalue(), weights=name == "csv")
    np.testing.assert_array_equal(found.weights, rows.weights)
    np.testing.assert_array_equal(found.labels, rows.labels)


def test_weights_that_are_none_are_not_written():
    for weights, said in (([1, -1], "row 1: the weight is -1"), ([1], "weights have shape")):
        with pytest.raises(DataError, match=said):
            write_records(io.BytesIO(), np.ones((2, 2), np.float32), np.ones(2, np.float32), np.array(weights))


FRAME = {"n": [1.0, 2.0, 3.0], "w": [1.0, 0.0, 2.5], "y": [0, 1, 1]}


@pytest.mark.parametrize("fit", [False, True])
def test_a_tables_weight_is_no_feature(fit):
    table = frame_table(FRAME)
    plan = TablePlan(label="y", weight="w", fit=fit)
    schema = fit_schema([table], plan).schema if fit else make_schema([table], plan)
    assert [column.name for column in schema.columns] == ["n"]
    again = TableSchema.from_json(schema.to_json())
    assert again == schema
    assert again.weight == "w"
    assert Encoder(again).encode(table).weights.tolist() == [1, 0, 2.5]
    assert Encoder(again, labels="none").encode(table).weights is None
    without = frame_table({name: FRAME[name] for name in ("n", "y")})
    assert Encoder(again).encode(without).weights is None
    with pytest.raises(DataError, match="no column 'w'"):
        Encoder(again, needs_weights=True).encode(without)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="the weight is"):
            Encoder(again).encode(frame_table(FRAME | {"w": [1.0, wrong, 1.0]}))


def test_a_schema_whose_weight_is_another_column_is_refused():
    schema = make_schema([frame_table(FRAME)], TablePlan(label="y", weight="w"))
    for weight, said in (("y", "label and weight are both"), ("n", "'n' is among the columns"), (3, "expected a name")):
        with pytest.raises(ConfigError, match=said):
            TableSchema.from_json(json.dumps(json.loads(schema.to_json()) | {"weight": weight}))
    with pytest.raises(ConfigError, match="declared label and weight"):
        make_schema([frame_table(FRAME)], TablePlan(label="y", weight="y"))
