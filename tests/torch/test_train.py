"""Training jobs, as processes, whose dense data goes through PyTorch."""

import re

import numpy as np
import pytest

from fm_core.artifact.model_file import load_model
from tests.contract.training import Job, read_until, records, stop

pytest.importorskip("torch", reason="PyTorch is absent: `make test-torch` has it")


def job_in(folder, dense=True, devices="cpu"):
    job = Job(folder)
    job.put("part-0", records(dense=dense))
    job.put("part-0", records(dense=dense, seed=1), "test")
    job.hyperparameters |= {"eps": "0.001"}
    if devices:
        job.environment["FM_TORCH_DEVICES"] = devices
    return job


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_dense_data_gives_the_model_and_the_lines_of_the_kernels(tmp_path, devices):
    found, ours = (
        job_in(tmp_path / "torch", devices=devices).run(),
        job_in(tmp_path / "kernels", devices=None).run(),
    )
    assert found.succeeded
    assert ours.succeeded
    assert f"Dense batches train on {', '.join(devices.split(','))} by PyTorch 2." in found.log
    assert "PyTorch" not in ours.log
    there, here = (load_model(tmp_path / name / "model/model_algo-1") for name in ("torch", "kernels"))
    np.testing.assert_allclose(there.V, here.V, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(there.w, here.w, rtol=1e-3, atol=1e-5)
    assert there.w0 == pytest.approx(here.w0, rel=1e-4)
    assert shape_of(found) == shape_of(ours)
    assert "Number of GPUs being used: 0" in found.log  # a processor is none


def shape_of(done):
    """How each line of the log begins, but for the line of the devices."""
    texts = [re.sub(r"^\[.*?\] ", "", line) for line in done.lines if "Dense batches train on" not in line]
    return [re.match(r"[A-Za-z#_ \[\]]*", text)[0] for text in texts]


def test_sparse_data_does_not_ask_for_pytorch(tmp_path):
    done = job_in(tmp_path, dense=False, devices="cpu").run()
    assert done.succeeded
    assert "PyTorch" not in done.log


def test_a_job_that_was_stopped_ends_with_the_same_bytes(tmp_path):
    def endless(folder):
        job = job_in(folder)
        job.hyperparameters |= {"epochs": "150", "mini_batch_size": "10"}
        return job

    whole = endless(tmp_path / "whole").run()
    assert whole.succeeded
    job = endless(tmp_path / "parts")
    (job.root / "input/config/checkpointconfig.json").write_text('{"LocalPath": "%s"}' % (tmp_path / "checkpoints"))
    (tmp_path / "checkpoints").mkdir()
    with job.started() as process:
        read_until(process, "epoch=2, train")
        _, log = stop(process, 30)
    assert "of 150 epochs are done" in log
    resumed = job.run()
    assert resumed.succeeded
    assert "Resuming from checkpoint" in resumed.log
    assert resumed.model == whole.model


def test_a_device_that_is_not_there_is_one_sentence(tmp_path):
    done = job_in(tmp_path, devices="cuda:77").run()
    assert done.code == 1
    assert done.failure.startswith("ClientError: the devices cuda:77 cannot be used: ")
    assert "Traceback" not in done.log
