"""Implicit feedback: `train` as a process, in File and in Pipe mode, by feature ids and by the names of columns."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

from fm_core.artifact.model_file import load_model
from fm_core.formats import write_records
from tests.conftest import ROOT
from tests.contract.test_pipe import fed
from tests.contract.training import Job

N_USERS, N_ITEMS = 25, 30


def positives(seed, n):
    random = np.random.default_rng(seed)
    users = random.integers(0, N_USERS, n)
    return users, (random.random(n) ** 2 * N_ITEMS / 2).astype(int) * 2 + users % 2


def records(seed, n):
    users, items = positives(seed, n)
    keys = np.column_stack([users, N_USERS + items]).ravel()
    rows = scipy.sparse.csr_matrix((np.ones(2 * n), keys, np.arange(n + 1) * 2), (n, N_USERS + N_ITEMS))
    file = io.BytesIO()
    write_records(file, rows, np.ones(n, np.float32))
    return file.getvalue()


DATA, HELD_OUT = records(0, 800), records(1, 60)


def job_in(root):
    job = Job(root)
    job.hyperparameters = {
        "feature_dim": str(N_USERS + N_ITEMS), "num_factors": "4", "predictor_type": "binary_classifier",
        "epochs": "4", "mini_batch_size": "50", "loss": "softmax", "negatives": "6", "ranking_k": "5",
        "user_features": f"0:{N_USERS}", "item_features": f"{N_USERS}:{N_USERS + N_ITEMS}",
        "linear_lr": "0.02", "factors_lr": "0.02", "factors_init_sigma": "0.05", "negative_sampling": "uniform",
    }  # fmt: skip
    return job


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    job = job_in(tmp_path_factory.mktemp("job"))
    job.put("0.pbr", DATA)
    job.put("0.pbr", HELD_OUT, "validation")
    job.put("0.pbr", HELD_OUT, "test")
    finished = job.run()
    assert finished.code == 0, finished.log
    return finished


def test_the_log_has_the_metrics_in_the_built_ins_shape(done):
    number = r"[-+0-9.e]+"
    assert len(re.findall(rf"#quality_metric: host=algo-1, epoch=3, train ranking_loss <loss>={number}$", done.log,
                          re.MULTILINE)) == 1  # fmt: skip
    for name in ("ndcg", "precision", "recall", "map", "mrr", "coverage"):
        for where in ("test", "validation", "epoch=2, validation"):
            pattern = rf"#quality_metric: host=algo-1, {where} {name}_at_5 <score>={number}$"
            assert len(re.findall(pattern, done.log, re.MULTILINE)) == 1, (name, where)


def test_metric_definitions_read_it(done):
    found = {}
    for definition in json.loads((ROOT / "docs/metric_definitions_ranking.json").read_text()):
        assert len(definition["Name"]) < 256
        found[definition["Name"]] = re.findall(definition["Regex"], done.log)
    assert all(len(values) == 1 for name, values in found.items() if "auc" not in name), found


def test_it_has_learned_an_order(done):
    ndcg = [float(x) for x in re.findall(r"epoch=\d, validation ndcg_at_5 <score>=(\S+)", done.log)]
    assert len(ndcg) == 4
    assert ndcg[-1] > 0.1


@pytest.mark.parametrize("threads", ["1", "3"])
def test_pipe_mode_and_threads_give_the_same_model(done, tmp_path, threads):
    (tmp_path / "0.pbr").write_bytes(DATA)
    (tmp_path / "v.pbr").write_bytes(HELD_OUT)
    job = job_in(tmp_path / "job")
    job.hyperparameters["num_threads"] = threads
    for channel in ("train", "validation"):
        job.channels[channel] = {"TrainingInputMode": "Pipe"}
    job.environment["FM_PIPE_WAIT_SECONDS"] = "30"
    with fed(job, "train", tmp_path / "0.pbr", epochs=5), fed(job, "validation", tmp_path / "v.pbr", epochs=4):
        finished = job.run()
    assert finished.code == 0, finished.log
    assert finished.model["model_algo-1"] == done.model["model_algo-1"]


def test_columns_may_be_said_by_their_names(tmp_path):
    job = job_in(tmp_path / "job")
    users, items = positives(0, 800)
    lines = [f"u{u},m{i},{'crime|drama' if i % 3 else 'comedy'},1" for u, i in zip(users, items, strict=True)]
    (tmp_path / "likes.csv").write_text("user,film,genres,label\n" + "\n".join(lines) + "\n")
    folder = job.root / "input/data/train"
    folder.mkdir()
    command = ["convert", tmp_path / "likes.csv", folder / "x.recordio", "--label", "label", "--several", "genres:|"]
    done = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", *map(str, command)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    job.hyperparameters |= {
        "feature_dim": done.stdout.split("feature_dim is ")[1].split()[0].strip(".,;"),
        "user_features": "user", "item_features": "film,genres",
    }  # fmt: skip
    finished = job.run()
    assert finished.code == 0, finished.log
    schema = json.loads((folder / "schema.json").read_text())
    genres = next(column for column in schema["columns"] if column["name"] == "genres")
    V = load_model(job.root / "model").V
    assert np.abs(V[genres["first_feature"] :]).max() > 0.06  # beyond where they began

    job.hyperparameters["item_features"] = "movie"
    assert "names column 'movie', which the schema does not have, expected some of: user, film" in job.run().failure
    (folder / "schema.json").unlink()
    assert "channel train has no schema.json with that column" in job.run().failure


def test_several_hosts_are_refused_in_a_sentence(tmp_path):
    job = job_in(tmp_path / "job")
    job.put("0.pbr", DATA)
    job.resources["hosts"] = ["algo-1", "algo-2"]
    finished = job.run()
    assert finished.code == 1
    assert "ClientError: solver ranked (loss=softmax) trains on one host, but there are 2" in finished.failure
