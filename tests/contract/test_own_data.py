"""From somebody's CSV to a trained model and scores of new rows: `fm convert`, `train`, `fm predict`."""

import os
import shutil
import subprocess
import sys

import numpy as np

from tests.conftest import ROOT
from tests.contract.training import Job


def fm(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", *map(str, arguments)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_table_becomes_a_model_that_scores_new_rows(tmp_path):
    random = np.random.default_rng(0)
    users, items = random.integers(0, 40, 4000), random.integers(0, 25, 4000)
    likes = random.normal(size=40)[users] + random.normal(size=25)[items] > 0
    lines = [f"u{user},i{item},{5 if like else 1}" for user, item, like in zip(users, items, likes, strict=True)]
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "\n".join(lines))
    (tmp_path / "out").mkdir()
    said = fm(
        tmp_path,
        *["convert", "ratings.csv", "out/x.recordio.gz", "--label", "rating", "--threshold", 4, "--split", 0.9],
    )
    assert "feature_dim is 65" in said

    job = Job(tmp_path / "job")
    job.hyperparameters |= {"feature_dim": "65", "epochs": "10", "linear_lr": "0.05"}
    # The folder as it is, schema.json and all, but for the rows to test with.
    shutil.copytree(tmp_path / "out", job.root / "input/data/train")
    (job.root / "input/data/test").mkdir()
    shutil.move(job.root / "input/data/train/x.test.recordio.gz", job.root / "input/data/test")
    job.channels["test"] = {}
    done = job.run()
    assert done.code == 0, done.log
    assert sorted(done.model) == ["model_algo-1", "schema.json"]
    assert "Channel train: 1 of 2 files hold no records and are skipped: schema.json (a schema)" in done.log

    best, worst = (pick(random, users, items, likes, wanted) for wanted in (True, False))
    (tmp_path / "new.csv").write_text("item,user\n" + "".join(f"i{item},u{user}\n" for user, item in (best, worst)))
    scores = fm(
        tmp_path, "predict", job.root / "model/model_algo-1", "new.csv", "--schema", "out/schema.json"
    ).split()  # fmt: skip
    assert float(scores[0]) > 0.5 > float(scores[1])


def pick(random, users, items, likes, wanted):
    """A user and an item, each of which mostly goes with what is wanted."""

    def of(column):
        return max(set(column.tolist()), key=lambda one: np.mean(likes[column == one] == wanted))

    return of(users), of(items)
