import types

import pytest

from container.stopping import StopRequest
from container.training import run
from container.training.settings import TrainingSettings
from fm_core.hyperparameters import Hyperparameters


def hyperparameters(**given):
    return Hyperparameters(feature_dim=3, num_factors=2, predictor_type="regressor", **given)


@pytest.mark.parametrize(
    ("asked", "bound", "cores", "used"),
    [
        ("auto", None, 8, 7),
        ("auto", 3, 8, 3),
        ("auto", 30, 8, 7),
        ("auto", None, 1, 1),
        ("auto", None, 2, 1),
        (5, None, 2, 5),
        (5, 1, 2, 5),
    ],
)
def test_threads_are_those_asked_for_or_the_cores_but_one_within_the_bound(monkeypatch, asked, bound, cores, used):
    monkeypatch.setattr(run, "usable_cores", lambda: cores)
    settings = TrainingSettings(omp_num_threads=bound)
    assert run.solver_threads(hyperparameters(num_threads=asked), settings) == used


def test_a_job_that_has_to_stop_reads_no_more_of_its_test_channel(caplog):
    def batches(epoch):
        yield "the batch under way"
        raise AssertionError("another batch was read")

    scored = []
    hosts = types.SimpleNamespace(evaluate=lambda model, batches, *others: (scored.extend(batches), 0))
    stop = StopRequest()
    stop.request("SIGTERM")
    run.score_test_channel(None, batches, None, None, stop, 1, hosts)
    assert scored == []
    assert "Stop requested (SIGTERM): the test channel is not scored." in caplog.text
