"""What the endpoint says of requests that differ from the training, over all its processes, from table to /metrics."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.contract.serving import serving
from tests.contract.training import Job, records

N = 3000


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job of rows with a schema; its scores follow the age."""
    job = Job(tmp_path_factory.mktemp("job"))
    random = np.random.default_rng(5)
    lines = [f"u{random.integers(20)},{random.integers(20, 60)}" for _ in range(N)]
    table = job.root / "rows.csv"
    table.write_text("user,age,label\n" + "".join(f"{line},{int(line[-2:]) // 10}\n" for line in lines))
    folder = job.root / "input/data/train"
    folder.mkdir()
    command = ["convert", table, folder / "x.recordio", "--label", "label", "--fit"]
    done = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    dim = re.search(r"feature_dim is (\d+)", done.stdout)[1]
    job.hyperparameters |= {"feature_dim": dim, "predictor_type": "regressor", "solver": "bayes", "epochs": "20"}
    finished = job.run()
    assert finished.code == 0, finished.log
    return job


def metric(server, name, *labels):
    """The value of a metric; None if it is not there."""
    wanted = name + ("{" + ",".join(labels) + "}" if labels else "")
    for line in server.ask("GET", "/metrics")[2].decode().splitlines():
        if line.startswith(wanted + " "):
            return float(line.rpartition(" ")[2])
    return None


def rows(ages, user=None):
    """Instances, of one user or of all in turn."""
    return {"instances": [{"columns": {"user": user or f"u{i % 20}", "age": int(age)}} for i, age in enumerate(ages)]}


def test_the_endpoint_tells_requests_that_are_like_the_training_from_others(job, tmp_path):
    baseline = json.loads((job.root / "model/baseline.json").read_text())
    assert (baseline["source"], baseline["rows"]) == ("train", N)
    with serving(job.root, tmp_path, FM_UNSEEN="ignore") as server:
        assert metric(server, "fm_score_psi") is None
        assert metric(server, "fm_baseline_rows") == N
        random = np.random.default_rng(0)
        for _ in range(30):  # small bodies, which whoever has the connection answers
            assert server.invoke(rows(random.integers(20, 60, 100)))[0] == 200
        assert metric(server, "fm_score_psi_rows") == 3000
        assert metric(server, "fm_score_psi") < 0.1
        assert metric(server, "fm_column_outside_total", 'column="age"') == 0
        # A large body, which another process computes, of people who are older than any before, some of them new.
        text = "user,age\n" + "".join(f"u{i % 40},{random.integers(50, 80)}\n" for i in range(20_000))
        assert server.invoke(text.encode(), "text/csv")[0] == 200
        assert metric(server, "fm_score_psi_rows") == 23_000
        assert metric(server, "fm_score_psi") > 0.25
        outside = sum(int(line.split(",")[1]) > 59 for line in text.splitlines()[1:])
        assert metric(server, "fm_column_outside_total", 'column="age"') == outside
        assert metric(server, "fm_column_unseen_total", 'column="user"') == 10_000
        assert metric(server, "fm_column_values_total", 'column="user"') == 23_000
        shares = [
            float(line.rpartition(" ")[2])
            for line in server.ask("GET", "/metrics")[2].decode().splitlines()
            if line.startswith("fm_score_recent_share{")
        ]
        assert sum(shares) == pytest.approx(1)
        assert len(shares) == len(baseline["scores"]["shares"])


def test_counts_outlive_the_process_that_made_them_and_the_window_forgets(job, tmp_path):
    window = {"FM_DRIFT_WINDOW_SECONDS": 2.4, "SAGEMAKER_MODEL_SERVER_WORKERS": 1}
    with serving(job.root, tmp_path, FM_UNSEEN="ignore", **window) as server:
        assert server.invoke(rows([70] * 10, "new"))[0] == 200
        server.wait_for(lambda: metric(server, "fm_score_psi_rows") == 0)
        before = set(server.workers)
        os.kill(server.oldest_of_each_kind()[0], 9)
        server.wait_for(lambda: len(set(server.workers) - before) == 1)
        server.wait_for(lambda: answers(server))
        assert server.invoke(rows([70]))[0] == 200
        assert metric(server, "fm_column_outside_total", 'column="age"') == 11
        assert metric(server, "fm_column_unseen_total", 'column="user"') == 10


def answers(server):
    try:
        return server.ask("GET", "/ping")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("text", ["{", '{"version": 1}', "x" * 2**21])
def test_a_baseline_that_is_none_is_said_and_the_model_is_served(job, tmp_path, text):
    folder = tmp_path / "tree/model"
    folder.mkdir(parents=True)
    for name in ("model_algo-1", "schema.json"):
        (folder / name).write_bytes((job.root / "model" / name).read_bytes())
    (folder / "baseline.json").write_text(text)
    with serving(tmp_path / "tree", tmp_path) as server:
        assert server.invoke(rows([30]))[0] == 200
        assert metric(server, "fm_score_psi_rows") is None
        assert metric(server, "fm_column_values_total", 'column="age"') == 1
        assert len([line for line in server.stderr.splitlines() if "not compared with those of training" in line]) == 1


def test_a_job_can_do_without(tmp_path):
    job = Job(tmp_path / "job")
    job.put("part", records())
    job.environment = {"FM_BASELINE": "false"}
    assert job.run().code == 0
    assert [file.name for file in (job.root / "model").iterdir()] == ["model_algo-1"]


def test_enough_validation_rows_are_what_scores_are_compared_with(tmp_path):
    job = Job(tmp_path / "job")
    job.put("part", records())
    job.put("part", records(700), "validation")
    assert job.run().code == 0
    baseline = json.loads((job.root / "model/baseline.json").read_text())
    assert (baseline["source"], baseline["rows"], baseline["columns"]) == ("validation", 700, {})
