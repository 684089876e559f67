"""`docker run IMAGE serve`: real containers, asked over a published port."""

import json
import shutil
import socket
import threading

import pytest

from local_test.responses import read_scores
from tests.image.conftest import address, container, docker, logs, post, wait_for

PUBLISHED = ["-p", "127.0.0.1::8080"]
RECORDIO = "application/x-recordio-protobuf"


@pytest.fixture
def requests(local_test):
    return {
        "application/json": (local_test / "test_dir/request.json").read_bytes(),
        RECORDIO: (local_test / "test_dir/request.pbr").read_bytes(),
    }


def test_it_answers_in_both_formats_and_stops_when_told(image, model, requests):
    with container(*PUBLISHED, "-v", f"{model}:/opt/ml/model:ro", image, "serve") as name:
        url = address(name) + "/invocations"
        as_json = [p["score"] for p in json.loads(post(url, requests["application/json"]))["predictions"]]
        as_recordio = read_scores(post(url, requests[RECORDIO], RECORDIO, RECORDIO))
        assert len(as_json) == len(as_recordio) == 10
        assert as_json == pytest.approx(as_recordio.tolist(), abs=1e-6)
        docker("stop", "--time", "30", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip() == "0", logs(name)


def test_a_request_under_way_is_answered_before_it_stops(image, model, requests):
    """A worker has the request's head when the container is told to stop, and its body only after that."""
    body = requests["application/json"]
    with container(*PUBLISHED, "-v", f"{model}:/opt/ml/model:ro", image, "serve") as name:
        host, port = address(name).removeprefix("http://").split(":")
        head = [
            "POST /invocations HTTP/1.1",
            f"Host: {host}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Expect: 100-continue",
        ]
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode())
            assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
            stopping = threading.Thread(target=docker, args=("stop", "--time", "60", name))
            stopping.start()
            wait_for(name, "Handling signal: term")
            connection.sendall(body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        stopping.join(90)
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:500]
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]) == 10
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip() == "0", logs(name)


def test_it_serves_from_a_read_only_image(image, model, requests):
    options = ["--read-only", "--tmpfs", "/tmp", *PUBLISHED, "-v", f"{model}:/opt/ml/model:ro"]
    with container(*options, image, "serve") as name:
        assert json.loads(post(address(name) + "/invocations", requests["application/json"]))["predictions"]


def test_it_listens_where_sagemaker_says(image, model):
    options = ["-e", "SAGEMAKER_BIND_TO_PORT=9090", "-p", "127.0.0.1::9090", "-v", f"{model}:/opt/ml/model:ro"]
    with container(*options, image, "serve") as name:
        assert address(name, 9090)


def test_it_does_not_start_without_a_model(image, tmp_path):
    done = docker("run", "--rm", "-v", f"{tmp_path}:/opt/ml/model:ro", image, "serve", check=False)
    assert done.returncode == 1
    assert "model" in done.stdout + done.stderr


def test_a_multi_model_endpoint_loads_asks_and_drops_models(image, model, requests, tmp_path):
    shutil.copytree(model, tmp_path / "models/first/model")
    options = [*PUBLISHED, "-e", "SAGEMAKER_MULTI_MODEL=true", "-v", f"{tmp_path}/models:/opt/ml/models:ro"]
    with container(*options, image, "serve") as name:
        url = address(name)
        post(f"{url}/models", json.dumps({"model_name": "first", "url": "/opt/ml/models/first/model"}).encode())
        answer = json.loads(post(f"{url}/models/first/invoke", requests["application/json"]))
        assert len(answer["predictions"]) == 10
