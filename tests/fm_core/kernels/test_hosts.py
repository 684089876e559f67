"""The kernels of a training on several hosts, every build, against the plain reference; and the numbers of a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fm_core.kernels._sharded as numbers
from fm_core.batch import Batch
from fm_core.kernels import OPTIMIZERS, PADDING, Step, group, padded, reference
from tests.fm_core.strategies import NUM_FACTORS, sparse_batches

THREADS = st.sampled_from([1, 2, 3])
FEATURE_DIM = 20
CLOSE = {"rtol": 2e-4, "atol": 2e-5}


@st.composite
def steps(draw):
    return Step(
        OPTIMIZERS[draw(st.sampled_from(sorted(OPTIMIZERS)))].number,
        0.1, draw(st.sampled_from([0.0, 0.01])), 1e-8, 0.1, 0.01, 0.1, 0.02, 0.05, 0.03, True, draw(st.booleans()),
    )  # fmt: skip


def n_states_of(step):
    return next(each.n_states for each in OPTIMIZERS.values() if each.number == step.optimizer)


def arrays_of(step, n, k, seed=0):
    """Parameters, and a state that an optimizer may have come to."""
    random = np.random.default_rng(seed)
    params = random.normal(size=(n, k + 1)).astype(np.float32)
    return params, random.random(size=(n, n_states_of(step) * (k + 1))).astype(np.float32)


@given(batch=sparse_batches(feature_dim=FEATURE_DIM), k=NUM_FACTORS, threads=THREADS,
       classify=st.booleans())  # fmt: skip
def test_scores_and_gradients_of_copies_are_the_references(kernels, batch, k, threads, classify):
    features, starts, rows, row_values = group(*batch.csr, FEATURE_DIM)
    params = arrays_of(Step(1, *[0.0] * 9, True, True), FEATURE_DIM, k)[0]
    packed = params[features]
    n = batch.n_rows
    renumbered = np.searchsorted(features, batch.csr[1]).astype(np.int32)
    found = []
    for build in (kernels, reference):
        sums, (residuals, of_pairs, scores) = np.zeros((n, padded(k)), np.float32), np.empty((3, n), np.float32)
        has_pairless = build.score_rows(
            batch.indptr, renumbered, batch.values, batch.known_labels, packed, 0.3, sums, residuals, of_pairs, scores,
            classify, threads, batch.weights,
        )  # fmt: skip
        gradients = np.full(packed.shape, np.nan, np.float32)
        build.gradients(starts, rows, row_values, packed, sums, residuals, of_pairs, has_pairless, gradients, threads)
        found.append((has_pairless, sums[:, :k], residuals, of_pairs, scores, gradients))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-4)


@given(data=st.data(), k=NUM_FACTORS, threads=THREADS, step=steps(), lazy=st.booleans())
def test_an_update_from_several_gradients_is_the_references(kernels, data, k, threads, step, lazy):
    touched = np.array(sorted(data.draw(st.sets(st.integers(0, FEATURE_DIM - 1)))), np.int32)
    each = data.draw(st.lists(st.integers(1, 3), min_size=len(touched), max_size=len(touched)))
    starts = np.append(0, np.cumsum(each)).astype(np.int64)
    at = np.random.default_rng(1).permutation(int(starts[-1])).astype(np.int64)
    received = np.random.default_rng(2).normal(size=(len(at), k + 1)).astype(np.float32)
    found = []
    for build in (kernels, reference):
        params, state = arrays_of(step, FEATURE_DIM, k)
        totals = np.empty((len(touched) + 1, k + 1), np.float32)
        build.update(touched, starts, at, received, totals, params, state, step, lazy, threads)
        found.append((params, state))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, **CLOSE)


@given(data=st.data(), n_hosts=st.integers(1, 4), k=NUM_FACTORS, threads=THREADS, step=steps(),
       classify=st.booleans(), lazy=st.booleans())  # fmt: skip
def test_parts_of_all_hosts_are_the_references(kernels, data, n_hosts, k, threads, step, classify, lazy):
    """Each host's part of the same rows, their sums, and what one of them learns from those."""
    rows = st.lists(sparse_batches(feature_dim=FEATURE_DIM, max_rows=1), min_size=3, max_size=3)
    batches = [Batch.concatenate(data.draw(rows)) for _ in range(n_hosts)]
    labels, has_pairs = np.array([0, 1, 1], np.float32), np.array([1, 0, 1], np.uint8)
    weights = data.draw(st.sampled_from([None, np.array([0.5, 2, 1], np.float32)]))
    found = []
    for build in (kernels, reference):
        params, state = arrays_of(step, FEATURE_DIM, k)
        parts, scores = np.empty((n_hosts, 3, k + 1), np.float32), np.empty(3, np.float32)
        for part, batch in zip(parts, batches, strict=True):
            build.score_parts(*batch.csr, params, part, threads)
        told = np.full(3 * (k + 1) + PADDING, np.nan, np.float32)
        build.add_parts(parts, 0.3, labels, told[: 3 * (k + 1)].reshape(3, k + 1), scores, classify, weights)
        build.learn_parts(*group(*batches[0].csr, FEATURE_DIM), told, has_pairs, params, state, lazy, step, threads)
        found.append((parts, told[: 3 * (k + 1)], scores, params, state))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=5e-4, atol=5e-4)


@given(world=st.integers(1, 70), features=st.lists(st.integers(0, 2**31 - 65), min_size=1))
def test_features_are_numbered_owner_by_owner(world, features):
    features = np.array([*features, world, world - 1, 2 * world], np.int32)
    n_local = -(-int(features.max() + 1) // world)
    expected = features.astype(np.int64) % world * n_local + features // world
    if expected.max() < 2**31:
        out = np.empty_like(features)
        numbers.order(features, world, n_local, out)
        assert out.tolist() == expected.tolist()


@given(data=st.data(), n_hosts=st.integers(1, 4))
def test_entries_come_to_the_owners_of_their_features(data, n_hosts):
    n_local = 5
    sent, batches = [], []
    for _ in range(n_hosts):
        batch = data.draw(sparse_batches(feature_dim=n_hosts * n_local))
        indptr, indices, values = batch.csr
        marks = np.zeros(1, np.uint64)
        n_distinct, n_entries = np.empty((2, n_hosts), np.int64)
        numbers.count(indices, n_local, marks, n_distinct, n_entries)
        assert not marks.any()
        owners = indices // n_local
        assert n_entries.tolist() == np.bincount(owners, minlength=n_hosts).tolist()
        assert n_distinct.tolist() == np.bincount(np.unique(indices) // n_local, minlength=n_hosts).tolist()
        dealt = np.empty(n_hosts * batch.n_rows + 2 * len(indices), np.int32)
        numbers.deal(indptr, indices, values, n_local, n_entries, dealt)
        sent.append((np.split(dealt, np.cumsum(batch.n_rows + 2 * n_entries)[:-1]), n_entries))
        batches.append(batch.to_matrix())
    n_rows = np.array([each.shape[0] for each in batches])
    for owner in range(n_hosts):
        ours = np.array([n_entries[owner] for _, n_entries in sent])
        taken = np.concatenate([pieces[owner] for pieces, _ in sent])
        indptr, indices = np.empty(n_rows.sum() + 1, np.int64), np.empty(ours.sum(), np.int32)
        values, has_pairs = np.empty(ours.sum(), np.float32), np.empty(n_rows.sum(), np.uint8)
        assert numbers.take(taken, n_rows, ours, n_local, indptr, indices, values, has_pairs)
        row = 0
        for matrix in batches:
            for r in range(matrix.shape[0]):
                theirs = slice(matrix.indptr[r], matrix.indptr[r + 1])
                own = matrix.indices[theirs] // n_local == owner
                here = slice(indptr[row], indptr[row + 1])
                assert indices[here].tolist() == (matrix.indices[theirs][own] % n_local).tolist()
                assert values[here].tobytes() == matrix.data[theirs][own].tobytes()
                assert has_pairs[row] == (np.count_nonzero(matrix.data[theirs]) > 1)
                row += 1


@pytest.mark.parametrize(
    "dealt", [[4, 5, 0], [3, 5, 0], [-2, 1, 0], [2, -1, 0]], ids=["length", "index", "negative length", "negative"]
)
def test_entries_that_are_none_of_ours_are_told(dealt):
    outputs = np.empty(2, np.int64), np.empty(1, np.int32), np.empty(1, np.float32), np.empty(1, np.uint8)
    one = np.ones(1, np.int64)
    assert not numbers.take(np.array(dealt, np.int32), one, one, 5, *outputs)
    assert numbers.take(np.array([3, 4, 0], np.int32), one, one, 5, *outputs)


def test_the_residuals_of_rows_are_added_up():
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert numbers.sum_last(rows) == 2 + 5 + 8 + 11
