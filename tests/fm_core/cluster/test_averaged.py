"""Local steps and averages against a plain twin; tests/cluster has real processes."""

import itertools

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.cluster.averaged import fit_local_sgd
from fm_core.cluster.data import DistributedData
from fm_core.errors import DataError
from fm_core.kernels import reference
from fm_core.model import Model
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.fit import fit
from tests.fm_core.cluster.jobs import FEATURE_DIM, data_of, hyperparameters
from tests.fm_core.cluster.members import together


def test_averages_leave_every_member_with_the_same_model():
    hp = hyperparameters(5, _sync_interval=3)

    def task(member):
        data = data_of(30 * member.rank, 5, seed=member.rank)  # the first has none
        return fit_local_sgd(DistributedData(lambda epoch: data, is_replicated=False), hp, member).model

    first, *others = together(3, task)
    for other in others:
        assert (other.V.tobytes(), other.w.tobytes(), other.w0) == (first.V.tobytes(), first.w.tobytes(), first.w0)


def test_the_average_of_members_with_the_same_rows_is_what_each_has_learned():
    hp = hyperparameters(5, _sync_interval=4)
    data = data_of(100, 5)
    one = fit(lambda epoch: data, hp).model
    found = together(2, lambda m: fit_local_sgd(DistributedData(lambda epoch: data, is_replicated=False), hp, m).model)
    for model in found:
        np.testing.assert_allclose(model.V, one.V, atol=1e-7)
        assert model.w0 == pytest.approx(one.w0, abs=1e-7)


def by_hand(hp, parts, n_epochs):
    """The plain twin: solvers side by side, and after every few steps the means of what each has touched."""
    solvers = [MiniBatchSolver(hp, kernels=reference) for _ in parts]
    arrays = [solver.arrays() for solver in solvers]
    for _ in range(n_epochs):
        rows = [iter(part) for part in parts]
        more = True
        while more:
            touched = np.zeros((len(parts), hp.feature_dim), bool)
            n_done = []
            for i, solver in enumerate(solvers):
                batches = list(itertools.islice(rows[i], hp._sync_interval))
                for batch in batches:
                    solver.step(batch)
                    touched[i][slice(None) if batch.is_dense or not hp.lazy_update else batch.indices] = True
                n_done.append(len(batches))
            for name in ("params", "state"):
                before = [each[name].copy() for each in arrays]
                for feature in np.flatnonzero(touched.any(axis=0)):
                    mean = np.mean([b[feature] for b, t in zip(before, touched, strict=True) if t[feature]], axis=0)
                    for each in arrays:
                        each[name][feature] = mean
            if any(n_done):
                mean = np.mean([each["bias"] for each, n in zip(arrays, n_done, strict=True) if n], axis=0)
                for each in arrays:
                    each["bias"][:] = mean
            n_steps = max(solver.n_steps for solver in solvers)
            for solver in solvers:
                solver.parameters.n_steps = n_steps
            more = hp._sync_interval in n_done
    return solvers[0].model


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from([0, 7, 23, 40]), min_size=2, max_size=3).filter(any),
    st.sampled_from(["adam", "sgd", "adagrad", "ftrl"]),
    st.sampled_from([1, 2, 5]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2]),
)
def test_it_is_the_means_of_what_each_member_has_touched(rows, optimizer, interval, lazy, dense, num_threads):
    hp = hyperparameters(
        5, _optimizer=optimizer, _sync_interval=interval, lazy_update=lazy, eps=0.1, factors_init_sigma=0.1
    )
    parts = [data_of(n, 5, seed=seed) for seed, n in enumerate(rows)]
    if dense:
        parts = [[Batch.from_dense(batch.to_matrix().toarray(), batch.labels) for batch in part] for part in parts]
    expected = by_hand(hp, parts, hp.epochs)
    found = together(
        len(parts),
        lambda m: (
            fit_local_sgd(
                DistributedData(lambda epoch: parts[m.rank], is_replicated=False), hp, m, num_threads=num_threads
            ).model
        ),
    )
    for model in found:
        np.testing.assert_allclose(model.V, expected.V, atol=1e-5)
        np.testing.assert_allclose(model.w, expected.w, atol=1e-5)
        assert model.w0 == pytest.approx(expected.w0, abs=1e-5)


def test_the_model_does_not_depend_on_threads():
    """Each member sees features of its own: with threads, whose batches are not prepared, all seemed touched once."""
    hp = hyperparameters(5, _sync_interval=2, _optimizer="sgd", linear_lr=0.1, factors_lr=0.1)

    def part(rank):
        X = np.zeros((40, FEATURE_DIM), np.float32)
        X[:, rank * 10 : rank * 10 + 10] = np.random.default_rng(rank).random((40, 10)) < 0.3
        rows = scipy.sparse.csr_matrix(X)
        return [Batch.from_csr(rows[i : i + 5], np.ones(5, np.float32)) for i in range(0, 40, 5)]

    def learned(num_threads):
        def task(member):
            rows = DistributedData(lambda epoch: part(member.rank), is_replicated=False)
            return fit_local_sgd(rows, hp, member, num_threads=num_threads).model

        model = together(2, task)[0]
        return model.V.tobytes(), model.w.tobytes(), model.w0

    assert learned(1) == learned(2) == learned(3)


def test_data_that_no_member_has_is_refused():
    def task(member):
        with pytest.raises(DataError, match="the training data has no records on any host"):
            fit_local_sgd(DistributedData(lambda epoch: [], is_replicated=False), hyperparameters(5), member)

    together(2, task)


def test_dense_rows_on_one_member_and_sparse_ones_on_another_are_refused():
    dense = [Batch.from_dense(np.ones((5, FEATURE_DIM), np.float32), np.ones(5))]

    def task(member):
        rows = dense if member.rank else data_of(5, 5)
        with pytest.raises(DataError, match="some hosts read dense rows and others sparse ones"):
            fit_local_sgd(DistributedData(lambda epoch: rows, is_replicated=False), hyperparameters(5), member)

    together(2, task)


def test_a_stop_before_the_first_row_gives_the_initial_model_on_all():
    hp = hyperparameters(5)

    def task(member):
        asked = (lambda: True) if member.rank else (lambda: False)
        rows = DistributedData(lambda epoch: data_of(50, 5), is_replicated=True)
        return fit_local_sgd(rows, hp, member, should_stop=asked)

    expected = Model.initialise(hp)
    for result in together(2, task):
        assert result.stopped
        assert result.epochs_done == 0
        assert result.model.V.tobytes() == expected.V.tobytes()
