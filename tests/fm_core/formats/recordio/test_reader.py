"""Batches out of sources, and rows out of a request."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats import Source, decode_rows, read_batches
from fm_core.formats.recordio.reader import row_batches
from tests.fm_core.formats.recordio import wire
from tests.fm_core.formats.twins import rows_of

GOOD = wire.frame(wire.features([4.0], [6]) + wire.label(1.0))
BAD_KEY = wire.frame(wire.features([4.0], [99]) + wire.label(1.0))
DENSE = wire.frame(wire.features(range(10)) + wire.label(1.0))


def numbered(first, count):
    return b"".join(wire.frame(wire.features([i + 1.0], [6]) + wire.label(i)) for i in range(first, first + count))


def batches(*bodies, batch_size=2, labels="real", **options):
    sources = [Source(f"file {i}", [body]) for i, body in enumerate(bodies)]
    return list(read_batches(sources, feature_dim=10, batch_size=batch_size, labels=labels, **options))


@given(st.lists(st.integers(0, 7), max_size=5), st.integers(1, 9))
def test_rows_of_consecutive_sources_fill_the_same_batch(counts, batch_size):
    firsts = np.cumsum([0, *counts])[:-1].tolist()
    found = batches(*map(numbered, firsts, counts), batch_size=batch_size)
    total = sum(counts)
    sizes = [batch_size] * (total // batch_size) + [total % batch_size] * (total % batch_size > 0)
    assert [batch.n_rows for batch in found] == sizes
    assert [label for batch in found for label in batch.labels.tolist()] == [*range(total)]


def test_batches_keep_what_a_batch_promises():
    for body in (GOOD * 3, DENSE * 3):
        for batch in batches(body):
            Batch(batch.feature_dim, batch.values, batch.indptr, batch.indices, batch.labels)
            assert batch.values.base is not None or batch.values.flags.owndata


def test_a_batch_is_given_before_more_bytes_are_asked_for():
    asked = []

    def chunks():
        for i in range(3):
            asked.append(i)
            yield GOOD

    reader = read_batches([Source("pipe", chunks())], feature_dim=10, batch_size=1, labels="real")
    next(reader)
    assert asked == [0]


def test_labels_are_read_only_where_they_are_wanted():
    body = wire.frame(wire.features([4.0], [6]) + wire.label(0.5, 7.0))
    (batch,) = batches(body, labels="none")
    assert batch.labels is None
    with pytest.raises(DataError, match="2 numbers"):
        batches(body)
    with pytest.raises(DataError, match=r"the label is 0.5, expected 0 or 1"):
        batches(wire.frame(wire.features([4.0], [6]) + wire.label(0.5)), labels="binary")


def test_what_records_have_to_be_can_be_said_beforehand():
    with pytest.raises(
        DataError, match=r"^file 0: record 0 \(byte 0\): the record is sparse \(1 keys\), expected a dense"
    ):
        batches(GOOD, is_dense=True)
    with pytest.raises(DataError, match="the record is dense"):
        batches(DENSE, is_dense=False)
    assert batches(DENSE, is_dense=True)[0].is_dense


def test_the_kind_of_the_first_record_holds_for_all_sources():
    with pytest.raises(DataError, match=r"^file 1: record 0 \(byte 0\): the record is dense"):
        batches(GOOD, DENSE)


def test_bad_records_are_skipped_said_and_counted():
    said = []
    found = batches(
        BAD_KEY + GOOD + BAD_KEY, GOOD + BAD_KEY, max_bad_records=3, on_bad_record=said.append, batch_size=10
    )
    assert [batch.n_rows for batch in found] == [2]
    assert [sentence.partition(" (")[0] for sentence in said] == [
        "file 0: record 0",
        "file 0: record 2",
        "file 1: record 1",
    ]
    assert said[1] == f"file 0: record 2 (byte {len(BAD_KEY + GOOD)}): key 99 is not below feature_dim=10"


def test_one_bad_record_too_many_ends_it():
    with pytest.raises(
        DataError, match=r"record 2 .*feature_dim=10 \(2 bad records were skipped before it, as many as"
    ):
        batches(BAD_KEY * 3, max_bad_records=2)


def test_a_bad_first_record_does_not_decide_what_the_others_have_to_be():
    dense_nan = wire.frame(wire.features([float("nan")] * 10) + wire.label(1.0))
    (batch,) = batches(dense_nan + GOOD, max_bad_records=1)
    assert not batch.is_dense


def test_nothing_of_a_bad_record_is_left_in_the_batch():
    bad = wire.frame(wire.features([1.0, 2.0, 3.0], [5, 2, 5]) + wire.label(1.0, 2.0))
    (batch,) = batches(GOOD + bad + GOOD, max_bad_records=1)
    assert rows_of(batch) == [([6], [4.0], 1.0)] * 2


def test_a_label_that_is_not_finite_says_nothing_of_the_next():
    bad = wire.label(float("nan"))
    row = wire.features([4.0], [6])
    # In a record of its own, which is skipped, and as an entry that a later one replaces.
    (batch,) = batches(wire.frame(row + bad), GOOD, wire.frame(row + bad + wire.label(1.0)), max_bad_records=1)
    assert rows_of(batch) == [([6], [4.0], 1.0)] * 2


@pytest.mark.parametrize("end", [b"nonsense", GOOD[:-4]])
def test_a_broken_frame_is_never_skipped(end):
    with pytest.raises(DataError, match=r"record 1 \(byte 52\)"):
        batches(GOOD + end, max_bad_records=100)


def test_no_record_is_no_batch():
    assert batches() == batches(b"") == batches(BAD_KEY, max_bad_records=1) == []


def test_rows_of_a_request_bring_what_they_are_called():
    body = (
        wire.frame(wire.features([4.0], [6]))
        + wire.frame(wire.field(3, b"one") + wire.features([5.0], [6]) + wire.label(1.0, 2.0))
        + wire.frame(wire.features([6.0], [6]) + wire.field(4, b"{}"))
        + wire.frame(wire.features([7.0], [6]))
    )
    batch, uids, metadatas = decode_rows(body, feature_dim=10)
    assert rows_of(batch) == [([6], [value], None) for value in (4.0, 5.0, 6.0, 7.0)]
    assert uids == [None, b"one", None, None]
    assert metadatas == [None, None, b"{}", None]


@pytest.mark.parametrize("order", [1, -1])
def test_a_request_may_mix_dense_and_sparse_rows(order):
    parts = [GOOD, DENSE + wire.frame(wire.features(range(10)) + wire.field(3, b"uid"))][::order]
    batch, uids, _ = decode_rows(b"".join(parts), feature_dim=10)
    dense = ([*range(10)], [float(i) for i in range(10)], None)
    assert rows_of(batch) == [([6], [4.0], None), dense, dense][::order]
    assert uids == ([None, None, b"uid"] if order == 1 else [None, b"uid", None])


def test_a_request_of_dense_rows_stays_dense():
    batch, _, _ = decode_rows(DENSE * 2, feature_dim=10)
    assert batch.is_dense
    assert batch.values.tolist() == [[*range(10)]] * 2


def test_a_request_without_records_has_no_rows():
    batch, uids, metadatas = decode_rows(b"", feature_dim=10)
    assert (batch.n_rows, uids, metadatas) == (0, [], [])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (GOOD + BAD_KEY, r"^record 1 \(byte 52\): key 99 is not below feature_dim=10$"),
        (GOOD + DENSE + BAD_KEY, r"^record 2 .*: key 99"),
        (GOOD + GOOD[:20], r"^record 1 \(byte 52\): the data ends inside this record, after 20 of the 51 bytes"),
        (b'{"instances": []}', r"^record 0 \(byte 0\): found 0x6e69227b"),
        (DENSE + wire.frame(wire.features([1.0] * 9)), "9 values without keys, expected feature_dim=10"),
    ],
)
def test_a_bad_request_is_refused(body, sentence):
    with pytest.raises(DataError, match=sentence):
        decode_rows(body, feature_dim=10)


def test_the_built_ins_own_test_set_is_read(shared):
    path = shared / "reference_runs" / "ml100k_reg_k64_e50_b1000.test.protobuf"
    from fm_core.formats import open_chunks

    found = list(read_batches([Source("test", open_chunks(path))], feature_dim=2625, batch_size=1000, labels="real"))
    assert [batch.n_rows for batch in found] == [1000] * 20
    assert all((np.diff(batch.indptr) == 2).all() and (batch.values == 1).all() for batch in found)
    assert {label for batch in found for label in batch.labels.tolist()} == {1.0, 2.0, 3.0, 4.0, 5.0}


KINDS = {
    "sparse": GOOD,
    "dense": DENSE,
    "named": wire.frame(wire.features([4.0], [6]) + wire.field(3, b"u1") + wire.field(4, b"m")),
    "bad key": BAD_KEY,
    "cut": GOOD[:-3],
    "no frame": b"\x00" * 12,
}


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=12), st.integers(1, 200))
def test_rows_in_parts_are_those_of_the_whole(kinds, size):
    body = b"".join(KINDS[kind] for kind in kinds)
    try:
        whole = decode_rows(body, feature_dim=10)
        expected = (dense_of(whole[0]), whole[1], whole[2])
    except DataError as error:
        expected = str(error)
    values, uids, metadatas = [], [], []
    try:
        for batch, some_uids, some_metadatas in row_batches(body, feature_dim=10, size=size):
            assert batch.n_rows == len(some_uids) == len(some_metadatas) > 0
            values += dense_of(batch)
            uids += some_uids
            metadatas += some_metadatas
    except DataError as error:
        values = str(error)
    if isinstance(values, str):
        assert values == expected
        return
    assert (values, uids, metadatas) == expected


def dense_of(batch):
    return (batch.values if batch.is_dense else batch.to_matrix().toarray()).tolist()
