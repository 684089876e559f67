import numpy as np
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.training.shuffle import shuffled


def numbered(n, size, is_dense):
    """Batches of `size` of n rows; row i has label i and the one value i at key i % 7."""
    X = scipy.sparse.csr_matrix((np.arange(n), (np.arange(n), np.arange(n) % 7)), (n, 7), dtype=np.float32)
    for start in range(0, n, size):
        rows = X[start : start + size]
        labels = np.arange(start, start + rows.shape[0])
        yield Batch.from_dense(rows.toarray(), labels) if is_dense else Batch.from_csr(rows, labels)


def row_values(batch):
    if batch.is_dense:
        return batch.values.sum(axis=1)
    return np.add.reduceat(batch.values, batch.indptr[:-1]) if batch.n_rows else []


@given(
    n=st.integers(1, 60),
    size=st.integers(1, 10),
    buffer_size=st.integers(1, 100),
    batch_size=st.integers(1, 12),
    is_dense=st.booleans(),
)
def test_every_row_comes_once_and_whole(n, size, buffer_size, batch_size, is_dense):
    out = list(shuffled(numbered(n, size, is_dense), buffer_size, batch_size, 5))
    assert [b.n_rows for b in out[:-1]] == [batch_size] * (len(out) - 1)
    assert sorted(label for b in out for label in b.labels) == list(range(n))
    for batch in out:
        assert list(row_values(batch)) == list(batch.labels)
        Batch(batch.feature_dim, batch.values, batch.indptr, batch.indices, batch.labels)


def order(seed, buffer_size):
    return [int(y) for b in shuffled(numbered(1000, 100, False), buffer_size, 100, seed) for y in b.labels]


def test_the_seed_decides_the_order():
    assert order((0, 1), 1000) == order((0, 1), 1000)
    assert order((0, 1), 1000) != order((0, 2), 1000)


def test_a_row_stays_within_a_buffer_of_its_place():
    assert max(abs(place - row) for place, row in enumerate(order(0, 200))) < 400
    assert max(abs(place - row) for place, row in enumerate(order(0, 1000))) > 700
