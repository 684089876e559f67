"""What columns matter, against scoring rows whose cells are exchanged in truth."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from fm_core.analysis.importance import DRAWS, column_importances, few_rows, pair_importances
from fm_core.batch import Batch
from fm_core.formats.draws import draws
from fm_core.model import Model


def exchanged(model, rows, firsts, n_draws):
    """Score each row with each column's cells taken from another row: the slow twin."""
    n, bounds = len(rows), [*firsts, rows.shape[1]]
    before = model.predict(Batch.from_csr(csr_array(rows))).astype(np.float64)
    found = np.zeros(len(firsts))
    for seed in range(n_draws):
        order = np.argsort(draws(seed, np.arange(n)))
        other = np.empty(n, np.int64)
        other[order] = np.roll(order, 1)
        for column, (start, stop) in enumerate(itertools.pairwise(bounds)):
            changed = rows.copy()
            changed[:, start:stop] = rows[other][:, start:stop]
            found[column] += np.abs(model.predict(Batch.from_csr(csr_array(changed))) - before).sum()
    return found / (n_draws * n)


@given(seed=st.integers(0, 2**20), n=st.integers(2, 12), density=st.sampled_from([0.1, 0.5, 1.0]))
@settings(max_examples=30, deadline=None)
def test_it_is_what_exchanging_cells_changes(seed, n, density):
    random = np.random.default_rng(seed)
    firsts = np.array([0, 3, 3, 4, 6])  # the second column has no features
    rows = (random.normal(0, 1, (n, 8)) * (random.random((n, 8)) < density)).astype(np.float32)
    model = Model("regressor", 0.5, random.normal(0, 1, 8).astype(np.float32),
                  random.normal(0, 1, (8, 3)).astype(np.float32))  # fmt: skip
    found = column_importances(model, Batch.from_csr(csr_array(rows)), firsts)
    assert found == pytest.approx(exchanged(model, rows, firsts, DRAWS), rel=1e-4, abs=1e-4)


def test_a_product_is_a_pair_and_a_sum_is_none():
    random = np.random.default_rng(1)
    V = np.zeros((6, 2), np.float32)
    V[0], V[1], V[2], V[3] = (1, 0), (-1, 0), (1, 0), (-1, 0)
    model = Model("regressor", 0.0, np.array([0, 0, 0, 0, 1, -1], np.float32), V)
    chosen = random.integers(0, 2, (400, 3)) + np.array([0, 2, 4])
    rows = np.zeros((400, 6), np.float32)
    np.put_along_axis(rows, chosen, 1, axis=1)
    batch, firsts = Batch.from_csr(csr_array(rows)), np.array([0, 2, 4])
    first, *rest = pair_importances(model, batch, firsts, np.arange(3))
    assert first.columns == (0, 1)
    assert first.importance == pytest.approx(1, abs=0.05)
    assert max(pair.importance for pair in rest) == 0
    assert column_importances(model, batch, firsts) == pytest.approx([1, 1, 1], abs=0.15)


def test_few_rows_are_few_and_sparse():
    dense = Batch.from_dense(np.ones((5000, 300), np.float32))
    assert few_rows(dense).n_rows == 200_000 // 300
    assert not few_rows(dense).is_dense
    assert few_rows(Batch.from_csr(csr_array((9000, 3), dtype=np.float32))).n_rows == 2000
