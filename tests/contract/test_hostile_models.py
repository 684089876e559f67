"""Models that somebody else made, in a real endpoint and a real job: refused, while everything else goes on."""

import concurrent.futures
import json
import re
import time
from pathlib import Path

import pytest

from fm_core.artifact.model_file import save_model
from tests.contract.serving import serving
from tests.contract.training import Job, records
from tests.fm_core.artifact.test_hostile_archives import END, HOSTILE, MODEL, header, zipped_zeros

NAMES = list(HOSTILE)
BOMB = zipped_zeros(header(1 << 28, b"L"), 1 << 28, END)
SCHEMAS = {
    "dense": {"dense": True, "columns": [{"name": "a", "kind": "numeric"}]
              + [{"name": f"c{i}", "kind": "categorical", "categories": []} for i in range(3000)], "feature_dim": 1},
    "brackets": '{"version":1,"x":[' + "{}," * 300_000 + "0]}",
    "long": '{"version":"' + "A" * 3_000_000 + '"}',
    "metric": {"version": "#quality_metric: host=algo-1, test rmse <loss>=0\n\x1b[2J<script>"},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    models = tmp_path_factory.mktemp("endpoint") / "models"
    for number, name in enumerate(NAMES):
        (models / f"h{number}").mkdir(parents=True)
        (models / f"h{number}/model_algo-1").write_bytes(HOSTILE[name])
    (models / "bomb").mkdir()
    (models / "bomb/model.tar.gz").write_bytes(BOMB)
    for name, schema in ({"good": None} | SCHEMAS).items():
        (models / name).mkdir()
        save_model(models / name / "model_algo-1", MODEL, {})
        if schema is not None:
            rest = {"version": 1, "label": None, "missing": "error"}
            text = schema if isinstance(schema, str) else json.dumps(rest | schema)
            (models / name / "schema.json").write_text(text)
    return models.parent


def load(server, name):
    body = json.dumps({"model_name": name, "url": str(server.models / name)})
    return server.ask("POST", "/models", body, Content_Type="application/json")


def test_no_model_stops_an_endpoint(root, tmp_path):
    with serving(root, tmp_path, SAGEMAKER_MULTI_MODEL="true", FM_MODEL_MEMORY_MB=200,
                 SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:  # fmt: skip
        server.models = root / "models"
        hostile = [*(f"h{number}" for number in range(len(NAMES))), "bomb", *SCHEMAS]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = {name: pool.submit(load, server, name) for name in hostile}
            slowest = 0.0
            while not all(answer.done() for answer in asked.values()):
                started = time.monotonic()
                assert server.ask("GET", "/ping")[0] == 200
                slowest = max(slowest, time.monotonic() - started)
                time.sleep(0.02)
        assert slowest < 1, f"/ping took {slowest:.2f} s"
        for name, answer in asked.items():
            status, _, body = answer.result()
            assert status in (500, 507), (name, status, body)
            assert len(body) < 1000, name
            detail = json.loads(body)["detail"]
            assert detail.isprintable(), (name, detail)
            assert "#quality_metric" not in detail
        assert load(server, "good")[0] == 200
        rows = json.dumps({"instances": [{"keys": [1], "values": [1]}]})
        answer = server.ask("POST", "/models/good/invoke", rows, Content_Type="application/json")
        assert answer[0] == 200, answer
        peaks = [peak(process) for process in server.workers]
        assert max(peaks) < 350, f"{peaks} MB"
        assert "Traceback" not in server.stderr


def peak(process):
    return int(re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process}/status").read_text())[1]) >> 10


@pytest.mark.parametrize("name", ["a member of 2^62 bytes", "very many members", "a zip of zeros"])
def test_a_job_says_what_is_wrong_with_the_model_it_starts_from(tmp_path, name):
    job = Job(tmp_path / "job")
    job.put("0.pbr", records(60))
    job.put("model_algo-1", HOSTILE[name], "model")
    started = time.monotonic()
    done = job.run()
    assert time.monotonic() - started < 30
    assert done.code == 1
    assert done.failure.startswith(f"ClientError: channel model: {job.root}/input/data/model/model_algo-1: ")
    assert not done.model
