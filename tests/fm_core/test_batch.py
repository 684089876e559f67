import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import DataError
from tests.fm_core.strategies import dense_batches, sparse_batches


def sparse(indptr=(0, 2, 3), indices=(1, 4, 0), values=(1, 2, 3), labels=(0, 1), feature_dim=5):
    return Batch(
        feature_dim,
        np.array(values, np.float32),
        np.array(indptr, np.int64),
        np.array(indices, np.int32),
        None if labels is None else np.array(labels, np.float32),
    )


def test_rows_are_counted():
    assert len(sparse()) == sparse().n_rows == 2
    assert len(Batch.from_dense(np.ones((3, 4)))) == 3
    assert not sparse().is_dense
    assert Batch.from_dense(np.ones((3, 4))).is_dense
    assert sparse(indptr=[0], indices=[], values=[], labels=[]).n_rows == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": (1, 5, 0)}, r"row 0: key 5 is not below feature_dim=5"),
        ({"indices": (1, 4, -1)}, r"row 1: key -1 is not below feature_dim=5"),
        ({"indices": (4, 1, 0)}, r"row 0: key 1 follows key 4, expected strictly increasing keys"),
        ({"indices": (4, 4, 0)}, r"row 0: key 4 follows key 4, expected strictly increasing keys"),
        ({"values": (1, np.nan, 3)}, r"row 0: the value of key 4 is not finite"),
        ({"values": (1, 2, np.inf)}, r"row 1: the value of key 0 is not finite"),
        ({"values": (1, 2)}, r"2 values for 3 keys, expected one each"),
        ({"indptr": (0, 2)}, r"indptr does not increase from 0 to the 3 keys"),
        ({"indptr": (0, 4, 3)}, r"indptr does not increase from 0 to the 3 keys"),
        ({"indptr": ()}, r"indptr does not increase from 0 to the 3 keys"),
        ({"labels": (1,)}, r"1 labels for 2 rows, expected one each"),
        ({"labels": (1, np.nan)}, r"the label of row 1 is not finite"),
    ],
)
def test_what_kernels_rely_on_is_checked(changes, message):
    with pytest.raises(DataError, match=message):
        sparse(**changes)


def test_keys_may_fall_from_row_to_row_around_empty_rows():
    batch = sparse(indptr=(0, 0, 2, 2, 3, 3), labels=None)
    assert batch.n_rows == 5


def test_dense_rows_are_checked():
    with pytest.raises(DataError, match="row 1 has a value that is not finite"):
        Batch.from_dense([[1, 2], [np.nan, 1]])
    with pytest.raises(DataError, match="dense rows have 2 values, expected feature_dim=3"):
        Batch(3, np.ones((1, 2), np.float32))
    with pytest.raises(DataError, match="dense rows have 1 dimensions, expected 2"):
        Batch.from_dense([1, 2])
    with pytest.raises(DataError, match="values is float64 with 2 dimensions, expected contiguous float32 with 2"):
        Batch(2, np.ones((1, 2)))


def test_repeated_keys_of_a_scipy_matrix_are_summed():
    matrix = scipy.sparse.csr_matrix(([1.0, 2.0, 4.0], [2, 0, 2], [0, 3]), shape=(1, 3))
    batch = Batch.from_csr(matrix, [1])
    assert batch.indices.tolist() == [0, 2]
    assert batch.values.tolist() == [2, 5]
    assert matrix.nnz == 3


@given(batch=sparse_batches())
def test_csr_matrices_come_back(batch):
    matrix = scipy.sparse.csr_matrix((batch.values, batch.indices, batch.indptr), (batch.n_rows, batch.feature_dim))
    again = Batch.from_csr(matrix, batch.labels)
    assert (again.indices == batch.indices).all()
    assert (again.values == batch.values).all()
    assert (again.indptr == batch.indptr).all()


def rows_of(batch):
    """What a batch holds, in plain lists: keys, values and label of each row."""
    labels = [None] * batch.n_rows if batch.labels is None else batch.labels.tolist()
    if batch.is_dense:
        return [(None, values.tolist(), label) for values, label in zip(batch.values, labels, strict=True)]
    ranges = [slice(batch.indptr[i], batch.indptr[i + 1]) for i in range(batch.n_rows)]
    return [(batch.indices[r].tolist(), batch.values[r].tolist(), y) for r, y in zip(ranges, labels, strict=True)]


BATCHES = st.one_of(sparse_batches(), dense_batches())


@given(batch=BATCHES, has_labels=st.booleans(), data=st.data())
def test_rows_are_cut_taken_and_joined_as_lists_are(batch, has_labels, data):
    batch = batch if has_labels else batch.with_labels(None)
    rows = rows_of(batch)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, batch.n_rows)] * 2)))
    order = data.draw(st.lists(st.integers(0, batch.n_rows - 1))) if batch.n_rows else []
    size = data.draw(st.integers(1, batch.n_rows + 1))
    part, taken, split = batch.slice(start, stop), batch.take(np.array(order, np.int64)), list(batch.split(size))
    assert rows_of(part) == rows_of(part.copy()) == rows[start:stop]
    assert rows_of(taken) == [rows[i] for i in order]
    assert [rows_of(one) for one in split] == [rows[i : i + size] for i in range(0, len(rows), size)]
    assert rows_of(Batch.concatenate([part, taken, *split])) == rows_of(part) + rows_of(taken) + rows
    for made in (part, part.copy(), taken, *split):
        made.__post_init__()  # fit for the kernels


def test_a_copy_keeps_nothing_else_alive_and_a_slice_is_a_view():
    batch = sparse()
    assert np.shares_memory(batch.slice(0, 1).values, batch.values)
    copy = batch.slice(0, 1).copy()
    assert not any(np.shares_memory(getattr(copy, name), getattr(batch, name)) for name in ("values", "indices"))


@pytest.mark.parametrize("is_dense", [False, True])
def test_an_empty_batch_has_no_rows_and_known_labels(is_dense):
    batch = Batch.empty(7, is_dense=is_dense)
    batch.__post_init__()
    assert (batch.n_rows, batch.feature_dim, batch.is_dense, len(batch.known_labels)) == (0, 7, is_dense, 0)


@given(batch=BATCHES)
def test_a_matrix_holds_the_same_rows(batch):
    matrix = batch.to_matrix()
    made = Batch.from_dense(matrix, batch.labels) if batch.is_dense else Batch.from_csr(matrix, batch.labels)
    assert rows_of(made) == rows_of(batch)


def test_sparse_rows_give_their_arrays_and_dense_ones_say_that_they_have_none():
    batch = sparse()
    indptr, indices, values = batch.csr
    assert (indptr is batch.indptr, indices is batch.indices, values is batch.values) == (True, True, True)
    with pytest.raises(ValueError, match="the rows are dense"):
        _ = Batch.from_dense(np.ones((3, 4))).csr
