"""Solver `auto` with dense data as a job: prices are learned as they are, in every mode, also after an interruption."""

import io
import signal

import numpy as np
import pytest

from fm_core.artifact.model_file import load_model
from fm_core.batch import Batch
from fm_core.formats import write_records
from tests.contract.test_pipe import fed, pipe_job
from tests.contract.training import Job, read_until

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(300, 6)) + np.array([0, 5, 0, -3, 0, 0])) * [1, 100, 1, 1e-2, 1, 1e5]
Y = 2e5 + 5e4 * (X[:, 0] + (X[:, 1] / 100 - 5) * X[:, 2])
X, Y = X.astype(np.float32), Y.astype(np.float32)


def encoded():
    file = io.BytesIO()
    write_records(file, X, Y)
    return file.getvalue()


DATA = encoded()


def prices_job(root, pipe=False):
    job = pipe_job(root) if pipe else Job(root)
    if not pipe:
        job.put("0.pbr", DATA)
    job.hyperparameters |= {"feature_dim": "6", "predictor_type": "regressor", "solver": "auto", "epochs": "15"}
    job.hyperparameters |= {"mini_batch_size": "1000"}
    return job


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    done = prices_job(tmp_path_factory.mktemp("whole") / "job").run()
    assert done.succeeded, done.log
    return done


def test_prices_are_learned_as_they_are(tmp_path, expected):
    assert "Solver auto trains with minibatch, with linear_lr=" in expected.log
    (tmp_path / "model_algo-1").write_bytes(expected.model["model_algo-1"])
    errors = load_model(tmp_path / "model_algo-1").predict(Batch.from_dense(X)) - Y
    assert np.sqrt(np.mean(errors.astype(float) ** 2)) < 0.8 * Y.std()  # 2.6 where labels are not brought to size


def test_a_pipe_is_read_once_more_and_gives_the_same_bytes(tmp_path, expected):
    file = tmp_path / "0.pbr"
    file.write_bytes(DATA)
    job = prices_job(tmp_path / "job", pipe=True)
    with fed(job, "train", file, epochs=16) as feeder:
        done = job.run()
        assert feeder.wait(10) == 0
    assert done.succeeded, done.log
    assert done.model == expected.model


def test_a_job_that_was_killed_goes_on_to_the_same_bytes(tmp_path, expected):
    job = prices_job(tmp_path / "job")
    job.hyperparameters["checkpoint_interval_s"] = "0"
    (job.root / "checkpoints").mkdir()
    with job.started() as process:
        read_until(process, "epoch=3, train")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    again = job.run()
    assert again.succeeded, again.log
    assert again.model == expected.model
