"""The steps of several members against the plain reference, and against one host; tests/cluster has real processes."""

import dataclasses
import threading

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.cluster.averaged import fit_local_sgd
from fm_core.cluster.data import DistributedData
from fm_core.cluster.gathered_model import GatheredModel
from fm_core.cluster.sharded import fit_together
from fm_core.cluster.sharded_solver import ShardedSolver
from fm_core.cluster.steps import StepPlanner
from fm_core.errors import DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import reference
from fm_core.model import Model
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.fit import fit
from tests.fm_core.cluster.members import together
from tests.fm_core.strategies import hyperparameters_for, sparse_batches

FEATURE_DIM = 20


def whole(parts, feature_dim):
    """The rows of all members in their places."""
    rows = np.empty((feature_dim, parts[0].shape[1]), np.float32)
    for rank, part in enumerate(parts):
        rows[rank :: len(parts)] = part[: len(range(rank, feature_dim, len(parts)))]
    return rows


@settings(max_examples=60)
@given(data=st.data(), size=st.integers(1, 4), num_threads=st.sampled_from([1, 3]))
def test_a_step_of_several_members_is_the_references_of_all_their_rows(data, size, num_threads):
    hp = data.draw(hyperparameters_for(FEATURE_DIM))
    steps = [[data.draw(sparse_batches(feature_dim=FEATURE_DIM)) for _ in range(size)] for _ in range(2)]

    def task(member):
        solver = ShardedSolver(hp, member, num_threads)
        planner = StepPlanner(member, hp, lambda: False)
        scores = [solver.step(planned).copy() for planned in planner(step[member.rank] for step in steps)]
        return solver.parameters, scores

    found = together(size, task)
    all_rows = dataclasses.replace(hp, mini_batch_size=hp.mini_batch_size * size)
    solver = MiniBatchSolver(all_rows, kernels=reference)
    scores = [solver.step(Batch.concatenate(step)).copy() for step in steps]
    close, at = {"rtol": 2e-4, "atol": 2e-5}, solver.parameters
    np.testing.assert_allclose(whole([each.params for each, _ in found], FEATURE_DIM), at.params, **close)
    np.testing.assert_allclose(whole([each.state for each, _ in found], FEATURE_DIM), at.state, **close)
    for i, expected in enumerate(scores):
        np.testing.assert_allclose(np.concatenate([theirs[i] for _, theirs in found]), expected, **close)
    for each, _ in found:
        np.testing.assert_allclose(each.bias, at.bias, **close)
        assert each.bias.tobytes() == found[0][0].bias.tobytes()


def data_of(n_rows, m, seed=0, feature_dim=FEATURE_DIM):
    random = np.random.default_rng(seed)
    X = scipy.sparse.random(n_rows, feature_dim, 0.2, "csr", np.float32, rng=random)
    y = (random.random(n_rows) < 0.5).astype(np.float32)
    return [Batch.from_csr(X[i : i + m], y[i : i + m]) for i in range(0, n_rows, m)]


def hyperparameters(m, **given):
    return Hyperparameters(
        feature_dim=FEATURE_DIM, num_factors=5, predictor_type="binary_classifier", mini_batch_size=m,
        **{"factors_lr": 0.02, "linear_lr": 0.02, "epochs": 2, **given},
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 30])  # 30: more members than features
def test_any_number_of_members_gives_the_model_of_one(size):
    one = fit(lambda epoch: data_of(230, 5 * size), hyperparameters(5 * size))
    rows = DistributedData(lambda epoch: data_of(230, 5), is_replicated=True)
    found = together(size, lambda member: fit_together(rows, hyperparameters(5), member))
    assert np.abs(whole([each.model.V for each in found], FEATURE_DIM) - one.model.V).max() < 1e-5
    for each in found:
        assert each.metrics == pytest.approx(one.metrics, abs=1e-5)
        assert each.metrics == found[0].metrics


@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_whole_model_is_gathered_in_blocks(size):
    hp = hyperparameters(5)
    expected = Model.initialise(hp)

    def task(member):
        model = GatheredModel(ShardedSolver(hp, member).model, FEATURE_DIM, member)
        w = model.w[:, np.newaxis]
        return [w[0:11], w[11:20], model.V[0:2], model.V[2:3], model.V[3:20]]

    first = together(size, task)[0]
    np.testing.assert_array_equal(np.concatenate(first[:2])[:, 0], expected.w)
    np.testing.assert_array_equal(np.concatenate(first[2:]), expected.V)


def test_one_member_that_has_to_stop_stops_all_after_the_same_step():
    stop = threading.Event()
    hp = hyperparameters(5, epochs=10**6)
    rows = DistributedData(lambda epoch: data_of(230, 5), is_replicated=True)
    solvers = []

    class Steps:
        resumed = started = batch = validated = staticmethod(lambda report: None)

        @staticmethod
        def epoch(report):
            if report.epoch == 2:
                stop.set()

    def task(member):
        asked = stop.is_set if member.rank == 1 else (lambda: False)
        result = fit_together(rows, hp, member, should_stop=asked, callback=Steps())
        solvers.append(result)
        return result

    found = together(3, task)
    assert all(each.stopped for each in found)
    assert len({each.epochs_done for each in found}) == 1


def test_a_score_that_is_not_finite_ends_all_members_at_once():
    hp = hyperparameters(5, factors_lr=1e30, linear_lr=1e30)
    rows = DistributedData(lambda epoch: data_of(230, 5), is_replicated=True)
    errors = []

    def task(member):
        with pytest.raises(DivergenceError, match=r"epoch 0, batch \d+: scores are no longer finite") as raised:
            fit_together(rows, hp, member)
        errors.append(str(raised.value))

    together(3, task)
    assert len(set(errors)) == 1


def test_dense_rows_on_one_member_and_sparse_ones_on_another_are_refused():
    def rows(member):
        X = np.ones((5, FEATURE_DIM), np.float32)
        batch = Batch.from_dense(X, np.ones(5)) if member.rank else data_of(5, 5)[0]
        return DistributedData(lambda epoch: [batch], is_replicated=False)

    def task(member):
        with pytest.raises(DataError, match="some hosts read dense rows"):
            fit_together(rows(member), hyperparameters(5), member)

    together(2, task)


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
