"""Solver `online` as a job: `train` as a process that reads a pipe once, is stopped in the race, and told no."""

import re

import pytest

from tests.contract.test_pipe import fed, pipe_job
from tests.contract.training import Job, is_untrained, read_until, records, stop

DATA = records(12_000)


def online(job, **hyperparameters):
    job.hyperparameters |= {"solver": "online", "num_factors": "4", "mini_batch_size": "500", **hyperparameters}
    return job


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "0.pbr"
    path.write_bytes(DATA)
    return path


def test_a_pipe_is_read_once_and_the_log_says_what_was_chosen(tmp_path, file):
    piped = online(pipe_job(tmp_path / "piped"), epochs="1")
    del piped.hyperparameters["epochs"]
    with fed(piped, "train", file, epochs=1):
        done = piped.run()
    assert done.succeeded, done.log
    assert re.search(r"after 10000 rows 5 of 9 priors remain; .* loss [\d.]+ \(linear [\d.]+, interactions", done.log)
    loss = re.search(r"host=algo-1, epoch=0, train binary_classification_cross_entropy <loss>=(\S+)", done.log)
    assert float(loss[1]) < 0.4
    assert "completed 100.0 % of epochs" in done.log
    whole = online(Job(tmp_path / "whole"))
    del whole.hyperparameters["epochs"]
    whole.put("0.pbr", DATA)
    assert whole.run().model == done.model


def test_a_stop_in_the_race_leaves_the_model_so_far(tmp_path, file):
    job = online(pipe_job(tmp_path / "job"), batch_metrics_publish_interval="1")
    with fed(job, "train", file, epochs=1, pause=0.05), job.started() as process:
        read_until(process, "batch=2 train")
        stop(process)
    assert process.returncode == 0
    assert not is_untrained(job)


def test_a_gpu_is_refused(tmp_path):
    job = online(Job(tmp_path / "job"), _num_gpus="1")
    job.put("0.pbr", DATA)
    assert "solver online computes on the CPU, and _num_gpus is 1: set it to auto, or use solver" in job.run().failure


def test_rates_are_said_to_be_without_effect_and_shuffle_is_not(tmp_path):
    job = online(Job(tmp_path / "job"), linear_lr="0.5", shuffle="true")
    job.put("0.pbr", records(50))
    done = job.run()
    assert "Hyperparameter linear_lr is '0.5'; with solver online it has no effect" in done.log
    assert "Hyperparameter shuffle" not in done.log
