"""The steps of several members against the plain reference."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.cluster import steps as cluster_steps
from fm_core.cluster.sharded_solver import ShardedSolver
from fm_core.cluster.steps import StepPlanner
from fm_core.kernels import reference
from fm_core.solvers.minibatch import MiniBatchSolver
from tests.fm_core.cluster.jobs import FEATURE_DIM, whole
from tests.fm_core.cluster.members import together
from tests.fm_core.strategies import hyperparameters_for, sparse_batches


@settings(max_examples=60)
@given(data=st.data(), size=st.integers(1, 4), num_threads=st.sampled_from([1, 3]), sums=st.booleans())
def test_a_step_of_several_members_is_the_references_of_all_their_rows(data, size, num_threads, sums):
    """By rows, and by sums, whichever would send less."""
    hp = data.draw(hyperparameters_for(FEATURE_DIM))
    steps = [[data.draw(sparse_batches(feature_dim=FEATURE_DIM)) for _ in range(size)] for _ in range(2)]

    def task(member):
        solver = ShardedSolver(hp, member, num_threads)
        planner = StepPlanner(member, hp, lambda: False, sums=sums)
        scores = [solver.step(planned).copy() for planned in planner(step[member.rank] for step in steps)]
        return solver.parameters, scores

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_steps, "is_shorter", lambda *given: sums)
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
