"""The walk-through of docs/tutorials/recommender.md, command by command."""

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is absent")
def test_the_commands_of_the_walk_through_run_and_lead_to_good_films(tmp_path):
    page = (ROOT / "docs/tutorials/recommender.md").read_text()
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    texts = {
        "sh": lambda text: text.replace("127.0.0.1:8080", f"127.0.0.1:{port}"),
        "python": lambda text: f"python <<'PYTHON'\n{text}PYTHON\n",
    }
    script = "set -euo pipefail\ntrap '[ -z \"${SERVER:-}\" ] || kill $SERVER 2>/dev/null || true' EXIT\n"
    script += "".join(texts[kind](text) for kind, text in blocks)
    shutil.copy(ROOT / "examples/make_ratings.py", tmp_path)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
             "SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "feature_dim is 360" in done.stdout
    assert "person=person" in done.stdout
    rmse = float(re.search(r"^rmse (\S+)$", done.stderr, re.MULTILINE)[1])
    assert rmse < 0.6  # the noise of the ratings is 0.4, rounding adds 0.29, and a linear model has 0.89
    answers = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    best, of_history = ([item["columns"]["film"] for item in answer["items"]] for answer in answers)
    assert len(set(best)) == len(set(of_history)) == 10
    with (tmp_path / "ratings.csv").open() as file:
        seen = {row["film"] for row in csv.DictReader(file) if row["person"] == "person 7"}
    assert seen.isdisjoint(best)
    for answer in answers:
        scores = [item["score"] for item in answer["items"]]
        assert scores == sorted(scores, reverse=True)
    assert sum(film.startswith("horror") for film in of_history[:5]) >= 3
    everybody = [json.loads(line)["items"] for line in (tmp_path / "everybody.jsonl").read_text().splitlines()]
    assert len(everybody) == 300
    genres = [film.split()[0] for film in best[:5]]
    assert max(map(genres.count, genres)) >= 3  # a person's taste is for genres
    assert np.load(tmp_path / "people.npy").shape == (300, 5)


def test_a_model_of_the_built_in_scores_as_its_job_said(shared, tmp_path):
    """What docs/how-to/migration.md advises to do before one switches."""
    run = shared / "reference_runs"
    shutil.copy(run / "ml100k_reg_k64_e50_b1000.model.tar.gz", tmp_path / "model.tar.gz")
    shutil.copy(run / "ml100k_reg_k64_e50_b1000.test.protobuf", tmp_path / "test.recordio")
    page = (ROOT / "docs/how-to/migration.md").read_text()
    (script,) = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = dict(re.findall(r"^(\w+) ([\d.]+)$", done.stderr, re.MULTILINE))
    log = (run / "ml100k_reg_k64_e50_b1000.log").read_text()
    for name, value in re.findall(r"#test_score \(algo-1\) : \('(\w+)', ([\d.]+)\)", log):
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-6)
    assert len((tmp_path / "scores.txt").read_text().splitlines()) == 20_000
