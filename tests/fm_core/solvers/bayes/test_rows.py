"""Rows by feature, their groups, and the rows that are looked at closely."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.solvers.bayes.groups import check_sizes
from fm_core.solvers.bayes.probes import Reservoir
from fm_core.solvers.bayes.randomness import generator
from fm_core.solvers.bayes.rows import Collector
from tests.fm_core.solvers.bayes.problems import ratings, rows_of

VALUES = np.array([0, 0, 1, 0.5, -3, 1000], np.float32)


@st.composite
def matrices(draw):
    """Rows as a job may have them: explicit zeros, empty rows, features that never occur."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    X = sp.csr_matrix((rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 1]))).astype(np.float32))
    if draw(st.booleans()):
        X.data = rng.choice(VALUES, X.nnz)
    return X


@given(X=matrices(), size=st.integers(1, 10), is_dense=st.booleans())
def test_columns_are_those_of_the_matrix_without_zeros(X, size, is_dense):
    collector, y = Collector(X.shape[1]), np.arange(X.shape[0], dtype=np.float32)
    for begin in range(0, X.shape[0], size):
        part = X[begin : begin + size]
        made = Batch.from_dense(part.toarray(), y[begin : begin + size]) if is_dense else None
        collector.add(made or Batch.from_csr(part, y[begin : begin + size]))
    rows = collector.rows()
    dense = X.toarray()
    np.testing.assert_array_equal(rows.features, np.flatnonzero((dense != 0).any(axis=0)))
    np.testing.assert_array_equal(rows.labels, y)
    for j, feature in enumerate(rows.features):
        of = slice(rows.starts[j], rows.starts[j + 1])
        np.testing.assert_array_equal(rows.rows[of], np.flatnonzero(dense[:, feature]))
        values = rows.values[of] if len(rows.values) else 1
        np.testing.assert_allclose(values * rows.typical[rows.groups[j]], dense[rows.rows[of], feature], rtol=1e-6)


@given(X=matrices())
def test_typical_values_are_near_one_after_division(X):
    rows = rows_of(X, np.zeros(X.shape[0]))
    for j in range(len(rows.features)):
        of = slice(rows.starts[j], rows.starts[j + 1])
        if len(rows.values):
            assert 0.1 < np.sqrt(np.mean(rows.values[of].astype(float) ** 2)) < 10


def test_positions_are_groups_where_rows_are_of_one_length():
    X, y = ratings()
    np.testing.assert_array_equal(rows_of(X, y).groups, (rows_of(X, y).features >= 30).astype(int))
    assert rows_of(X, y, groups="none").n_groups == 1
    X.data[0] = 0
    assert rows_of(X, y).n_groups == 2  # the key is there
    X.eliminate_zeros()
    assert rows_of(X, y).n_groups == 1


def test_keys_that_stand_anywhere_are_one_group():
    rng = np.random.default_rng(0)
    keys = np.sort([rng.choice(50, 5, replace=False) for _ in range(200)], axis=1)
    X = sp.csr_matrix((np.ones(1000), keys.ravel(), np.arange(0, 1001, 5)), (200, 50))
    assert rows_of(X, np.zeros(200)).n_groups == 1


def test_groups_by_hand():
    X, y = ratings()
    rows = rows_of(X, y, groups=[10, 25])
    np.testing.assert_array_equal(rows.groups, np.searchsorted([10, 35], rows.features, side="right"))
    check_sizes([10, 40], 50)
    with pytest.raises(ConfigError, match=r"10 \+ 41 = 51 features, expected at most feature_dim=50"):
        check_sizes([10, 41], 50)


def test_groups_are_taken_apart_where_values_differ_tenfold():
    X = np.zeros((40, 3))
    X[:, 0], X[:, 1], X[:, 2] = 1, np.tile([20_000.0, 30_000.0], 20), 1
    rows = rows_of(X, np.zeros(40), groups="none")
    assert rows.n_groups == 2
    assert rows.groups[0] == rows.groups[2] != rows.groups[1]
    assert sorted(rows.typical)[0] == 1


def test_fields_are_seen_where_rows_fill_them():
    X, y = ratings()
    rows = rows_of(X, y)
    np.testing.assert_array_equal(rows.fields, [0, (rows.features < 30).sum(), len(rows.features)])
    rng = np.random.default_rng(0)
    words = sp.csr_matrix((rng.random((200, 60)) < np.linspace(0.02, 0.4, 60)).astype(np.float32))
    assert not len(rows_of(words, np.zeros(200)).fields)


@given(X=matrices(), n_colours=st.sampled_from([1, 3, 9]), seed=st.integers(0, 9), size=st.integers(1, 31))
def test_crossings_are_made_as_one_by_one(X, n_colours, seed, size):
    n, width = X.shape
    reservoir, rng = Reservoir(seed), np.random.default_rng(seed)
    colours, typical = rng.integers(n_colours, size=width).astype(np.int32), rng.random(width) + 0.5
    for i in range(0, n, size):
        part = X[i : i + size]
        reservoir.add(part.indptr.astype(np.int64), part.indices, part.data)
    probes = reservoir.probes(np.arange(width, dtype=np.int32), colours, typical)
    numbers = generator(seed, 0)
    expected = [
        dict(zip(row.indices, row.data / typical[row.indices], strict=True)) for row in map(X.__getitem__, range(n))
    ]
    for row, partner in zip(expected[:n], expected[1:n] + expected[:1], strict=True):
        is_own = numbers.random(int(colours.max()) + 1) < 0.5
        taken = {key: x for key, x in row.items() if is_own[colours[key]]}
        expected.append({key: x for key, x in partner.items() if not is_own[colours[key]]} | taken)
    assert probes.n_real == n
    for found, wanted in zip(range(2 * n), expected, strict=True):
        part = slice(*probes.indptr[found : found + 2])
        np.testing.assert_array_equal(probes.keys[part], sorted(wanted))
        np.testing.assert_allclose(probes.values[part], [wanted[key] for key in sorted(wanted)], rtol=1e-6)


@given(seed=st.integers(0, 99), size=st.sampled_from([700, 3000, 10_000]))
@settings(max_examples=5)
def test_probes_are_the_same_in_whatever_batches(seed, size):
    rng = np.random.default_rng(seed)
    X = sp.random(10_000, 40, 0.05, "csr", random_state=rng, dtype=np.float32)
    y = rng.random(10_000)
    one, other = (rows_of(X, y, size=n).probes for n in (10_000, size))
    for name in ("indptr", "keys", "values"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))


def test_probes_are_rows_and_crossings_of_rows():
    X, y = ratings(n_rows=5000)
    probes = rows_of(X, y, size=333).probes
    assert probes.n_real == 2048
    assert (np.diff(probes.indptr) == 2).all()
    rows = rows_of(X, y)
    pairs = rows.features[probes.keys].reshape(-1, 2)
    real = set(map(tuple, X.indices.reshape(-1, 2)))
    assert all(tuple(pair) in real for pair in pairs[:2048])
    crossed = pairs[2048:]
    assert ((crossed[:, 0] < 30) & (crossed[:, 1] >= 30)).all()
    other = rows_of(X, y, size=5000).probes
    np.testing.assert_array_equal(other.keys, probes.keys)
    assert probes.interactions == pytest.approx(1)


def test_a_batch_that_does_not_fit_is_refused():
    collector = Collector(3)
    with pytest.raises(DataError, match="feature_dim=2, expected 3"):
        collector.add(Batch.from_dense(np.ones((1, 2)), [1]))
    with pytest.raises(DataError, match="has no labels"):
        collector.add(Batch.from_dense(np.ones((1, 3))))
    with pytest.raises(DataError, match="no records"):
        collector.rows()
