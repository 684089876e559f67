"""`docker run IMAGE train`: real containers, real trees."""

import os
import re
import threading

import numpy as np
import pytest
import scipy.sparse

from fm_core.formats import write_records
from tests.image.conftest import container, docker, logs, wait_for

# What SageMaker does for a job: a read-only image with the mounted tree, and no network if the user wants none.
NARROW = ["--network", "none", "--read-only", "--tmpfs", "/tmp"]


@pytest.mark.parametrize("arguments", [["train"], []], ids=["train", "no argument"])
def test_a_model_is_trained(image, job, arguments):
    root = job()
    done = docker("run", "--rm", "-v", f"{root}:/opt/ml", image, *arguments)
    assert (root / "model/model_algo-1").stat().st_size > 0
    accuracy = re.search(
        r"#quality_metric: host=algo-1, test binary_classification_accuracy <score>=(\S+)", done.stdout
    )
    assert float(accuracy[1]) > 0.6
    assert not (root / "output/failure").exists()


def test_neither_a_network_nor_a_writable_image_is_needed(image, job):
    root = job()
    docker("run", "--rm", *NARROW, "-v", f"{root}:/opt/ml", image, "train")
    assert (root / "model/model_algo-1").exists()


@pytest.mark.parametrize("build", ["generic", "avx2"])
def test_a_machine_without_newer_instructions_trains_the_same_model(image, job, build):
    loss = r"test binary_classification_cross_entropy <loss>=(\S+)"
    losses = [
        float(re.search(loss, docker("run", "--rm", *options, "-v", f"{job()}:/opt/ml", image, "train").stdout)[1])
        for options in ([], ["-e", f"FM_CORE_KERNELS={build}"])
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_failing_job_says_why(image, job):
    root = job(num_factors="many")
    done = docker("run", "--rm", "-v", f"{root}:/opt/ml", image, "train", check=False)
    assert done.returncode == 1
    failure = (root / "output/failure").read_text()
    assert failure.startswith("ClientError: ")
    assert "num_factors" in failure
    assert list((root / "model").iterdir()) == []


def test_a_job_that_does_not_fit_says_so_before_it_starts(image, job):
    root = job(feature_dim="5000000", num_factors="64")
    for channel in ("train", "test"):
        with (root / f"input/data/{channel}/part-0.pbr").open("wb") as file:
            rows = scipy.sparse.csr_matrix(([1.0], [4_999_999], [0, 1]), shape=(1, 5_000_000), dtype=np.float32)
            write_records(file, rows, np.ones(1, np.float32))
    done = docker("run", "--rm", "--memory", "512m", "-v", f"{root}:/opt/ml", image, "train", check=False)
    assert done.returncode == 1, f"ended with {done.returncode} (137: killed for its memory)\n{done.stdout[-2000:]}"
    failure = (root / "output/failure").read_text()
    said = re.match(r"ClientError: training takes (\d+) MiB of memory .*, and (\d+) MiB are available", failure)
    assert said, failure
    needed, available = map(int, said.groups())
    assert needed > 3 * 4 * 65 * 5_000_000 / 2**20  # a parameter of Adam is three numbers of four bytes
    assert 256 < available < 512


def test_a_stop_saves_the_model(image, job):
    root = job(epochs="1000000")
    with container("-v", f"{root}:/opt/ml", image, "train") as name:
        wait_for(name, "epoch=5")
        docker("stop", "--time", "60", name)
        state = docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip()
        assert state == "0", logs(name)
    assert (root / "model/model_algo-1").stat().st_size > 0


def test_pipe_mode_reads_fifos_from_outside_the_container(image, job):
    epochs = 3
    root = job(epochs=str(epochs))
    data = (root / "input/data/train/part-0.pbr").read_bytes()
    config = root / "input/config/inputdataconfig.json"
    config.write_text('{"train": {"TrainingInputMode": "Pipe", "ContentType": "application/x-recordio-protobuf"}}')
    fifos = [root / f"input/data/train_{n}" for n in range(epochs)]
    for fifo in fifos:
        os.mkfifo(fifo)

    def feed():
        for fifo in fifos:
            fifo.write_bytes(data)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    docker("run", "--rm", "-v", f"{root}:/opt/ml", image, "train")
    feeder.join(10)
    assert not feeder.is_alive()
    assert (root / "model/model_algo-1").exists()
