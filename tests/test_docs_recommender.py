"""The walk-through of docs/tutorials/recommender.md, command by command."""

import contextlib
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
    ports = dict(zip(("8080", "8000"), free_ports(2), strict=True))
    texts = {
        "sh": lambda text: re.sub(r"(127\.0\.0\.1:|--port )(\d+)", lambda found: found[1] + ports[found[2]], text),
        "python": lambda text: f"python <<'PYTHON'\n{text}PYTHON\n",
    }
    script = "set -euo pipefail\ntrap 'kill ${SERVER:-} ${PAGE:-} 2>/dev/null || true' EXIT\n"
    script += "".join(texts[kind](text) for kind, text in blocks)
    script = script.replace("fm serve model ", f"fm serve model --port {ports['8080']} ")
    script = script.replace("serve_page.py ", f"serve_page.py --endpoint http://127.0.0.1:{ports['8080']}/invocations ")
    shutil.copy(ROOT / "examples/make_ratings.py", tmp_path)
    shutil.copytree(ROOT / "examples/films", tmp_path / "films")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
             "SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "feature_dim is 360" in done.stdout
    rmse = float(re.search(r"^  rmse +(\S+)", done.stdout, re.MULTILINE)[1])
    assert rmse < 0.6  # the noise of the ratings is 0.4, rounding adds 0.29, and a linear model has 0.89
    assert float(re.search(r"^  NDCG +(\S+)", done.stdout, re.MULTILINE)[1]) > 0.3  # 0.04 by chance
    answers = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    best, filtered, of_history = ([item["columns"]["film"] for item in answer["items"]] for answer in answers)
    assert len(set(best)) == len(set(of_history)) == 10
    assert len(filtered) == 3
    for item in answers[1]["items"]:
        assert item["columns"]["genre"] in ("crime", "horror")
        assert item["columns"]["year"] >= 1990
    with (tmp_path / "ratings.csv").open() as file:
        seen = {row["film"] for row in csv.DictReader(file) if row["person"] == "person 7"}
    assert seen.isdisjoint(best)
    for answer in answers:
        scores = [item["score"] for item in answer["items"]]
        assert scores == sorted(scores, reverse=True)
    assert "person=person 7 with film=" in done.stdout
    assert sum(film.startswith("horror") for film in of_history[:5]) >= 3
    of_page = json.loads((tmp_path / "page.json").read_text())["items"]
    assert [item["columns"]["film"] for item in of_page] == best
    assert len(json.loads((tmp_path / "films.json").read_text())["films"]) == 60
    zoe = re.search(r'^\{"items":.*$', done.stdout, re.MULTILINE)[0]
    assert sum(item["columns"]["genre"] == "horror" for item in json.loads(zoe)["items"]) >= 2
    everybody = [json.loads(line)["items"] for line in (tmp_path / "everybody.jsonl").read_text().splitlines()]
    assert len(everybody) == 300
    genres = [film.split()[0] for film in best[:5]]
    assert max(map(genres.count, genres)) >= 3  # a person's taste is for genres
    assert re.search(r"'ndcg_at_10', 0\.\d+", done.stdout)
    assert (tmp_path / "job/model/catalogue.csv").read_text().startswith("film,genre,year\n")
    assert np.load(tmp_path / "people.npy").shape == (300, 5)


def free_ports(n):
    """Ports that nobody listens at now, as texts."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]


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
