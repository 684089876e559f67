"""Written records against protobuf's own bytes, and against the reader."""

import io
import struct

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError
from fm_core.formats import encode_predictions, write_records
from fm_core.formats.recordio import _encode
from fm_core.formats.recordio.framing import Framer
from fm_core.formats.recordio.messages import Record
from tests.fm_core.formats.twins import compiled

TENSORS = {"float32": "float32_tensor", "float64": "float64_tensor", "int64": "int32_tensor"}
DTYPES = st.sampled_from(["float32", "float64", "int64"])


def by_protobuf(rows, labels):
    """What the writers of the SageMaker SDK v2 do, record by record."""
    out = b""
    for i in range(rows.shape[0]):
        record = Record()
        tensor = getattr(record.features["values"], TENSORS[rows.dtype.name])
        if scipy.sparse.issparse(rows):
            start, stop = rows.indptr[i : i + 2]
            tensor.values.extend(rows.data[start:stop])
            tensor.keys.extend(rows.indices[start:stop].astype(np.uint64))
            tensor.shape.append(rows.shape[1])
        else:
            tensor.values.extend(rows[i])
        if labels is not None:
            getattr(record.label["values"], TENSORS[labels.dtype.name]).values.append(labels[i])
        payload = record.SerializeToString(deterministic=True)
        out += struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    return out


def written(rows, labels=None):
    file = io.BytesIO()
    write_records(file, rows, labels)
    return file.getvalue()


@st.composite
def tables(draw):
    """Rows, dense or sparse, and labels or None, of every type that is accepted."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    n_rows, width = draw(st.integers(0, 6)), draw(st.sampled_from([1, 2, 40, 300, 70_000]))

    def numbers(dtype, shape):
        if dtype == "int64":
            return rng.integers(-(2**31), 2**31, shape) >> rng.integers(0, 31, shape)
        return rng.normal(size=shape).astype(dtype)

    labels = numbers(draw(DTYPES), n_rows) if draw(st.booleans()) else None
    dtype = draw(DTYPES)
    if width < 1000 and draw(st.booleans()):
        return numbers(dtype, (n_rows, width)), labels
    counts = rng.integers(0, 9, n_rows)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    index_type = draw(st.sampled_from([np.int32, np.int64]))
    keys = rng.integers(0, width, indptr[-1]).astype(index_type)
    data = numbers(dtype, indptr[-1])
    return scipy.sparse.csr_array((data, keys, indptr.astype(index_type)), shape=(n_rows, width)), labels


@given(tables())
def test_records_are_those_of_the_sdks_writers(table):
    rows, labels = table
    assert written(rows, labels) == by_protobuf(rows, labels)


def test_a_buffer_that_is_too_small_for_a_record_makes_no_difference(monkeypatch):
    monkeypatch.setattr(_encode, "BUFFER_BYTES", 100)
    rng = np.random.default_rng(0)
    for rows in (rng.normal(size=(30, 40)), scipy.sparse.random(30, 400, 0.1, "csr", random_state=rng)):
        assert written(rows, np.arange(30)) == by_protobuf(rows, np.arange(30))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_matrix_may_lie_in_memory_as_it_likes(order):
    rows = np.asarray(np.arange(600.0).reshape(20, 30), order=order)[::-2, ::3]
    assert written(rows) == by_protobuf(rows, None)
    assert written(rows.astype(">f8"), np.arange(10).astype(">i8")) == by_protobuf(rows, np.arange(10))


def test_other_sparse_formats_and_single_rows_are_taken():
    rows = scipy.sparse.csr_matrix(np.eye(4))
    assert written(rows.tocoo()) == written(rows) == by_protobuf(rows, None)


@given(tables())
def test_what_was_written_is_read(table):
    rows, labels = table
    chunks = [written(rows, labels)]
    found = compiled(chunks, rows.shape[1], "none" if labels is None else "real")
    assert found.sentence is None
    assert len(found.rows) == rows.shape[0]
    dense = np.zeros(rows.shape, np.float64)
    for i, (keys, values, label) in enumerate(found.rows):
        dense[i, slice(None) if keys is None else keys] = values
        assert labels is None or label == np.float32(labels[i])
    rounded = rows.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(dense, rounded.toarray() if scipy.sparse.issparse(rows) else rounded, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16", "complex128", "U3"])
def test_types_without_a_tensor_are_refused(dtype):
    with pytest.raises(DataError, match="expected float32, float64 or int64"):
        written(np.zeros((2, 2), dtype))
    with pytest.raises(DataError, match="labels are"):
        written(np.zeros((2, 2)), np.zeros(2, dtype))


@pytest.mark.parametrize(
    ("rows", "labels", "sentence"),
    [
        (np.zeros(3), None, "the rows have 1 dimensions, expected 2"),
        (np.zeros((3, 2)), np.zeros(2), r"labels have shape \(2,\), expected \(3,\)"),
        (np.zeros((3, 2)), np.zeros((3, 1)), r"labels have shape \(3, 1\), expected \(3,\)"),
        (np.array([[1 << 31]]), None, "rows have the integer 2147483648, which does not fit"),
        (np.zeros((1, 1)), np.array([-(1 << 31) - 1]), "labels have the integer -2147483649"),
    ],
)
def test_what_cannot_be_written_is_refused(rows, labels, sentence):
    with pytest.raises(DataError, match=sentence):
        written(rows, labels)


def test_a_file_that_takes_a_little_at_a_time_gets_everything():
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data[:100]))

    file = Slow()
    rows = np.random.default_rng(0).normal(size=(50, 30))
    write_records(file, rows)
    assert file.getvalue() == by_protobuf(rows, None)


def test_memory_is_a_buffer_and_not_the_file():
    class Sizes:
        largest = 0

        def write(self, data):
            self.largest = max(self.largest, len(data))
            return len(data)

    sizes = Sizes()
    write_records(sizes, np.zeros((20_000, 30)))
    assert 0 < sizes.largest <= _encode.BUFFER_BYTES


def predictions(body):
    return [Record.FromString(frame.payload) for frame in Framer().feed(body)]


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.sampled_from([0.0, 1.0]))), st.data())
def test_predictions_are_records_with_scores_and_labels(pairs, data):
    scores = np.array([score for score, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs], np.float32) if data.draw(st.booleans()) else None
    texts = st.lists(st.none() | st.text(max_size=200), min_size=len(pairs), max_size=len(pairs))
    uids, metadatas = data.draw(st.none() | texts), data.draw(st.none() | texts)
    found = predictions(encode_predictions(scores, labels, uids, metadatas))
    assert len(found) == len(pairs)
    for i, record in enumerate(found):
        expected = Record()
        expected.label["score"].float32_tensor.values.append(scores[i])
        if labels is not None:
            expected.label["predicted_label"].float32_tensor.values.append(labels[i])
        if uids and uids[i] is not None:
            expected.uid = uids[i]
        if metadatas and metadatas[i] is not None:
            expected.metadata = metadatas[i]
        assert record == expected


def test_uids_are_echoed_as_the_bytes_they_were():
    body = encode_predictions(np.float32([0.5]), None, [b"\xff"], None)
    assert b"\x1a\x01\xff" in body


def test_each_row_needs_its_label():
    with pytest.raises(ValueError, match="1 predicted labels for 2 scores"):
        encode_predictions(np.float32([0.5, 0.5]), np.float32([1]))
