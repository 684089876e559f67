"""A batch and a model that do not fit never meet a kernel, whoever brings them together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis.explanation import explain
from fm_core.analysis.ranking import rank
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels.bounds import check_fits
from fm_core.model import Model
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.fit import fit

D = 5
MODEL = Model("regressor", 0.5, np.arange(D, dtype=np.float32), np.ones((D, 3), np.float32))
SETTINGS = Hyperparameters(feature_dim=D, num_factors=3, predictor_type="regressor", mini_batch_size=2)


def sparse(d=D, keys=(0, 4, 1), indptr=(0, 2, 3)):
    labels = np.zeros(len(indptr) - 1, np.float32)
    return Batch.trusted(
        d, np.ones(len(keys), np.float32), np.array(indptr, np.int64), np.array(keys, np.int32), labels
    )


def dense(d=D, n=2):
    return Batch.trusted(d, np.ones((n, d), np.float32), labels=np.zeros(n, np.float32))


def changed(batch, **arrays):
    """A batch as no constructor lets it be."""
    for name, array in arrays.items():
        object.__setattr__(batch, name, array)
    return batch


def in_one_row(batch):
    """A batch's rows as one, which ends where any of them goes furthest: what does not fit goes on not fitting."""
    if batch.indptr is None or len(batch.indptr) == 0:
        return batch
    offsets = batch.indptr[1:]
    return changed(batch, indptr=np.array([batch.indptr[0], offsets[np.abs(offsets).argmax()]], np.int64))


MISFITS = {
    "wider": lambda: sparse(D + 1),
    "narrower": lambda: sparse(D - 1, keys=(0, 1, 1)),
    "a key behind the model": lambda: sparse(keys=(0, 5, 1)),
    "a key far behind it": lambda: sparse(keys=(0, 2**31 - 1, 1)),
    "a key before it": lambda: sparse(keys=(-1, 4, 1)),
    "a row that begins behind its end": lambda: sparse(indptr=(0, 900, 3)),
    "a row that begins before the first": lambda: sparse(indptr=(0, -900, 3)),
    "fewer values than keys": lambda: changed(sparse(), values=np.ones(1, np.float32)),
    "rows beyond the keys": lambda: changed(sparse(), indptr=np.array([0, 2, 10**6], np.int64)),
    "no row pointer": lambda: changed(sparse(), indptr=np.zeros(0, np.int64)),
    "dense and wider": lambda: dense(D + 1),
    "dense and narrower": lambda: dense(D - 1),
    "dense, said to be as wide": lambda: changed(dense(20_000), feature_dim=D),
    "dense, said to be as wide, of one column": lambda: changed(dense(1), feature_dim=D),
}

USES = {
    "predict": MODEL.predict,
    "predict with threads": lambda batch: MODEL.predict(batch, 2),
    "explain": lambda batch: explain(MODEL, batch),
    "rank, a context": lambda batch: rank(MODEL, in_one_row(batch), sparse()),
    "rank, candidates": lambda batch: rank(MODEL, sparse(keys=(1,), indptr=(0, 1)), batch),
    "learn": lambda batch: MiniBatchSolver(SETTINGS).step(batch),
    "fit": lambda batch: fit(lambda epoch: [batch], SETTINGS),
    "fit with threads": lambda batch: fit(lambda epoch: [batch], SETTINGS, num_threads=2),
    "fit and validate": lambda batch: fit(lambda epoch: [sparse()], SETTINGS, validation=lambda epoch: [batch]),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_refused_wherever_it_meets_a_model(misfit, use):
    with pytest.raises(DataError):
        USES[use](MISFITS[misfit]())


@pytest.mark.parametrize("use", USES)
def test_what_fits_is_used(use):
    USES[use](sparse())
    USES[use](sparse(keys=(), indptr=(0, 0, 0)))
    if use not in ("rank, a context", "rank, candidates", "fit and validate"):  # for sparse rows
        USES[use](dense())


@given(st.data())
def test_what_is_checked_is_what_a_kernel_relies_on(data):
    numbers = st.integers(-2, 7)
    indptr = data.draw(st.lists(numbers, max_size=5))
    keys = data.draw(st.lists(st.integers(-(2**31), 2**31 - 1) | numbers, max_size=6))
    n_values, d = data.draw(st.integers(0, 7)), data.draw(st.integers(1, 8))
    batch = changed(
        sparse(d), indptr=np.array(indptr, np.int64), indices=np.array(keys, np.int32),
        values=np.ones(n_values, np.float32),
    )  # fmt: skip
    fits = (
        bool(indptr)
        and [0, *sorted(indptr), len(keys)] == [0, *indptr, len(keys)]
        and indptr[0] == 0
        and indptr[-1] == len(keys) == n_values
        and all(0 <= key < d for key in keys)
    )
    if fits:
        check_fits(batch, d)
    else:
        with pytest.raises(DataError):
            check_fits(batch, d)


@pytest.mark.parametrize(
    "arrays",
    [
        {"values": np.ones((2, 7), np.float32)},
        {"values": np.ones((2, D))},
        {"values": np.ones((D, 2), np.float32).T},
        {"values": np.ones(2, np.float32), "indptr": np.array([0, 2]), "indices": np.array([0], np.int32)},
        {"values": np.ones(2, np.float32), "indptr": np.array([0, 3]), "indices": np.array([0, 1], np.int32)},
        {"values": np.ones(2, np.float32), "indptr": np.array([1, 2]), "indices": np.array([0, 1], np.int32)},
        {"values": np.ones(2, np.float32), "indptr": np.array([0, 2]), "indices": np.array([0, 1])},
        {"values": np.ones((2, D), np.float32), "labels": np.zeros(3, np.float32)},
        {"values": np.ones((2, D), np.float32), "indices": np.zeros(2, np.int32)},
    ],
)
def test_no_batch_is_trusted_whose_sizes_do_not_go_together(arrays):
    with pytest.raises(DataError):
        Batch.trusted(D, **arrays)
