"""How `serve` starts, listens, logs, survives and stops."""

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fm_core import __version__
from fm_core.artifact.model_file import identity, save_model
from fm_core.model import Model
from fm_core.resources import usable_cores
from tests.conftest import ROOT
from tests.container.serving.conftest import make_model
from tests.contract.serving import COMMAND, free_port, refused_start, serving

BODY = {"instances": [{"keys": [1], "values": [1]}]}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model/model_algo-1", make_model(), {})
    return tmp_path


def test_the_request_log_is_json_without_pings(root, tmp_path):
    with serving(root, tmp_path) as server:
        server.ask("GET", "/ping")
        attributes = {"X-Amzn-SageMaker-Custom-Attributes": "trace 7", "X-Amzn-SageMaker-Inference-Id": "id-1"}
        _, headers, body = server.invoke(BODY, **attributes)
        assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace 7"
        server.invoke(b"{\xff")
        server.wait_for(lambda: len(server.requests) >= 2)
        served, refused = sorted(server.requests, key=lambda line: line["status"])  # of two processes
    assert served.items() >= {
        "method": "POST", "path": "/invocations", "status": 200, "rows": 1, "inference_id": "id-1",
        "bytes_in": len(json.dumps(BODY)), "bytes_out": len(body), "content_type": "application/json",
    }.items()  # fmt: skip
    assert 0 < served["milliseconds"] < 10_000
    assert refused["status"] == 400
    assert "not valid JSON" in refused["error"]


def test_the_log_begins_with_the_version_and_the_model(root, tmp_path):
    with serving(root, tmp_path):
        first = (tmp_path / "stderr").read_text().splitlines()[0]
    program = rf"factorization-machines {re.escape(__version__)} \(revision \w+\)"
    assert re.fullmatch(rf"serve: {program}, model {identity(root / 'model')}", first)


def test_the_log_names_what_is_taken_from_an_additional_data_source(root, tmp_path):
    source = root / "additional-model-data-sources/items"
    source.mkdir(parents=True)
    (source / "catalogue.csv").write_text("item,features\nnew,1\n")
    with serving(root, tmp_path) as server:
        assert f"[INFO] {source / 'catalogue.csv'} is the model's catalogue\n" in server.stderr
    with serving(root, tmp_path, SAGEMAKER_CONTAINER_LOG_LEVEL=30) as server:
        assert "catalogue" not in server.stderr


def test_gunicorn_is_told_its_worker_by_name(root, tmp_path):
    """As versions 22 to 25.0, which are allowed, take no class; `make test-oldest` runs the lowest one."""
    with serving(root, tmp_path) as server:
        assert "Using worker: container.serving.worker.Worker\n" in server.stderr


def test_the_log_level_leaves_out_what_succeeds(root, tmp_path):
    with serving(root, tmp_path, SAGEMAKER_CONTAINER_LOG_LEVEL=30) as server:
        server.invoke(BODY)
        server.invoke(b"{")
        server.wait_for(lambda: server.requests)
        assert [line["status"] for line in server.requests] == [400]


def test_workers_are_as_many_as_asked_for_or_as_cores(root, tmp_path):
    # What gunicorn would read for itself has no say.
    with serving(root, tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS=3, WEB_CONCURRENCY="many") as server:
        server.wait_for(lambda: len(server.workers) == 2 * 3)
    with serving(root, tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS="") as server:
        server.wait_for(lambda: len(server.workers) == 2 * usable_cores())


def test_batch_transform_has_its_parameters_and_its_limit(root, tmp_path):
    variables = {
        "SAGEMAKER_BATCH": "True",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": 8,
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
    }
    with serving(root, tmp_path, **variables, SAGEMAKER_MAX_CONCURRENT_TRANSFORMS=5) as server:
        status, _, body = server.ask("GET", "/execution-parameters")
        assert (status, json.loads(body)) == (
            200, {"MaxConcurrentTransforms": 5, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 8},
        )  # fmt: skip
        text = json.dumps(BODY).encode()
        assert server.invoke(text + b" " * (8 * 2**20 - len(text)))[0] == 200
        assert server.invoke(text + b" " * (8 * 2**20 - len(text) + 1))[0] == 413


def test_rows_keep_their_order_in_a_large_body(root, tmp_path):
    values = np.arange(100_000) / 100_000
    lines = "\n".join(f'{{"keys":[1],"values":[{value}]}}' for value in values)
    with serving(root, tmp_path, SAGEMAKER_BATCH="true") as server:
        _, _, body = server.invoke(lines, "application/jsonlines", "text/csv")
    model = make_model()
    np.testing.assert_allclose(np.array(body.split(), np.float64), model.w0 + model.w[1] * values, rtol=0, atol=1e-6)


def test_metrics_of_all_workers_stand_beside_and_on_a_second_port(root, tmp_path):
    port = free_port()
    with serving(root, tmp_path, FM_METRICS_PORT=port) as server:
        for _ in range(20):
            server.invoke(BODY)
        server.invoke(b"{")
        server.ask("GET", "/whatever")
        last = b'fm_requests_total{path="other",status="404"} 1.0'  # a request is counted when its answer is out
        server.wait_for(lambda: last in server.ask("GET", "/metrics", port=port)[2])
        status, headers, body = server.ask("GET", "/metrics", port=port)
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        text = body.decode()
        assert 'fm_requests_total{path="/invocations",status="200"} 20.0' in text
        assert 'fm_requests_total{path="/invocations",status="400"} 1.0' in text
        assert 'fm_requests_total{path="other",status="404"} 1.0' in text
        assert 'fm_request_seconds_count{path="/invocations"} 21.0' in text
        assert "fm_rows_total 20.0" in text
        lines = b"".join(b'{"keys":[1],"values":[1]}\n' for _ in range(10_000))
        assert server.invoke(lines, "application/jsonlines")[0] == 200  # by a process that computes
        server.wait_for(lambda: b"fm_rows_total 10020.0" in server.ask("GET", "/metrics")[2])
        status, headers, body = server.ask("GET", "/metrics")
        assert (status, headers["Content-Type"].startswith("text/plain")) == (200, True)
        series = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
        assert sum(float(n) for name, n in series.items() if name.startswith("fm_scores_total")) == 10_020
        assert float(series["fm_requests_under_way"]) == float(series["fm_body_bytes"]) == 0
        assert float(series["fm_request_bytes_total"]) > len(lines)
        assert sum(name.startswith("fm_process_memory_bytes") for name in series) == 5
        assert any(name.startswith('fm_build_info{revision="') for name in series)
        assert series['fm_model_info{{model="{}"}}'.format(identity(root / "model"))] == "1.0"
    assert not any(line["path"] == "/metrics" for line in server.requests)


def test_a_request_under_way_is_answered_after_sigterm(root, tmp_path):
    body = json.dumps(BODY).encode()
    with serving(root, tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert b"100" in client.recv(65536), "the worker has the request, and waits for its body"
        client.sendall(body[:10])
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(lambda: "Handling signal: term" in server.stderr)
        client.sendall(body[10:])
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"}]}")
        assert server.process.wait(timeout=30) == 0


def test_a_killed_worker_is_replaced_and_others_go_on(root, tmp_path):
    with serving(root, tmp_path) as server:
        server.wait_for(lambda: len(server.workers) == 4)
        before = set(server.workers)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        failures = 0
        for _ in range(100):
            try:
                assert server.invoke(BODY)[0] == 200
            except OSError:  # taken by the victim before it died
                failures += 1
        assert failures <= 1
        server.wait_for(lambda: len(server.workers) == 4 and victim not in server.workers)
        assert len(before & set(server.workers)) == 3


def test_a_model_is_mapped_once_and_shared_by_all_workers(tmp_path):
    (tmp_path / "model").mkdir()
    params = np.ones((250_000, 64), np.float32)  # 64 MB
    save_model(tmp_path / "model/model_algo-1", Model("regressor", 0.0, params[:, 0].copy(), params), {})
    everything = "\n".join(f'{{"keys":[{key}],"values":[1]}}' for key in range(0, 250_000, 16))  # a row of each page
    with serving(tmp_path, tmp_path) as server:
        for _ in range(10):
            assert server.invoke(everything, "application/jsonlines")[0] == 200
        for worker in server.workers:
            rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
            private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty"))
            assert private < 40_000, f"kB that worker {worker} has for itself"


# --- refusing to start -----------------------------------------------------------------------


def test_without_a_model_it_says_so_and_exits(root):
    (root / "model/model_algo-1").unlink()
    status, stderr = refused_start(root)
    assert status == 1
    assert len(stderr.splitlines()) == 1
    assert str(root / "model") in stderr
    assert "expected one model file" in stderr


def test_without_a_model_folder_it_says_so_and_exits(tmp_path):
    status, stderr = refused_start(tmp_path)
    assert (status, len(stderr.splitlines())) == (1, 1)
    assert str(tmp_path / "model") in stderr


def test_with_several_models_it_says_so_and_exits(root):
    for name in ("model_algo-2", "model_algo-3"):
        save_model(root / "model" / name, make_model(), {})
    (root / "model/model_algo-1").unlink()
    status, stderr = refused_start(root)
    assert (status, len(stderr.splitlines())) == (1, 1)
    assert "model_algo-2" in stderr


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_with_a_damaged_model_it_says_so_and_exits(root, damage):
    file = root / "model/model_algo-1"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[content.rindex(b"arg:w1_weight") - 60] ^= 0xFF  # among the factors
    file.write_bytes(content)
    status, stderr = refused_start(root)
    assert (status, len(stderr.splitlines())) == (1, 1)
    assert str(file) in stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0"),
        ("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/html"),
        ("SAGEMAKER_BATCH", "perhaps"),
        ("MAX_CONTENT_LENGTH", "6MB"),
        ("FM_CORE_KERNELS", "avx1024"),
        ("FM_CLIENT_TIMEOUT_SECONDS", "soon"),
        ("FM_SERVER_QUEUE", "none"),
        ("FM_UNSEEN", "skip"),
        ("FM_SCHEMA", "absent.json"),
        ("FM_SCHEMA", "model_algo-1"),
    ],
)
def test_with_a_setting_it_cannot_read_it_says_so_and_exits(root, name, text):
    status, stderr = refused_start(root, **{name: text})
    assert (status, len(stderr.splitlines())) == (1, 1)
    assert text in stderr
    assert name in stderr


@pytest.mark.parametrize("name", ["SAGEMAKER_BIND_TO_PORT", "FM_METRICS_PORT"])
def test_with_a_port_that_is_taken_it_says_so_and_exits(root, name):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        status, stderr = refused_start(root, **{"SAGEMAKER_BIND_TO_PORT": free_port()} | {name: port})
    assert status == 1
    assert stderr.splitlines()[1:] == [stderr.splitlines()[-1]]  # after the version
    assert f"port {port} ({name}" in stderr
    assert "Address already in use, expected a port that is free" in stderr


def test_arguments_are_refused_and_help_is_given():
    run = {"cwd": ROOT, "capture_output": True, "text": True, "check": False, "timeout": 60}
    assert "usage: serve" in subprocess.run([*COMMAND, "--help"], **run).stdout
    assert subprocess.run([*COMMAND, "--port=1"], **run).returncode == 2
