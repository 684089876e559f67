import types

import pytest

from container import train
from container.environment import TrainingSettings
from fm_core import errors
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
    monkeypatch.setattr(train, "usable_cores", lambda: cores)
    settings = TrainingSettings(omp_num_threads=bound)
    assert train._num_threads(hyperparameters(num_threads=asked), settings) == used


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (errors.ConfigError("x"), "ClientError: x"),
        (errors.DataError("x"), "ClientError: x"),
        (errors.DivergenceError("x"), "ClientError: x"),
        (errors.ResourceError("x"), "ClientError: x"),
        (errors.ArtifactError("x"), "AlgorithmError: x"),
        (errors.CheckpointError("x"), "ClientError: x"),
        (MemoryError(), "ClientError: there is not enough memory"),
        (OSError(5, "Input/output error", "/x"), "AlgorithmError: [Errno 5] Input/output error: '/x'"),
        (KeyError("x"), "AlgorithmError: KeyError: 'x'; this is a bug"),
    ],
)
def test_every_class_of_error_has_its_blame(tmp_path, error, begins):
    train._fail(train.Paths(tmp_path), error)
    assert (tmp_path / "output/failure").read_text().startswith(begins)


def test_a_job_that_has_to_stop_reads_no_more_of_its_test_channel(caplog):
    def batches(epoch):
        yield "the batch under way"
        raise AssertionError("another batch was read")

    scored = []
    hosts = types.SimpleNamespace(evaluate=lambda model, batches, threads: (scored.extend(batches), 0))
    stop = train.StopRequest()
    stop.request("SIGTERM")
    train._test(None, batches, None, None, stop, 1, hosts)
    assert scored == []
    assert "Asked to stop (SIGTERM): the test channel is not scored." in caplog.text


def test_a_model_is_removed_when_what_follows_fails(tmp_path):
    def save_and_fail():
        with train._removed_on_failure(tmp_path / "model/model_algo-1") as path:
            path.write_bytes(b"x")
            raise errors.DataError("the test channel is bad")

    with pytest.raises(errors.DataError):
        save_and_fail()
    assert list((tmp_path / "model").iterdir()) == []
