"""Negatives: which are drawn, how often, and the rows they make."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.kernels._negatives import draw_negatives, find_pairs, put_ranked

NO_WEIGHTS = np.empty(0, np.int32)


def known_of(sets):
    starts = np.concatenate([[0], np.cumsum([len(each) for each in sets])]).astype(np.int64)
    return starts, np.array([item for each in sets for item in sorted(each)], np.int32)


def drawn(users, sets, n_items, n_negatives=1, key=5, rows=None, weights=NO_WEIGHTS):
    users = np.array(users, np.int32)
    rows = np.arange(len(users)) if rows is None else np.array(rows)
    return draw_negatives(users, rows, *known_of(sets), weights, n_items, n_negatives, key)


@given(
    st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 2**64 - 1),
    st.booleans(),
)  # fmt: skip
def test_no_negative_is_known(sets, n_negatives, key, weighted):
    users = np.arange(200) % len(sets)
    weights = np.array([0, 0, 0, 5], np.int32) if weighted else NO_WEIGHTS
    found = drawn(users, sets, 8, n_negatives, key, weights=weights)
    assert found.shape == (200, n_negatives)
    for user, items in zip(users, found, strict=True):
        if len(sets[user]) == 8:
            assert (items == -1).all()
        else:
            assert ((items >= 0) & (items < 8)).all()
            assert not sets[user] & set(items.tolist())


def test_a_user_who_has_all_but_one_gets_that_one():
    everything = set(range(100_000))
    assert drawn([0] * 50, [everything - {31_415}], 100_000, 2).tolist() == [[31_415] * 2] * 50


def test_draws_depend_on_the_key_and_the_rows_number_alone():
    sets = [{1, 2}, {3}]
    whole = drawn([0, 1] * 50, sets, 1000, 3)
    assert drawn([1, 0, 1], sets, 1000, 3, rows=[51, 60, 3]).tolist() == whole[[51, 60, 3]].tolist()
    assert (drawn([0, 1] * 50, sets, 1000, 3, key=6) != whole).mean() > 0.99


def test_uniform_draws_are_uniform():
    count = np.bincount(drawn([0] * 20_000, [{3}], 11, 5).ravel(), minlength=11)
    assert count[3] == 0
    expected = 100_000 / 10
    chi_square = ((np.delete(count, 3) - expected) ** 2 / expected).sum()
    assert chi_square < 27.9  # of 9 degrees of freedom, once in a thousand


def test_weighted_draws_are_as_frequent_as_the_weights():
    weights = np.repeat(np.arange(4, dtype=np.int32), [1, 2, 3, 4])
    count = np.bincount(drawn([0] * 50_000, [set()], 4, weights=weights).ravel(), minlength=4)
    assert count / 5000 == pytest.approx([1, 2, 3, 4], rel=0.05)


def test_rows_are_those_of_context_and_items():
    # features 0 to 3 are a context's, 4 to 8 and 10 to 12 an item's, 9 a context's again
    indptr = np.array([0, 3, 6], np.int64)
    indices = np.array([1, 5, 9, 2, 4, 11], np.int32)
    values = np.array([1, 1, 0.5, 2, 1, 3], np.float32)
    item_starts, item_keys = np.array([0, 2, 3, 4], np.int64), np.array([4, 11, 5, 6], np.int32)
    item_values = np.array([1, 3, 1, 1], np.float32)
    items = np.array([[0, 2], [1, 0]], np.int32)
    ranges = np.array([[4, 9], [10, 13]], np.int32)
    found = put_ranked(indptr, indices, values, np.array([1, 0]), items, item_starts, item_keys, item_values, ranges)
    starts, keys, numbers = (each.tolist() for each in found)
    assert [list(zip(keys[a:b], numbers[a:b], strict=True)) for a, b in itertools.pairwise(starts)] == [
        [(2, 2.0)],
        [(1, 1.0), (9, 0.5)],
        [(4, 1.0), (11, 3.0)],
        [(6, 1.0)],
        [(5, 1.0)],
        [(4, 1.0), (11, 3.0)],
    ]


def test_pairs_are_found_in_positives():
    indptr = np.array([0, 2, 4, 5, 8], np.int64)
    indices = np.array([1, 5, 0, 6, 3, 2, 4, 7], np.int32)
    values = np.array([1, 1, 1, 1, 1, 1, 1, 0], np.float32)
    labels = np.array([1, 2, 0, 1], np.float32)
    rows, users, ids, wrong = find_pairs(indptr, indices, values, labels, 0, 3, 4, 8)
    assert (rows.tolist(), users.tolist(), ids.tolist(), wrong) == ([0, 1, 3], [1, 0, 2], [1, 2, 0], -1)
    assert find_pairs(indptr, indices, values, None, 0, 3, 4, 8)[3] == 2
