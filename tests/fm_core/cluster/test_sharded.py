"""What several members learn against one host; tests/cluster has real processes."""

import threading

import numpy as np
import pytest

from fm_core.batch import Batch
from fm_core.cluster.data import DistributedData, check_columns
from fm_core.cluster.sharded import fit_together
from fm_core.errors import DataError, DivergenceError
from fm_core.training.fit import fit
from tests.fm_core.cluster.jobs import FEATURE_DIM, data_of, hyperparameters, whole
from tests.fm_core.cluster.members import together


@pytest.mark.parametrize("size", [1, 2, 3, 30])  # 30: more members than features
def test_any_number_of_members_gives_the_model_of_one(size):
    one = fit(lambda epoch: data_of(230, 5 * size), hyperparameters(5 * size))
    rows = DistributedData(lambda epoch: data_of(230, 5), is_replicated=True)
    found = together(size, lambda member: fit_together(rows, hyperparameters(5), member))
    assert np.abs(whole([each.model.V for each in found], FEATURE_DIM) - one.model.V).max() < 1e-5
    for each in found:
        assert each.metrics == pytest.approx(one.metrics, abs=1e-5)
        assert each.metrics == found[0].metrics


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


@pytest.mark.parametrize(
    ("columns", "are_alike"),
    [
        ([["a", "b"], ["a", "b"], ["a", "b"]], True),
        ([None, ["a", "b"], ["a", "b"]], True),  # a host without data
        ([None, None, None], True),
        ([["a", "b"], ["b", "a"], ["a", "b"]], False),
        ([["a", "b"], None, ["a", "c"]], False),
        ([["a,b"], ["a", "b"], ["a", "b"]], False),
    ],
)
def test_columns_that_are_not_the_same_on_all_members_are_refused_on_all(columns, are_alike):
    def task(member):
        try:
            check_columns(columns[member.rank], member)
        except DataError as error:
            return str(error)
        return None

    said = set(together(3, task))
    assert len(said) == 1
    (sentence,) = said
    assert (sentence is None) == are_alike
    assert are_alike or sentence.startswith("the columns of the training data are not the same, in the same order, on")
