"""compose.yaml: a job trained and its model served by the two commands that its first line names."""

import json
import os
import subprocess
import urllib.request

import pytest

from tests.conftest import ROOT
from tests.contract.serving import free_port
from tests.image.conftest import docker


@pytest.fixture
def compose(image, job):
    """Call `docker compose` on a small job."""
    if docker("compose", "version", check=False).returncode != 0:
        pytest.skip("this Docker has no `docker compose`")
    port = free_port()
    environment = {**os.environ, "IMAGE": image, "JOB": str(job()), "PORT": str(port)}

    def call(*arguments):
        command = ["docker", "compose", "--file", ROOT / "compose.yaml", "--project-name", f"fm{port}", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)

    call.port = port
    yield call
    call("down", "--timeout", "5")


def test_a_laptop_trains_and_serves_by_compose(compose):
    done = compose("run", "--rm", "train")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "#quality_metric" in done.stdout
    up = compose("up", "--detach", "--wait", "serve")  # until its health check answers
    assert up.returncode == 0, up.stderr[-3000:]
    (container,) = compose("ps", "--quiet", "serve").stdout.split()
    assert docker("inspect", "--format", "{{.State.Health.Status}}", container).stdout.strip() == "healthy"
    body = json.dumps({"instances": [{"data": {"features": {"keys": [1], "shape": [50], "values": [1]}}}]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{compose.port}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert len(json.load(answer)["predictions"]) == 1
