"""Solver `auto` as a job: the first rows decide, the log says what and why, and what was chosen trains."""

import re

import numpy as np
import pytest

from tests.contract.test_bayes import SLOWED, curve, params
from tests.contract.test_pipe import fed, pipe_job
from tests.contract.training import Job, read_until, records, stop

SPARSE = records(400, real_labels=True)
DENSE = records(400, dense=True, real_labels=True)


def auto_job(root, data=SPARSE, pipe=False, **hyperparameters):
    job = pipe_job(root) if pipe else Job(root)
    if not pipe:
        job.put("0.pbr", data)
    job.hyperparameters |= {"predictor_type": "regressor", "solver": "auto", "num_factors": "4"}
    job.hyperparameters |= hyperparameters
    return job


def test_sparse_data_is_sampled_from_files_and_pipes(tmp_path):
    job = auto_job(tmp_path / "job", epochs="12")
    done = job.run_here()
    assert "Solver auto trains with bayes: the data is sparse, and is kept in memory." in done.log
    other = auto_job(tmp_path / "other", solver="bayes", epochs="12").run_here()
    assert params(done) == params(other)
    file = tmp_path / "0.pbr"
    file.write_bytes(SPARSE)
    job = auto_job(tmp_path / "pipe", pipe=True, epochs="12")
    with fed(job, "train", file, epochs=1):
        assert params(job.run()) == params(other)


@pytest.mark.parametrize("is_pipe", [False, True])
def test_dense_data_is_learned_in_mini_batches_until_the_rows_held_out_are_no_better(tmp_path, is_pipe):
    job = auto_job(tmp_path / "job", DENSE, is_pipe)
    del job.hyperparameters["epochs"]
    file = tmp_path / "0.pbr"
    file.write_bytes(DENSE)
    if is_pipe:
        job.hyperparameters["epochs"] = "3"
        with fed(job, "train", file, epochs=4):  # the first pass looks at the columns' sizes
            done = job.run()
    else:
        done = job.run_here()
    assert done.succeeded, done.log
    assert re.search(
        r"Solver auto trains with minibatch, with linear_lr=\S+ and factors_lr=\S+: the data is dense\. It stops after "
        r"at most \d+ epochs, or when \d+ in a row do not improve the score of 10% of the rows, which are held "
        r"out\.", done.log,
    )  # fmt: skip
    found = curve(done.log, "validation", "mse")
    assert len(found) == len(curve(done.log, "train", "mse"))
    assert is_pipe or min(found) < 0.2 * found[0]


def test_dense_data_with_a_validation_channel_holds_nothing_out(tmp_path):
    job = auto_job(tmp_path / "job", DENSE, epochs="4")
    job.put("0.pbr", records(100, 1, dense=True, real_labels=True), "validation")
    done = job.run_here()
    assert "in a row do not improve the score of the validation data." in done.log
    assert len(curve(done.log, "validation")) == 4
    assert '"Total Records Seen": {"sum": 1600.0' in done.log


def test_a_resumed_job_goes_on_with_the_solver_of_its_checkpoint(tmp_path):
    job = auto_job(tmp_path / "job", epochs="12", checkpoint_interval_s="0")
    expected = auto_job(tmp_path / "whole", epochs="12").run_here()
    (job.root / "checkpoints").mkdir()
    with job.started("-c", SLOWED.format(0.02)) as process:
        read_until(process, "epoch=5, train")
        stop(process)
    again = job.run_here()
    assert "Solver auto continues with bayes, which wrote the checkpoint." in again.log
    assert params(again) == params(expected)


@pytest.mark.parametrize("is_pipe", [False, True])
def test_rows_that_do_not_fit_are_learned_as_a_stream(tmp_path, is_pipe):
    data = b"".join(records(2000, seed, real_labels=True) for seed in range(40))
    job = auto_job(tmp_path / "job", data, is_pipe, mini_batch_size="100", epochs="1")
    plain = auto_job(tmp_path / "plain", data, solver="online", mini_batch_size="100", epochs="1").run_here()
    code = (
        "import sys, container.training.memory as m; from container.train import main\n"
        "m.available_memory = lambda: m.OTHER_BYTES + (3 << 20)\n"
        "sys.exit(main([]))"
    )
    if is_pipe:
        file = tmp_path / "0.pbr"
        file.write_bytes(data)
        with fed(job, "train", file, epochs=2):
            done = job.run("-c", code)
    else:
        done = job.run("-c", code)
    assert done.succeeded, done.log
    assert re.search(
        r"WARNING \d+\] Solver auto trains with online, from the start of the data: solver bayes keeps all rows in "
        r"memory, which takes \d+ MiB .* are available", done.log,
    )  # fmt: skip
    assert params(done) == params(plain)


def test_several_hosts_are_no_reason_to_refuse(tmp_path):
    job = auto_job(tmp_path / "job")
    job.resources |= {"hosts": ["algo-1", "algo-2"]}
    job.environment |= {"FM_CLUSTER_WAIT_SECONDS": "0.1"}
    assert "Solver auto trains with minibatch: there are 2 hosts." in job.run_here().log


def test_rates_have_an_effect_where_mini_batches_are_chosen_and_else_are_said_to_have_none(tmp_path):
    given = {"linear_lr": "0.05", "epochs": "3"}
    assert (
        "Hyperparameter linear_lr has no effect with solver bayes" in auto_job(tmp_path / "a", **given).run_here().log
    )
    assert "has no effect" not in auto_job(tmp_path / "b", DENSE, **given).run_here().log


def test_a_stop_before_any_row_leaves_a_model(tmp_path):
    job = auto_job(tmp_path / "job", pipe=True)
    with job.started() as process:
        read_until(process, "Checkpoint loading")
        _, log = stop(process)
        assert process.returncode == 0, log
    done = job.finished(0, log)
    assert list(done.model) == ["model_algo-1"]
    assert np.isfinite(np.frombuffer(params(done)[-100:], np.float32)).any()
