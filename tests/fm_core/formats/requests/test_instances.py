"""JSON instances against rows built one at a time."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.requests.instances import decode_instances

FEATURE_DIM = 7

NUMBER = st.floats(-1000, 1000, width=32, allow_subnormal=False) | st.integers(-1000, 1000)
PAIRS = st.lists(st.tuples(st.integers(0, FEATURE_DIM - 1), NUMBER), max_size=10)


def summed(pairs):
    """The row's values by key; a key that occurs stays, even if its values cancel out."""
    row = {}
    for key, value in pairs:
        row[key] = row.get(key, 0.0) + value
    return row


def assert_rows(batch, rows):
    # What the constructor checks holds for batches made without its checks.
    Batch(batch.feature_dim, batch.values, batch.indptr, batch.indices)
    assert batch.n_rows == len(rows)
    for i, row in enumerate(rows):
        entries = slice(batch.indptr[i], batch.indptr[i + 1])
        assert batch.indices[entries].tolist() == sorted(row)
        assert batch.values[entries].tolist() == pytest.approx([row[key] for key in sorted(row)], rel=1e-6, abs=1e-4)


def as_sparse(pairs):
    return {"data": {"features": {"keys": [k for k, _ in pairs], "values": [v for _, v in pairs]}}}


@given(rows=st.lists(PAIRS, max_size=6))
def test_sparse_instances_are_rows_with_keys_in_order_and_repeated_ones_summed(rows):
    batch = decode_instances([as_sparse(pairs) for pairs in rows], feature_dim=FEATURE_DIM)
    assert_rows(batch, [summed(pairs) for pairs in rows])


@given(rows=st.lists(st.lists(NUMBER, min_size=FEATURE_DIM, max_size=FEATURE_DIM), max_size=4))
def test_dense_instances_are_rows_without_their_zeros(rows):
    batch = decode_instances([{"features": row} for row in rows], feature_dim=FEATURE_DIM)
    assert_rows(batch, [{key: value for key, value in enumerate(row) if value} for row in rows])


def test_the_fault_is_named_wherever_it_stands():
    good = as_sparse([(0, 1.0)])
    for place in (0, 1, 999):
        instances = [good] * 1000
        instances[place] = as_sparse([(FEATURE_DIM, 1.0)])
        with pytest.raises(DataError, match=f"^instance {place}: key 7 is not below feature_dim=7$"):
            decode_instances(instances, feature_dim=FEATURE_DIM)


def test_the_instances_are_not_changed():
    instances = [as_sparse([(3, 1), (1, 2.5)])]
    decode_instances(instances, feature_dim=FEATURE_DIM)
    assert instances == [as_sparse([(3, 1), (1, 2.5)])]


def test_anything_but_a_list_is_refused():
    with pytest.raises(DataError, match="expected a list"):
        decode_instances({"features": [1]}, feature_dim=1)
