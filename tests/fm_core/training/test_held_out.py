"""A share of the rows is held out: the same in every pass, however it is cut, and none is learned from."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import Silent
from fm_core.training.fit import fit
from fm_core.training.held_out import HeldOut


def batches(n, size, is_dense=True):
    values = np.arange(1, n + 1, dtype=np.float32)[:, np.newaxis]
    whole = Batch.from_dense(values, values[:, 0]) if is_dense else Batch.from_csr(sp.csr_matrix(values), values[:, 0])
    return lambda epoch: whole.split(size)


def numbers(found):
    return [number for batch in found for number in batch.known_labels.tolist()]


@given(
    st.integers(1, 300), st.integers(1, 50), st.integers(1, 50), st.sampled_from([0.05, 0.1, 0.3, 0.5]), st.booleans()
)
def test_rows_are_learned_from_or_held_out(n, size, other_size, fraction, is_dense):
    split = HeldOut(batches(n, size, is_dense), fraction, 3, 7)
    learned = list(split(0))
    held = numbers(split.held(0))
    assert [batch.n_rows for batch in learned[:-1]] == [7] * (len(learned) - 1)
    assert numbers(split(1)) == numbers(learned)
    again = HeldOut(batches(n, other_size, is_dense), fraction, 3, 11)
    assert numbers(again(0)) == numbers(learned)
    assert numbers(again.held(0)) == held
    assert 1 in numbers(learned)
    block = round(1 / fraction)
    if n < block and held == numbers(learned):
        return  # too few to hold one out
    assert sorted(numbers(learned) + held) == list(range(1, n + 1))
    assert n // block <= len(held) <= -(-n // block)


def test_other_seeds_hold_other_rows_out():
    found = []
    for seed in range(5):
        split = HeldOut(batches(200, 10), 0.1, seed, 10)
        list(split(0))
        found.append(tuple(numbers(split.held(0))))
    assert len(set(found)) == 5


@pytest.mark.parametrize("n", [3, 200])
def test_training_stops_by_the_rows_that_are_held_out(n):
    told = []

    class Told(Silent):
        def validated(self, report):
            told.append(report)

    hp = Hyperparameters(
        feature_dim=1, num_factors=1, predictor_type="regressor", epochs=300, mini_batch_size=20, linear_lr=0.3,
        validation_fraction=0.1, early_stopping_patience=3, linear_init_sigma=0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, 1)).astype(np.float32)
    whole = Batch.from_dense(values, 2 * values[:, 0] + rng.normal(size=n).astype(np.float32))
    result = fit(lambda epoch: whole.split(20), hp, callback=Told())
    assert 3 < len(told) < 300
    assert told[0].n_records == (20 if n == 200 else 3) or n == 3
    assert np.isfinite(result.model.w).all()
