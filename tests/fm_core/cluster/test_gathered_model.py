"""The whole model, put together from its members."""

import numpy as np
import pytest

from fm_core.cluster.gathered_model import GatheredModel
from fm_core.cluster.sharded_solver import ShardedSolver
from fm_core.model import Model
from tests.fm_core.cluster.jobs import FEATURE_DIM, hyperparameters
from tests.fm_core.cluster.members import together


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
