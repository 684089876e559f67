"""Positives beside negatives: every build against the plain reference, and that against the loss it descends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import OPTIMIZERS, PADDING, group, reference, ungrouped
from fm_core.kernels.reference import compared
from fm_core.solvers.parameters import Parameters, rates

N_CONTEXT, N_ITEM = 9, 12  # features of each side
LOSSES = {"pairwise": 1, "softmax": 2, "warp": 3}


def make_rows(random, n, g, multi):
    """Contexts, and g items of each, as CSR."""
    keys, values, lengths = [], [], []
    for count, first, width in ((n, 0, N_CONTEXT), (n * g, N_CONTEXT, N_ITEM)):
        for _ in range(count):
            size = int(random.integers(0, 4)) if multi else 1
            keys.append(first + np.sort(random.choice(width, size, replace=False)))
            values.append(random.standard_normal(size) if multi else np.ones(size))
            lengths.append(size)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return indptr, np.concatenate(keys).astype(np.int32), np.concatenate(values).astype(np.float32)


def hyperparameters(k, **others):
    return Hyperparameters(
        feature_dim=N_CONTEXT + N_ITEM, num_factors=k, predictor_type="regressor",
        linear_init_sigma=0.4, linear_lr=0.05, factors_lr=0.05, factors_wd=0.02, mini_batch_size=8,
        **{"eps": 1e-3, "factors_init_sigma": 0.4, "linear_wd": 0.03, **others},
    )  # fmt: skip


def trained(kernels, hp, loss, batches, num_threads=1, prepared=True):
    at = Parameters.begin(hp)
    told = []
    for n, rows in batches:
        at.n_steps += 1
        n_rows = len(rows[0]) - 1
        sums = np.zeros((n_rows, -(-hp.num_factors // PADDING) * PADDING), np.float32)
        losses, orders = np.empty(n, np.float32), np.empty(n, np.float32)
        groups = group(*rows, hp.feature_dim) if prepared else ungrouped(rows[1].size)
        n_features = kernels.train_ranked(
            *rows, n, LOSSES[loss], 40.0, *groups, prepared, at.params, at.state, sums,
            np.empty(n_rows, np.float32), losses, orders, hp.lazy_update, rates(hp, at.n_steps), num_threads,
        )  # fmt: skip
        assert groups[0][:n_features].tolist() == np.unique(rows[1]).tolist()
        told.append(np.concatenate([losses, orders]))
    return at.params, at.state, np.concatenate(told)


@given(
    seed=st.integers(0, 2**32), n=st.integers(1, 40), g=st.integers(2, 6), k=st.sampled_from([1, 3, 8, 16, 17, 40]),
    loss=st.sampled_from(list(LOSSES)), optimizer=st.sampled_from(list(OPTIMIZERS)), multi=st.booleans(),
    lazy=st.booleans(), use_linear=st.booleans(), num_threads=st.integers(1, 3), prepared=st.booleans(),
)  # fmt: skip
def test_training_is_the_references(kernels, seed, n, g, k, loss, optimizer, multi, lazy, use_linear, num_threads,
                                    prepared):  # fmt: skip
    random = np.random.default_rng(seed)
    batches = [(n, make_rows(random, n, g, multi)) for _ in range(2)]
    hp = hyperparameters(k, _optimizer=optimizer, lazy_update=lazy, use_linear=use_linear)
    found = trained(kernels, hp, loss, batches, num_threads, prepared)
    expected = trained(reference, hp, loss, batches)
    for name, a, b in zip(("params", "state", "losses and orders"), found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_derivatives_are_those_of_the_loss(loss):
    random = np.random.default_rng(1)
    for _ in range(20):
        z = random.standard_normal(5)
        value, e = compared(z, LOSSES[loss], 40)
        for j in range(5):
            moved = z.copy()
            moved[j] += 1e-6
            slope = (compared(moved, LOSSES[loss], 40)[0] - value) / 1e-6
            assert slope == pytest.approx(e[j], abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_any_number_of_threads_gives_the_same_bits(kernels, loss):
    random = np.random.default_rng(2)
    batches = [(200, make_rows(random, 200, 4, multi=True)) for _ in range(3)]
    one = trained(kernels, hyperparameters(16), loss, batches, 1)
    for num_threads in (2, 3, 7):
        for prepared in (False, True):
            many = trained(kernels, hyperparameters(16), loss, batches, num_threads, prepared)
            assert [a.tobytes() for a in many] == [a.tobytes() for a in one]


def test_linear_weights_of_contexts_only_decay(kernels):
    hp = hyperparameters(8, linear_wd=0, eps=1e-8)  # with so small an eps Adam makes steps of any noise
    before = Parameters.begin(hp).params.copy()
    batches = [(50, make_rows(np.random.default_rng(3), 50, 9, multi=False)) for _ in range(5)]
    after = trained(kernels, hp, "softmax", batches)[0]
    assert (after[:N_CONTEXT, -1] == before[:N_CONTEXT, -1]).all()
    assert (after[N_CONTEXT:, -1] != before[N_CONTEXT:, -1]).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_far_apart_neither_overflow_nor_lose_the_loss(kernels, loss):
    hp = hyperparameters(2, factors_init_sigma=30.0)
    rows = make_rows(np.random.default_rng(4), 30, 40, multi=False)
    told = trained(kernels, hp, loss, [(30, rows)])[2]
    assert np.isfinite(told).all()
    with np.errstate(over="ignore"):
        expected = trained(reference, hp, loss, [(30, rows)])[2]
    np.testing.assert_allclose(told, expected, rtol=1e-4)
