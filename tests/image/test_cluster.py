"""Several hosts as containers on a network of their own, found by name: training, and what becomes of the others."""

import contextlib
import json
import time
import uuid

import pytest

from fm_core.artifact.model_file import load_model
from tests.contract.training import Job, records
from tests.image.conftest import docker

HOSTS = ["algo-1", "algo-2", "algo-3"]


@contextlib.contextmanager
def started(image, root, hosts=HOSTS, **changes):
    """Containers of a job; its network and they are removed in the end."""
    job = f"fm-{uuid.uuid4().hex[:8]}"
    docker("network", "create", job)
    try:
        for name in hosts:
            tree = Job(root / name)
            tree.hyperparameters |= {"num_threads": "1"} | changes
            tree.resources = {"current_host": name, "hosts": HOSTS, "network_interface_name": "eth0"}
            tree.put("part", records(500))
            tree.put("part", records(100, seed=1), "test")
            tree.write()
            docker(
                "run", "--detach", "--name", f"{job}-{name}", "--hostname", name, "--network", job,
                "--network-alias", name, "--volume", f"{root / name}:/opt/ml",
                "--env", "FM_CLUSTER_WAIT_SECONDS=40", image, "train",
            )  # fmt: skip
        yield job
    finally:
        docker("rm", "--force", *(f"{job}-{name}" for name in hosts), check=False)
        docker("network", "rm", job, check=False)


def log_of(job, host):
    return docker("logs", f"{job}-{host}").stdout


def wait_for(job, host, text, seconds=60):
    deadline = time.monotonic() + seconds
    while text not in (log := log_of(job, host)):
        assert time.monotonic() < deadline, log[-3000:]
        time.sleep(0.1)


def code_of(job, host, seconds=60):
    return int(docker("wait", f"{job}-{host}", timeout=seconds).stdout)


def test_three_hosts_train_one_model(image, tmp_path):
    with started(image, tmp_path, epochs="2") as job:
        codes = [code_of(job, host) for host in HOSTS]
        assert codes == [0, 0, 0], [log_of(job, host)[-2000:] for host in HOSTS]
        models = [[file.name for file in (tmp_path / host / "model").iterdir()] for host in HOSTS]
        assert [sorted(names) for names in models] == [["baseline.json", "model_algo-1"], [], []]
        load_model(tmp_path / "algo-1/model")
        for host in HOSTS:
            assert f"#quality_metric: host={host}, test binary_classification_accuracy <score>=" in log_of(job, host)


@pytest.mark.parametrize("fault", ["kill", "pause", "disconnect"])
def test_a_host_that_is_lost_is_named_by_the_others(image, tmp_path, fault):
    with started(image, tmp_path, epochs="1000000") as job:
        for host in HOSTS:
            wait_for(job, host, "epoch=1, train")
        lost = f"{job}-algo-2"
        if fault == "disconnect":
            docker("network", "disconnect", "--force", job, lost)
        else:
            docker(fault, lost)
        begin = time.monotonic()
        assert [code_of(job, host) for host in ("algo-1", "algo-3")] == [1, 1]
        assert time.monotonic() - begin < 60
        for host in ("algo-1", "algo-3"):
            failure = (tmp_path / host / "output/failure").read_text()
            assert failure.startswith("AlgorithmError: host algo-2 was lost: no heartbeat since"), failure
            assert not list((tmp_path / host / "model").iterdir())
        if fault == "pause":
            docker("unpause", lost, check=False)
        if fault == "disconnect":  # it has lost the first host, and ends too
            assert code_of(job, "algo-2") == 1
            assert "host algo-1 was lost" in (tmp_path / "algo-2/output/failure").read_text()


def test_a_host_that_never_comes_is_named(image, tmp_path):
    with started(image, tmp_path, hosts=HOSTS[:2]) as job:
        assert [code_of(job, host, 90) for host in HOSTS[:2]] == [1, 1]
        for host in HOSTS[:2]:
            failure = (tmp_path / host / "output/failure").read_text()
            assert failure.startswith("AlgorithmError: host algo-3 did not join within"), json.dumps(failure)
